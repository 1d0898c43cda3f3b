"""What a training minimises, as parts: the plain loss, losses at attacked inputs, the loss at bounds, and around them."""

from ironbound.defenses.train.objectives.adversarial import Adversarial, Standard
from ironbound.defenses.train.objectives.certified import Ibp
from ironbound.defenses.train.objectives.fast import Free, GradAlign
from ironbound.defenses.train.objectives.regularised import Alp, Mart, Trades
from ironbound.defenses.train.objectives.union import MultiNorm
from ironbound.defenses.train.objectives.wrapped import Awp, Dro

__all__ = ["Adversarial", "Alp", "Awp", "Dro", "Free", "GradAlign", "Ibp", "Mart", "MultiNorm", "Standard", "Trades"]
