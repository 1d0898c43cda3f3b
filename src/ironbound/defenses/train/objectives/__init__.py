"""What a training minimises, as parts: the plain loss, the loss at attacked inputs, the loss at bounds."""

from ironbound.defenses.train.objectives.adversarial import Adversarial, Standard
from ironbound.defenses.train.objectives.certified import Ibp
from ironbound.defenses.train.objectives.distillation import DefensiveDistillation, Distill
from ironbound.defenses.train.objectives.started import Started
from ironbound.defenses.train.objectives.transferred import Augmented, Transferred
from ironbound.defenses.train.objectives.unlabelled import Unlabelled

__all__ = [
    "Adversarial",
    "Augmented",
    "DefensiveDistillation",
    "Distill",
    "Ibp",
    "Standard",
    "Started",
    "Transferred",
    "Unlabelled",
]
