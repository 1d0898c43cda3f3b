"""What a training minimises, as parts: the plain loss, the loss at attacked inputs, the loss at bounds, and what goes around."""

from ironbound.defenses.train.objectives.adversarial import Adversarial, Standard
from ironbound.defenses.train.objectives.certified import Ibp
from ironbound.defenses.train.objectives.distillation import DefensiveDistillation, Distill
from ironbound.defenses.train.objectives.fast import Free, GradAlign
from ironbound.defenses.train.objectives.regularised import Alp, Mart, Trades
from ironbound.defenses.train.objectives.started import Started
from ironbound.defenses.train.objectives.transferred import Augmented, Transferred
from ironbound.defenses.train.objectives.union import MultiNorm
from ironbound.defenses.train.objectives.unlabelled import Unlabelled
from ironbound.defenses.train.objectives.wrapped import Awp, Dro

__all__ = [
    "Adversarial",
    "Alp",
    "Augmented",
    "Awp",
    "DefensiveDistillation",
    "Distill",
    "Dro",
    "Free",
    "GradAlign",
    "Ibp",
    "Mart",
    "MultiNorm",
    "Standard",
    "Started",
    "Trades",
    "Transferred",
    "Unlabelled",
]
