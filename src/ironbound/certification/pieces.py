"""Linear bounds of piecewise linear functions with at most one kink that is convex, and at most one that is concave."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ironbound.certification.intervals import Interval
from ironbound.certification.lines import Lines

Place = Tensor | float


@dataclass(frozen=True, eq=False)
class Pieces:
    """A piecewise linear function of one argument."""

    value: Callable[[Tensor], Tensor]
    convex: Place = math.nan
    """Where its slope grows; NaN where it never does."""
    concave: Place = math.nan
    """Where its slope falls; NaN where it never does."""


def relaxed(pieces: Pieces, x: Interval, free: Tensor | None = None) -> Lines:
    """Lines below and above on [x.lower, x.upper].

    Below, every line that touches at the convex kink is as good as it can be, from the one through the lower end (`free` = 0)
    to the one through the upper end (1); by default the one with the smaller area. Without such a kink inside, the
    chord. Above, the same with the concave kink. Whatever the slope, the bias is exact: f(z) - s z is least at an end
    or at a convex kink.

    Paper: Zhang et al. 2018 (arXiv 1811.00866), section 3.3, for ReLU; Singh et al. 2019 (DeepPoly, POPL). With hard tanh
    the lines pass through an end and the kink, as the tangents of smooth S-shaped functions do.
    """
    below = _below(pieces.value, pieces.convex, x, free)
    slope, bias = _below(lambda z: -pieces.value(z), pieces.concave, x, free)
    return Lines(*below, -slope, -bias)


def _below(value: Callable[[Tensor], Tensor], kink: Place, x: Interval, free: Tensor | None) -> tuple[Tensor, Tensor]:
    low, high = x.lower, x.upper
    place = torch.as_tensor(kink, dtype=low.dtype, device=low.device)
    inside = (low < place) & (place < high)
    place = torch.where(inside, place, low)
    at_low, at_kink, at_high = value(low), value(place), value(high)
    before = _slope(at_low, at_kink, low, place)
    after = _slope(at_kink, at_high, place, high)
    if free is None:
        slope = torch.where((place - low) > (high - place), before, after)
    else:
        slope = torch.lerp(before, after, free)
    slope = torch.where(inside, slope, after)
    bias = torch.minimum(at_low - slope * low, at_high - slope * high)
    return slope, torch.minimum(bias, at_kink - slope * place)


def _slope(first: Tensor, second: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Between two points; 0 where they are one."""
    wide = high - low
    open_ = wide > 0
    return torch.where(open_, (second - first) / torch.where(open_, wide, 1), 0)


def image(pieces: Pieces, x: Interval) -> Interval:
    """The least and greatest value on [x.lower, x.upper]: at the ends or at a kink."""
    values = [pieces.value(x.lower), pieces.value(x.upper)]
    values += [pieces.value(_nearest(kink, x)) for kink in (pieces.convex, pieces.concave)]
    low, high = values[0], values[0]
    for value in values[1:]:
        low, high = torch.minimum(low, value), torch.maximum(high, value)
    return Interval(low, high)


def kinks(pieces: Pieces, x: Interval) -> Tensor:
    """Where a kink lies inside: elsewhere the function is linear on the interval, and better ends would change nothing."""
    found = torch.zeros_like(x.lower, dtype=torch.bool)
    for kink in (pieces.convex, pieces.concave):
        found = found | ((x.lower < kink) & (x.upper > kink))
    return found


def _nearest(kink: Place, x: Interval) -> Tensor:
    place = torch.as_tensor(kink, dtype=x.lower.dtype, device=x.lower.device)
    return torch.where((x.lower < place) & (place < x.upper), place, x.lower)


# ------------------------------------------------------------------------------------------------------ the functions
def leaky(slope: Place) -> Pieces:
    """z above 0, slope z below, for any slope."""
    steep = torch.as_tensor(slope)
    zero, never = torch.zeros_like(steep, dtype=torch.float64), torch.full_like(steep, math.nan, dtype=torch.float64)
    convex, concave = torch.where(steep < 1, zero, never), torch.where(steep > 1, zero, never)
    return Pieces(lambda z: torch.where(z > 0, z, slope * z), convex, concave)


def clamped(least: Place | None, most: Place | None) -> Pieces:
    """Clamped from below, from above, or both; `most` where least > most, as PyTorch has it."""
    least = None if least is None else least if most is None else _smaller(least, most)

    def value(z: Tensor) -> Tensor:
        z = z if least is None else torch.maximum(z, torch.as_tensor(least, dtype=z.dtype, device=z.device))
        return z if most is None else torch.minimum(z, torch.as_tensor(most, dtype=z.dtype, device=z.device))

    return Pieces(value, math.nan if least is None else least, math.nan if most is None else most)


def _smaller(a: Place, b: Place) -> Place:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.minimum(*torch.broadcast_tensors(torch.as_tensor(a), torch.as_tensor(b)))
    return min(a, b)


ABSOLUTE = Pieces(torch.abs, convex=0.0)
HARDSIGMOID = Pieces(lambda z: (z / 6 + 0.5).clamp(0, 1), convex=-3.0, concave=3.0)
