"""Training for robustness: one trainer, with what it minimises as a part. Read objective.py, inner.py and trainer.py first."""

from ironbound.defenses.train.catalogue import training_named
from ironbound.defenses.train.inner import Composed, Steps
from ironbound.defenses.train.objective import Given
from ironbound.defenses.train.objectives import (
    Adversarial,
    Alp,
    Augmented,
    Awp,
    DefensiveDistillation,
    Distill,
    Dro,
    Free,
    GradAlign,
    Ibp,
    Mart,
    MultiNorm,
    Standard,
    Started,
    Trades,
    Transferred,
    Unlabelled,
)
from ironbound.defenses.train.signs import Signs
from ironbound.defenses.train.trainer import Trained, train
from ironbound.defenses.train.training import Training

__all__ = [
    "Adversarial",
    "Alp",
    "Augmented",
    "Awp",
    "Composed",
    "DefensiveDistillation",
    "Distill",
    "Dro",
    "Free",
    "Given",
    "GradAlign",
    "Ibp",
    "Mart",
    "MultiNorm",
    "Signs",
    "Standard",
    "Started",
    "Steps",
    "Trades",
    "Trained",
    "Training",
    "Transferred",
    "Unlabelled",
    "train",
    "training_named",
]
