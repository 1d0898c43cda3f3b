"""Two lines around an element-wise function: what a linear bound makes of it between the ends of an interval."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ironbound.certification.graph import Node
from ironbound.certification.intervals import Interval


class Lines(NamedTuple):
    """lower_slope z + lower_bias <= f(z) <= upper_slope z + upper_bias for every z of the interval.

    Tensors that broadcast with its ends; a bias of the number 0.0 is none.
    """

    lower_slope: Tensor
    lower_bias: Tensor | float
    upper_slope: Tensor
    upper_bias: Tensor | float


def relu(node: Node, x: Interval, *, free: Tensor | None = None) -> Lines:
    """ReLU: above the chord, below a line through the origin with a slope in [0, 1].

    The slope is 1 where the interval reaches further up than down, else 0 (the smaller area); `free` gives another.

    Paper: Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General Activation Functions"
    (arXiv 1811.00866), table 2 and section 3.3; Xu et al. 2021, "Fast and Complete" (arXiv 2011.13824), section 3.2.
    """
    low, high = x.lower.clamp(max=0), x.upper.clamp(min=0)
    chord = high / (high - low).clamp_min(torch.finfo(high.dtype).tiny)  # of [0, 0] none: 0
    active = x.lower >= 0
    open_ = ~(active | (x.upper <= 0))  # so is NaN, whose lines are then NaN, and prove nothing
    chord = torch.where(open_, chord, active.to(chord.dtype))
    slope = adaptive(node, x) if free is None else free
    return Lines(torch.where(open_, slope, chord), 0.0, chord, torch.where(open_, -low * chord, 0.0))


def crosses_zero(node: Node, x: Interval) -> Tensor:
    """Where a ReLU is not decided: elsewhere it is linear on the interval, and better ends would change nothing."""
    return (x.lower < 0) & (x.upper > 0)


def adaptive(node: Node, x: Interval) -> Tensor:
    """The slope below a ReLU that leaves the smaller area: 1 where the interval reaches further up than down, else 0."""
    return (x.upper > -x.lower).to(x.upper.dtype)
