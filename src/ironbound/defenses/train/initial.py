"""The initialisation for training with interval bounds."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ironbound.core.errors import ModelError
from ironbound.core.rng import forked
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


def redrawn(net: nn.Module, seed: int) -> None:
    """Draw all weights of a net (or of a part of it) anew, each layer's as that layer does when it is built, in place.

    Raises ModelError where a part holds weights that only its constructor can draw; other models are then to be given.
    """
    must_redraw(net)
    with forked(seed):
        for part in net.modules():
            reset: Any = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()


def must_redraw(net: nn.Module) -> None:
    """Raise ModelError where a part of the net holds weights that it cannot draw anew."""
    for name, part in net.named_modules():
        resets = callable(getattr(part, "reset_parameters", None))
        if not resets and next(part.parameters(recurse=False), None) is not None:
            raise ModelError(
                f"{name or 'the net'} ({type(part).__name__}) holds weights and has no reset_parameters(), so that they "
                "cannot be drawn anew for another model of this architecture. Give trained models, or add that method."
            )
