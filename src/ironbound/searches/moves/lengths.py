"""What the moves of minimum-norm attacks share: lengths, reach, unit gradients and balls without an exact edge.

Exactness is the engine's: it measures what it keeps in float64. Here a few last bits decide nothing, and whole images are
not copied to float64 at every step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.rows import column, flat
from ironbound.sets.bounds import inner_box

NORMS = ("l0", "l1", "l2", "linf")
DUAL = {"l0": "l2", "l1": "linf", "l2": "l2", "linf": "l1"}
"""The norm in which a gradient is measured where the change is measured in the other. (L0: steps are Euclidean.)"""
LEAST = 1 - 1e-6  # of a finite radius: how far balls reach, so that rounding does not lead beyond it


def length(norm: str, change: Tensor, channels: int = 1) -> Float[Tensor, " n"]:
    """The length of each row of (n, ...), in its own precision, as float64."""
    rows = flat(change)
    if norm == "l2":
        return rows.square().sum(1).double().sqrt_()
    if norm == "linf":
        return rows.abs().amax(1).double() if rows.shape[1] else rows.sum(1).double()
    if norm == "l1":
        return rows.abs().sum(1).double()
    return by_pixel(rows != 0, channels).any(1).sum(1).double()


def by_pixel(rows: Tensor, channels: int) -> Tensor:
    """Shape (n, channels, pixels)."""
    wide = flat(rows)
    return wide.reshape(len(wide), channels, wide.shape[1] // channels)


def reach(region: Any, norm: str) -> Float[Tensor, " n"]:
    """The length beyond which balls need not grow: that of the way to the farthest corner, or a finite radius."""
    low, high = inner_box(region.box, region.x.dtype)
    room = torch.maximum(high - region.x, region.x - low)
    room = room if region.mask is None else torch.where(region.mask, room, 0.0)
    furthest = length(norm, room, getattr(region, "channels", 1))
    return torch.minimum(furthest, region.radius if norm == "l0" else region.radius * LEAST)


def free(region: Any, grad: Tensor) -> Tensor:
    """The gradient where values may change."""
    return grad if region.mask is None else torch.where(region.mask, grad, 0.0)


def inward(region: Any, p: Tensor, grad: Tensor) -> Tensor:
    """The gradient without what leads out of the model's range."""
    low, high = inner_box(region.box, p.dtype)
    return torch.where(torch.clamp(p + grad.sign(), low, high) == p, 0.0, grad)


def per_length(step: float | Tensor, length: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """step / length, and 0 where there is no length to speak of: a flat model moves nothing."""
    return torch.where(length > 0, step / length, 0.0)


def width(region: Any) -> float:
    """The width of the model's range, 1 where it has none: the unit of steps that know no better one."""
    return 1.0 if region.box is None else float(region.box[1] - region.box[0])


def rescaled(change: Tensor, radius: Float[Tensor, " n"]) -> Tensor:
    """Each row with that Euclidean length, where it has any; writes to `change`."""
    scale = torch.where(radius.isfinite(), per_length(radius, length("l2", change)), 1.0)
    return change.mul_(column(scale, change))


def within(norm: str, change: Tensor, radius: Float[Tensor, " n"], channels: int = 1) -> Tensor:
    """Each row of the change in the ball of its radius, nearest in the Euclidean sense. May write to `change`."""
    if norm == "l2":
        shrink = torch.where(radius.isfinite(), per_length(radius, length("l2", change)), 1.0)
        return change.mul_(column(shrink.clamp_max_(1.0), change))
    if norm == "linf":
        edge = column(radius, change)
        return torch.clamp(change, -edge, edge)
    if norm == "l1":
        return _soft(change, radius)
    return _largest(change, radius, channels)


def _soft(change: Tensor, radius: Float[Tensor, " n"]) -> Tensor:
    """All values shrink by the same amount, to no less than 0, so that the absolute values sum to the radius at most.

    Michelot's algorithm: the mean excess of those still above zero, until none leaves. (The level only rises.)
    """
    size = flat(change).abs()
    level = torch.zeros_like(radius)
    rest, outside = size, size.sum(1).double() > radius
    if not bool(outside.any()):
        return change
    while True:
        count = (rest > 0).sum(1)
        rise = torch.where(outside & (count > 0), (rest.sum(1).double() - radius) / count, 0.0)
        rises = rise > 1e-6 * level
        if not bool(rises.any()):
            break
        level = level + torch.where(rises, rise, 0.0)
        rest = (size - level.to(size.dtype)[:, None]).clamp_min_(0)
    return torch.copysign(rest.view(change.shape), change)


def _largest(change: Tensor, radius: Float[Tensor, " n"], channels: int) -> Tensor:
    """As many pixels as the radius says, those that change most."""
    weight = by_pixel(change, channels).square().sum(1)
    count = radius.clamp(0, weight.shape[1]).long()
    most = int(count.max()) if len(count) else 0
    if most == 0:
        return torch.zeros_like(change)
    top = weight.topk(most, dim=1)
    kept = torch.zeros_like(weight).scatter_(
        1, top.indices, (torch.arange(most, device=count.device) < count[:, None]).to(weight.dtype)
    )
    return (by_pixel(change, channels) * kept[:, None]).reshape(change.shape)


def cosine(t: int, steps: int, first: float, last: float) -> float:
    """From `first` at step 0 to `last` at step `steps`, as half a wave."""
    return last + (first - last) * (1 + math.cos(math.pi * t / steps)) / 2


def clamped(region: Any, change: Tensor) -> Tensor:
    """x + change in the model's range; writes to `change`."""
    return change.add_(region.x).clamp_(*inner_box(region.box, change.dtype))
