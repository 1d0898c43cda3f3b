"""Settings of a training, searched for the front of clean accuracy, robust accuracy and training cost. Read tune.py first."""

from ironbound.tuning.search import Tuned, tune

__all__ = ["Tuned", "tune"]
