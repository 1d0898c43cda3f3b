"""Proximal operators of distances in a diagonal metric, in closed form or by a Newton iteration without inner gradients."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.rows import column, flat
from ironbound.searches.moves.lengths import by_pixel

NEWTON = 8
"""Iterations of Newton's method, which rises to the root and squares its error at every one."""


def proximal(norm: str, change: Tensor, weight: Float[Tensor, " n"], metric: Tensor, channels: int = 1) -> Tensor:
    """The z that minimises weight * D(z) + sum metric (z - change)^2 / 2 of each row (n, ...).

    D is the distance; of L0 the sum of the pixels' lengths to the power 2/3, in the mean metric of each pixel's channels.
    metric > 0, in the shape of `change`; weight >= 0.
    """
    if norm == "l1":
        return torch.copysign((change.abs() - column(weight, change) / metric).clamp_min_(0), change)
    if norm == "l2":
        return _euclidean(change, weight, metric)
    if norm == "linf":
        return _largest(change, weight, metric)
    size = by_pixel(change, channels).square().sum(1).sqrt_()
    each = weight[:, None] / by_pixel(metric, channels).mean(1)
    less = _two_thirds(size.double(), each) / size.clamp_min(torch.finfo(size.dtype).tiny)
    return (by_pixel(change, channels) * less.to(change.dtype)[:, None]).reshape(change.shape)


def _euclidean(change: Tensor, weight: Float[Tensor, " n"], metric: Tensor) -> Tensor:
    """z = metric change / (metric + weight / s), where s = |z| solves |metric change / (metric s + weight)| = 1.

    The left side's reciprocal is concave in s, so that Newton's method rises to the root from 0.
    """
    h, pull = flat(metric), flat(metric) * flat(change)
    edge = weight.to(h.dtype)[:, None].clamp_min(torch.finfo(h.dtype).tiny)
    s = torch.zeros_like(edge)
    for _ in range(NEWTON):
        below = (h * s).add_(edge)
        square = (pull / below).square_()
        total = square.sum(1, keepdim=True)
        slope = square.mul_(h).div_(below).sum(1, keepdim=True)
        s = s + torch.where(slope > 0, (total.sqrt() - 1).clamp_min_(0) * total / slope, 0.0)
    found = pull.mul_(s).div_((h * s).add_(edge))
    return torch.where(weight[:, None] > 0, found, flat(change)).view(change.shape)


def _largest(change: Tensor, weight: Float[Tensor, " n"], metric: Tensor) -> Tensor:
    """All values cut at the level at which what is cut off, times the metric, sums to the weight; 0 where all of it is less."""
    size, h = flat(change).abs(), flat(metric)
    level = torch.zeros_like(weight)[:, None]
    for _ in range(NEWTON):
        over = h * (size > level.to(size.dtype))
        total = over.sum(1, keepdim=True).double()
        found = ((over * size).sum(1, keepdim=True).double() - weight[:, None]) / total
        level = torch.where(total > 0, torch.maximum(found, level), level)
    edge = level.to(size.dtype)
    return torch.clamp(flat(change), -edge, edge).view(change.shape)


def _two_thirds(size: Tensor, weight: Tensor) -> Tensor:
    """The proximal operator of weight * size^(2/3), size >= 0, in closed form."""
    inner = size**4 / 256 - weight**3 * (8 / 729)
    root = inner.clamp_min(0).sqrt()
    square = size**2 / 16
    b = 2 * ((square + root) ** (1 / 3) + (square - root).clamp_min(0) ** (1 / 3))
    side = b.sqrt()
    found = (((2 * size / side.clamp_min(1e-30) - b).clamp_min(0).sqrt() + side) ** 3) / 8
    return torch.where((inner >= 0) & (size > 0), found, 0.0)
