"""Training for robustness: one trainer, with what it minimises as a part. Read objectives.py and trainer.py first."""

from ironbound.defenses.train.catalogue import training_named
from ironbound.defenses.train.objectives import Ibp, Pgd, Standard
from ironbound.defenses.train.trainer import Trained, train
from ironbound.defenses.train.training import Training

__all__ = ["Ibp", "Pgd", "Standard", "Trained", "Training", "train", "training_named"]
