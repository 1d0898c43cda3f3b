"""Training for robustness: one trainer, with what it minimises as a part. Read objective.py, inner.py and trainer.py first."""

from ironbound.defenses.train.catalogue import training_named
from ironbound.defenses.train.inner import Composed, Steps
from ironbound.defenses.train.objective import Given
from ironbound.defenses.train.objectives import Adversarial, Ibp, Standard
from ironbound.defenses.train.trainer import Trained, train
from ironbound.defenses.train.training import Training

__all__ = [
    "Adversarial",
    "Composed",
    "Given",
    "Ibp",
    "Standard",
    "Steps",
    "Trained",
    "Training",
    "train",
    "training_named",
]
