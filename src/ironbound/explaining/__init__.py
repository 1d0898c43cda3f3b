"""Why an answer: how much each input value spoke for it, by gradients, integrated gradients, or Captum."""

from ironbound.explaining.attribution import Attribution, attribute, known_method
from ironbound.explaining.similarity import cosine, rank_correlation

__all__ = ["Attribution", "attribute", "cosine", "known_method", "rank_correlation"]
