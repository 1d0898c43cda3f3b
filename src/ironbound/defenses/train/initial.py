"""The initialisation for training with interval bounds."""

from __future__ import annotations

import math

import torch
from torch import nn

from ironbound.defenses.train.randomness import one

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def initialise(net: nn.Module, seed: int) -> None:
    """Draw the weights of all linear and convolutional layers but the last from N(0, 2 pi / fan_in^2), in place.

    With it the width of an interval neither grows nor shrinks from layer to layer in expectation, where usual
    initialisations let it explode. Weights that need no gradient (frozen ones) stay; so do biases.

    Paper: Shi et al. 2021 (arXiv 2103.17268), section 3.2.
    """
    layers = [(name, part) for name, part in net.named_modules() if isinstance(part, LAYERS)]
    for name, part in layers[:-1]:
        if part.weight.requires_grad:
            deviation = math.sqrt(2 * math.pi) / part.weight[0].numel()
            noise = one(seed, "initial").fold(name).normal(tuple(part.weight.shape), torch.float64)[0]
            part.weight.copy_(deviation * noise)
