"""Training for robustness: one trainer, with what it minimises as a part. Read objective.py, inner.py and trainer.py first."""

from ironbound.defenses.train.catalogue import training_named
from ironbound.defenses.train.inner import Composed, Steps
from ironbound.defenses.train.objective import Given
from ironbound.defenses.train.objectives import (
    Adversarial,
    Augmented,
    DefensiveDistillation,
    Distill,
    Ibp,
    Standard,
    Started,
    Transferred,
    Unlabelled,
)
from ironbound.defenses.train.trainer import Trained, train
from ironbound.defenses.train.training import Training

__all__ = [
    "Adversarial",
    "Augmented",
    "Composed",
    "DefensiveDistillation",
    "Distill",
    "Given",
    "Ibp",
    "Standard",
    "Started",
    "Steps",
    "Trained",
    "Training",
    "Transferred",
    "Unlabelled",
    "train",
    "training_named",
]
