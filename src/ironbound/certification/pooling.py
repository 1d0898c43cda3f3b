"""Linear bounds of maxima: pooling over windows, with padding, dilation, ceil_mode or adaptive sizes, and over dimensions."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.functionals import Back, Rows
from ironbound.certification.graph import Node, Ref
from ironbound.certification.intervals import Interval


def argument(node: Node, at: int, default: Any = None) -> Any:
    """An argument by position, where the export left out trailing defaults."""
    return node.args[at] if at < len(node.args) else default


class Maxima(NamedTuple):
    """x at `under` <= max of the window <= slope x at `over` + lift, for windows (k n, others, windows)."""

    under: Int[Tensor, ...]
    """A place in the flattened pooled dimensions."""
    over: Int[Tensor, ...]
    slope: Float[Tensor, ...]
    lift: Float[Tensor, ...]


def maximum(node: Node, a: Any, rows: Rows) -> Back:
    """A functional of maxima (minima) as one of the values.

    Below: the value with the highest centre. Above: with u1 >= u2 the two largest upper ends, x1 the value that has the
    first, and m the larger of u2 and the best lower end, max <= m + relu(x1 - m), and ReLU below its chord. Where one value
    dominates all others both are exact.

    Paper: Singh et al. 2019, "An Abstract Domain for Certifying Neural Networks" (POPL, DeepPoly), section 4.4. Differs:
    there the upper bound of an undecided window is the constant u1, and the lower one the value with the best lower end.
    """
    known = rows.known
    ref, sign = node.args[0], _sign(node)
    if node.name not in known.lines:
        known.lines[node.name] = _maxima(node, known.values[ref.name])
    found = Maxima(*(rows.gathered(part, False) for part in known.lines[node.name]))
    a = a[0].dense() if isinstance(a, dict) else a
    dims = _dims(node)
    shape = [len(rows) * ref.shape[0], *ref.shape[1:]]
    others = [size for dim, size in enumerate(shape) if dim not in dims]
    a = sign * a.reshape(shape[0], prod(others[1:]), -1)
    up, down = a.clamp(min=0), a.clamp(max=0)
    spread = a.new_zeros(*a.shape[:2], prod(shape[dim] for dim in dims))
    spread = spread.scatter_add(2, found.under.expand(a.shape), up)
    spread = spread.scatter_add(2, found.over.expand(a.shape), down * found.slope)
    inside = (sign * spread).reshape(*others, *(shape[dim] for dim in dims))
    back = inside.movedim(list(range(-len(dims), 0)), dims)
    return Back([(ref, back)], rows.summed(down * found.lift))


def contested(node: Node, x: Interval) -> Bool[Tensor, ...]:
    """Values of windows that none dominates, which may be the largest of theirs: where tighter ends would help."""
    places, (lower, upper) = _places(node, x.lower.device), _ends(node, x)
    low, high = _windows(lower, places), _windows(upper, places)
    top = high.argmax(-1, keepdim=True)
    rival = high.scatter(-1, top, -torch.inf).amax(-1, keepdim=True)
    best = low.amax(-1, keepdim=True)
    asked = ((low.gather(-1, top) < rival) & (high > best)).to(lower.dtype)
    spread = lower.new_zeros(*lower.shape[:2], lower.shape[2] + 1)
    index = places.flatten().expand(*lower.shape[:2], -1)
    spread = spread.scatter_add(2, index, asked.flatten(2))[..., :-1] > 0
    dims = _dims(node)
    shape = x.lower.shape
    others = [size for dim, size in enumerate(shape) if dim not in dims]
    return spread.reshape(*others, *(shape[dim] for dim in dims)).movedim(list(range(-len(dims), 0)), dims)


def _maxima(node: Node, x: Interval) -> Maxima:
    places, (lower, upper) = _places(node, x.lower.device), _ends(node, x)
    low, high = _windows(lower, places), _windows(upper, places)
    middle = torch.where(high.isinf(), high, (low + high) / 2)
    under = middle.argmax(-1, keepdim=True)
    over = high.argmax(-1, keepdim=True)
    first, its_low = high.gather(-1, over), low.gather(-1, over)
    rival = high.scatter(-1, over, -torch.inf).amax(-1, keepdim=True)
    floor = torch.maximum(rival, low.amax(-1, keepdim=True))
    width = first - its_low
    slope = torch.where(width > 0, (first - floor) / width.clamp_min(torch.finfo(width.dtype).tiny), 0.0)
    where = places.expand(*low.shape[:2], *places.shape)
    lift = torch.where(first.isnan(), first, floor - slope * its_low)  # above NaN there is no line
    return Maxima(*(part.squeeze(-1) for part in (where.gather(-1, under), where.gather(-1, over), slope, lift)))


def _ends(node: Node, x: Interval) -> tuple[Tensor, Tensor]:
    """Both ends as (k n, others, pooled places), of -x for minima."""
    dims = _dims(node)
    low, high = (
        end.movedim(dims, list(range(-len(dims), 0))).reshape(len(end), -1, prod(end.shape[dim] for dim in dims))
        for end in (x.lower, x.upper)
    )
    return (-high, -low) if _sign(node) < 0 else (low, high)


def _windows(flat: Tensor, places: Tensor) -> Tensor:
    """(k n, others, windows, places of one), -inf where a window has no value."""
    padded = torch.cat([flat, torch.full_like(flat[..., :1], -torch.inf)], -1)
    return padded[..., places]


def _sign(node: Node) -> int:
    return -1 if node.op.split(".")[0] in ("amin", "min") else 1


def _dims(node: Node) -> list[int]:
    """The dimensions that are pooled, all of them >= 1."""
    ndim = len(node.args[0].shape)
    if "pool" in node.op:
        return list(range(ndim - (3 if "3d" in node.op else 2), ndim))
    dims = argument(node, 1)
    return sorted(dim % ndim for dim in ([dims] if isinstance(dims, int) else dims))


def _places(node: Node, device: torch.device) -> Int[Tensor, "windows places"]:
    """For each window its places in the flattened pooled dimensions; one past the last where there is none."""
    ref: Ref = node.args[0]
    assert ref.shape is not None
    sizes = tuple(ref.shape[dim] for dim in _dims(node))
    if "pool" not in node.op:
        return torch.arange(prod(sizes), device=device)[None]
    if node.op.startswith("adaptive"):
        steps = [_adaptive(size, out) for size, out in zip(sizes, argument(node, 1), strict=True)]
        return _joined(tuple(steps), sizes).to(device)
    made = node.target(torch.empty(1, 1, *sizes, device="meta"), *node.args[1:])[0].shape[2:]
    kernel, stride, padding, dilation = (
        _many(argument(node, at, default), len(sizes)) for at, default in ((1, None), (2, []), (3, 0), (4, 1))
    )
    stride = stride or kernel
    steps = [_strided(*part) for part in zip(sizes, made, kernel, stride, padding, dilation, strict=True)]
    return _joined(tuple(steps), sizes).to(device)


def _many(value: Any, count: int) -> list[int]:
    value = [value] if isinstance(value, int) else list(value)
    return value * count if len(value) == 1 else value


Steps = tuple[tuple[int, ...], ...]
"""Along one dimension the places of each window; -1 for one beyond the edge."""


def _strided(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Steps:
    places = [[at * stride - padding + tap * dilation for tap in range(kernel)] for at in range(out)]
    return tuple(tuple(place if 0 <= place < size else -1 for place in window) for window in places)


def _adaptive(size: int, out: int | None) -> Steps:
    out = size if out is None else out
    windows = [range(at * size // out, ceil((at + 1) * size / out)) for at in range(out)]
    widest = max(len(window) for window in windows)
    return tuple(tuple(window) + (-1,) * (widest - len(window)) for window in windows)


@lru_cache(64)
def _joined(steps: tuple[Steps, ...], sizes: tuple[int, ...]) -> Tensor:
    """Windows of several dimensions from those of each."""
    flat, valid = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)
    for along, size in zip(steps, sizes, strict=True):
        index = torch.tensor(along)
        flat = (flat[:, None, :, None] * size + index[None, :, None, :]).flatten(2).flatten(0, 1)
        valid = (valid[:, None, :, None] & (index >= 0)[None, :, None, :]).flatten(2).flatten(0, 1)
    return torch.where(valid, flat, prod(sizes))
