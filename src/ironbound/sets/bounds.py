"""The edge of a ball in a box, exactly: computed once in float64 and rounded inwards, so that comparing with it is exact.

float32 `x + eps` measured again in float64 exceeds eps by up to 7.5e-6 relative, and an honest attack would be called
a cheat; `contains` therefore compares with bounds that no float of the input's own type can cross.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Box
from ironbound.core.rows import column

BLOCK = 1 << 16  # values at a time: what float64 needs on the way then stays in the cache


def edges(
    x: Float[Tensor, "n ..."], radius: Float[Tensor, " n"], box: Box
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, "n ..."]]:
    """The lowest and the highest value of x's own type within `radius` (float64) of each value of x and within the box."""
    lo, hi, (low, high) = torch.empty_like(x), torch.empty_like(x), inner_box(box, x.dtype)
    infinity = torch.full((), math.inf, dtype=x.dtype, device=x.device)
    rows = max(1, BLOCK * len(x) // max(1, x.numel()))
    for part, reach, down, up in zip(*(table.split(rows) for table in (x, radius, lo, hi)), strict=True):
        wide = part.double()
        reach = column(reach, wide)
        edge = (wide - reach).to(x.dtype)
        down.copy_(_inwards(edge, wide - edge > reach, infinity).clamp_(min=low))
        edge = (wide + reach).to(x.dtype)
        up.copy_(_inwards(edge, edge - wide > reach, -infinity).clamp_(max=high))
    return lo, hi


def inner_box(box: Box, dtype: torch.dtype) -> tuple[float, float]:
    """The box's ends as values of `dtype`, rounded inwards."""
    if box is None:
        return -math.inf, math.inf
    ends = torch.tensor(box, dtype=torch.float64)
    low, high = ends.to(dtype).unbind()
    if float(low) < box[0]:
        low = torch.nextafter(low, torch.full_like(low, math.inf))
    if float(high) > box[1]:
        high = torch.nextafter(high, torch.full_like(high, -math.inf))
    return float(low), float(high)


def _inwards(edge: Tensor, outside: Tensor, towards: Tensor) -> Tensor:
    """Rounding to nearest may have put the edge one float too far, as float64 measures it; then the next float is it."""
    return torch.where(outside, torch.nextafter(edge, towards), edge)
