"""What a training minimises, as parts: the plain loss, the loss at attacked inputs, the loss at bounds."""

from ironbound.defenses.train.objectives.adversarial import Adversarial, Standard
from ironbound.defenses.train.objectives.certified import Ibp

__all__ = ["Adversarial", "Ibp", "Standard"]
