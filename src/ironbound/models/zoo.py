"""Networks by name, `ironbound.models.zoo:digits_cnn`: for the demo, the tests, the benchmarks and published settings.

Their first weights are a function of the seed alone.
"""

from __future__ import annotations

from torch import nn

from ironbound.core.rng import forked
from ironbound.models.resnets import cifar_resnet18, cifar_wide_resnet

__all__ = ["cifar_resnet18", "cifar_wide_resnet", "digits_cnn", "mnist_cnn"]


def digits_cnn(seed: int = 0, classes: int = 10) -> nn.Sequential:
    """For images (n, 1, 8, 8) in [0, 1]: two convolutions (16, 32 channels) and two linear layers, 38,000 weights."""
    with forked(seed):
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )


def mnist_cnn(seed: int = 0, classes: int = 10) -> nn.Sequential:
    """For images (n, 1, 28, 28) in [0, 1]: convolutions of 32 and 64 channels, 128 hidden units, 1.2 million weights."""
    with forked(seed):
        return nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 12 * 12, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )
