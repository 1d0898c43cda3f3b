"""Perturbation sets: what the adversary may do to an input."""

from ironbound.sets.lp import L2, Linf
from ironbound.sets.threat import parse_threat

__all__ = ["L2", "Linf", "parse_threat"]
