"""The model of this example: a small network for the handwritten digits that come with Ironbound."""

from torch import nn


def net() -> nn.Sequential:
    """For images (n, 1, 8, 8) in [0, 1]."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
