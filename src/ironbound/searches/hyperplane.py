"""The nearest point of a hyperplane within the box, in Linf, L2 and L1: FAB's step, exact and without sorting all values.

Each row is a problem in one unknown. With v = |w| and `room` the way of each value to its edge in the direction that
helps, the change of a value is

    Linf   min(t, room)            the same t for all values
    L2     min(t v, room)          (the KKT conditions: t is the multiplier of the plane)
    L1     room for the largest v, then a part of the next one, then nothing (a fractional knapsack)

and the gain sum(v * change) has to be the gap. In Linf and L2 the gain is concave and piecewise linear in t, so that
Newton's method rises to the answer and ends there, after two to four looks at the values as a rule. In L1 few values
suffice mostly; those are picked out first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}
"""The order of the norm in which a plane's normal is measured, for each norm of the change."""
FEW = 32  # values that a first attempt in L1 looks at
GROWTH = 8  # how many times as many the next one takes


@dataclass(frozen=True)
class Planes:
    """A hyperplane a row with the normals w, shape (n, d), and the box [low, high] of all values; float32 or float64.

    Where a value of w is zero the change is, too. Rows of zeros, or with values that are not finite, move nothing.
    """

    norm: str
    w: Float[Tensor, "n d"]
    low: float = -torch.inf
    high: float = torch.inf

    def nearest(
        self, p: Float[Tensor, "n d"], gap: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """The smallest change with <w, change> = gap and p + change in the box, and its length (float64) in the norm.

        `gap` is float64. Where no point of the box is on the plane, the change to the one nearest to it: every value goes
        to its edge.
        """
        if self.w.shape[1] == 0 or len(self.w) == 0:
            return torch.zeros_like(p), torch.zeros_like(gap)
        v, sign, scale = self._normal
        gap = gap.double() / scale
        usable = torch.isfinite(gap)
        gap = torch.where(usable, gap, 0.0)
        direction = sign * gap.sign().to(p.dtype)[:, None]
        far = torch.finfo(p.dtype).max ** 0.75  # stands for no edge: sums of products with it stay finite
        room = torch.minimum(direction * (p - min(self.high, far)), direction * (p - max(self.low, -far)))
        change = _SIZES[self.norm](v, room.clamp_max_(0).neg_(), gap.abs())
        return change * direction, _LENGTHS[self.norm](change)

    @cached_property
    def _normal(self) -> tuple[Tensor, Tensor, Tensor]:
        """|w| divided by its largest value, so that no square is lost; the signs; the largest value, 1 where it is none."""
        v = self.w.abs()
        scale = v.amax(1)
        good = torch.isfinite(scale) & (scale > 0)
        w = self.w if bool(good.all()) else torch.where(good[:, None], self.w, 0.0)
        scale = torch.where(good, scale, 1.0)
        return (w / scale[:, None]).abs_(), w.sign(), scale.double()


def _even(v: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    return _rising(v, None, room, gap)


def _steep(v: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    return _rising(v, v, room, gap)


def _rising(
    v: Float[Tensor, "n d"], pace: Float[Tensor, "n d"] | None, room: Float[Tensor, "n d"], gap: Float[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """min(t pace, room) with the t at which sum(v * it) = gap; `room` where even that is too little. None: a pace of 1."""
    rate = v if pace is None else v * pace
    total, tiny = _sum(rate), 4 * torch.finfo(v.dtype).eps
    t = torch.where(total > 0, gap / total, 0.0)
    while True:
        step = t.to(v.dtype)[:, None] if pace is None else t.to(v.dtype)[:, None] * pace
        size = torch.minimum(step, room)
        short = gap - _sum(size * v)
        if not bool((short > tiny * gap).any()):
            return size
        free = (room - step).sign_().clamp_min_(0)  # as room > step, which takes three times as long
        slope = _sum(free.mul_(rate))
        following = t + short / slope
        rises = (following > t * (1 + tiny)) & (slope > 0)
        if not bool(rises.any()):
            stuck = (slope == 0) & (short > 0)
            return torch.where(stuck[:, None], room, size) if bool(stuck.any()) else size
        t = torch.where(rises, following, t)


def _steepest_first(v: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Each value to its edge, the largest v first, until the gap is closed; rows that want more values look again."""
    few = FEW
    change, short = _among(v, room, gap, few)
    while few < v.shape[1] and bool(short.any()):
        at, few = short.nonzero()[:, 0], GROWTH * few
        change[at], short[at] = _among(v[at], room[at], gap[at], few)
    return change


def _among(v: Tensor, room: Tensor, gap: Tensor, few: int) -> tuple[Tensor, Bool[Tensor, " n"]]:
    """The changes when only the `few` largest v may change, and which rows could use more."""
    weight, place = v.topk(min(few, v.shape[1]), dim=1)
    rooms = room.gather(1, place)
    gains = (weight * rooms).double().cumsum(1)
    left = gap[:, None] - pad(gains[:, :-1], (1, 0))
    part = (left.clamp_min(0).to(v.dtype) / weight.clamp_min(torch.finfo(v.dtype).tiny)).minimum(rooms)
    return torch.zeros_like(room).scatter_(1, place, part), (gains[:, -1] < gap) & (weight[:, -1] > 0)


def _sum(values: Tensor) -> Float[Tensor, " n"]:
    return values.sum(1).double()  # dtype=float64 would copy all values, a third of all the time


_SIZES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linf": _even, "l2": _steep, "l1": _steepest_first,
}  # fmt: skip
_LENGTHS: dict[str, Callable[[Tensor], Tensor]] = {
    "linf": lambda change: change.amax(1).double(),
    "l2": lambda change: _sum(change.square()).sqrt(),
    "l1": _sum,
}
