"""The L1 ball in a box: exact projection by a safeguarded Newton method on one multiplier a row, support by greedy filling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Box
from ironbound.core.rng import Rng
from ironbound.core.rows import choose, column, flat
from ironbound.sets.ball import Ball, BallRegion

FEW = 64
"""Values among which the support looks for the largest gradients first; eight times as many where these were too few."""
BISECT = 8
"""Every so many steps the bracket is halved, whatever Newton says: rooms make the sum neither convex nor concave."""
MOST = 60 * BISECT


@dataclass(frozen=True, eq=False, repr=False)
class L1(Ball):
    """All inputs whose values differ from those of x by at most `eps` in sum, and within the model's box.

    `sample` draws uniformly from the ball and projects onto the box: independent exponential numbers with random signs,
    divided by their sum and one more (Barthe, Guedon, Mendelson, Naor 2005, "A probabilistic approach to the geometry of
    the l_p^n-ball", arXiv math/0503650, theorem 1).
    """

    norm = "l1"

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> L1Region:
        """The region around x, shape (n, ...)."""
        return L1Region(**self._edged(x, box))


@dataclass(frozen=True)
class L1Region(BallRegion):
    """An L1 ball in the box around each row of x."""

    norm = "l1"

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """The sum of the absolute changes, float64."""
        return flat(p.to(torch.float64, copy=True).sub_(self.x)).abs_().sum(1)

    @property
    def widest(self) -> float:
        """The sum of the box's edges."""
        return self._width * self.x[0].numel() if len(self.x) else self._width

    def steepest(self, g: Tensor) -> Tensor:
        """One value by one unit: that with the largest gradient, the first of equals."""
        slope = flat(self._masked(g))
        if slope.shape[1] == 0 or len(slope) == 0:
            return torch.zeros_like(g)
        at = slope.abs().argmax(1, keepdim=True)
        return torch.zeros_like(slope).scatter_(1, at, slope.gather(1, at).sign()).view(g.shape)

    def sample(self, rng: Rng) -> Tensor:
        shape, kind = tuple(self.x.shape[1:]), self.x.dtype
        parts = self._masked(-torch.log1p(-rng.fold("parts").uniform(shape, torch.float64, 0, 1)))
        total = flat(parts).sum(1) - torch.log1p(-rng.fold("rest").unit())
        move = column(self._reach(torch.float64) / total, parts) * parts * rng.fold("signs").sign(shape, torch.float64)
        return self.project(self.x + move.to(kind))

    def project(self, p: Tensor) -> Tensor:
        """The nearest point of ball and box: each change shrinks by the same amount, to no less than 0, and ends at the box.

        (The KKT conditions: with multiplier m of the ball, the change is min(max(|p - x| - m, 0), room).)
        """
        return self._in_portions(L1Region._nearest, p)

    def _nearest(self, p: Tensor) -> Tensor:
        p = self._free(p)
        clamped, outside = self._clamped(p)
        if not bool(outside.any()):
            return clamped
        step = p - self.x
        wide = torch.promote_types(step.dtype, torch.float32)
        length, room = flat(step).abs().to(wide).clamp_max_(torch.finfo(wide).max / 4), flat(self._room(step)).to(wide)
        top = torch.where(outside, length.amax(1), 0.0)
        below = length.sub_(
            top[:, None]
        )  # from the largest down: far away, differences are all that is left of numbers
        radius = self.radius * (1 - 2 * torch.finfo(step.dtype).eps)  # so that rounding rarely leaves the ball
        level = _level(below, room, -top.double(), radius)
        size = _polished(below.double(), room.double(), level, -top.double(), radius)
        return choose(outside, self._inside(step.sign(), size.view(step.shape)), clamped)

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """The values with the largest gradients go to their edges, one after the other, while the radius lasts."""
        slope = flat(g).double()
        room = torch.where(
            slope > 0, flat(self.hi).double() - flat(self.x).double(), flat(self.x).double() - flat(self.lo).double()
        )
        room = torch.where(slope == 0, 0.0, room)
        size = _greedy(slope.abs(), room, self.radius)
        gain = torch.where(size > 0, size * slope.abs(), 0.0)
        value = (slope * flat(self.x).double()).sum(1) + gain.sum(1)
        return self._inside(g.sign(), size.view(g.shape)), value

    def moves(self, slope: Tensor, room: Tensor, radius: Float[Tensor, " m"]) -> Tensor:
        """How far each value goes to maximise a linear function: the steepest first, each as far as it can."""
        return _greedy(flat(slope), flat(torch.where(slope > 0, room, 0.0)), radius).view(slope.shape)

    def _inside(self, sign: Tensor, size: Tensor) -> Tensor:
        """x + sign * size, shrunk by rounding errors until float64 finds it inside."""
        shrink = 2 * torch.finfo(self.x.dtype).eps
        aim = self.radius * (1 - 1e-12)  # because a float64 sum may change its last bit with the batch
        while True:
            move = torch.where(size > 0, sign * size.to(sign.dtype), 0.0).to(sign.dtype)
            p = torch.clamp(self.x + move, self.lo, self.hi)
            total = self.size(p)
            outside = total > aim
            if not bool(outside.any()):
                return p
            size = size * column(torch.where(outside, (aim / total) * (1 - shrink), 1.0).clamp_min(0), size)
            shrink *= 2


def _level(
    below: Float[Tensor, "m d"], room: Float[Tensor, "m d"], low: Float[Tensor, " m"], radius: Float[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """The level in [low, 0] at which sum_i min(max(below_i - level, 0), room_i) = radius, float64.

    The sum falls as the level rises, piecewise linearly. Newton's steps end exactly once they are in the right piece; a
    bracket holds them where rooms make the sum neither convex nor concave. Rows leave as they arrive.
    """
    answer, high = low.clone(), torch.zeros_like(low)
    at, level, tiny = torch.arange(len(low), device=low.device), low, 4 * torch.finfo(below.dtype).eps
    for number in range(MOST):
        rest = below - level.to(below.dtype)[:, None]
        count = ((rest > 0) & (rest < room)).to(below.dtype).sum(1)  # exact, and faster than counting
        total = rest.clamp_min_(0).minimum(room).sum(1, dtype=torch.float64)
        low, high = torch.where(total > radius, level, low), torch.where(total > radius, high, level)
        fall = torch.where(
            total > 2 * radius, total * (total / radius).log(), total - radius
        )  # far off, tails are log-like
        following = level + fall / count
        arrived = (total == radius) | (high - low <= tiny * low.abs())
        arrived |= ((following - level).abs() <= tiny * level.abs()) & (count > 0)
        halved = ~((following > low) & (following < high)) | (number % BISECT == BISECT - 1)
        following = torch.where(arrived, level, torch.where(halved, (low + high) / 2, following))
        answer[at] = following
        open_ = (~arrived).nonzero()[:, 0]
        if not len(open_):
            break
        level = following
        if len(open_) < len(at):
            at, level, low, high, radius = (table[open_] for table in (at, level, low, high, radius))
            below, room = below.index_select(0, open_), room.index_select(0, open_)
    return answer


def _polished(below: Tensor, room: Tensor, level: Tensor, low: Tensor, radius: Tensor) -> Tensor:
    """How far each value moves, after one last step of Newton in float64."""
    size = (below - level[:, None]).clamp_min_(0).minimum(room)
    count = ((size > 0) & (size < room)).double().sum(1)
    excess = torch.where(count > 0, (size.sum(1) - radius) / count, 0.0)
    level = torch.where(excess.isfinite(), torch.maximum(level + excess, low), level)
    return (below - level[:, None]).clamp_min_(0).minimum(room)


def _greedy(
    slope: Float[Tensor, "m d"], room: Float[Tensor, "m d"], radius: Float[Tensor, " m"]
) -> Float[Tensor, "m d"]:
    """How far each value goes when the steepest go first, each as far as it can, until the radius is used up."""
    size = torch.zeros_like(room)
    at, few = torch.arange(len(slope), device=slope.device), min(FEW, slope.shape[1])
    while len(at) and few:
        steep, place = slope[at].topk(few, dim=1)
        rooms = torch.where(steep > 0, room[at].gather(1, place), 0.0)
        before = torch.nn.functional.pad(rooms.cumsum(1)[:, :-1], (1, 0))
        size[at] = size[at].scatter(
            1, place, (radius[at, None] - before).nan_to_num(nan=torch.inf).clamp_min(0).to(rooms.dtype).minimum(rooms)
        )
        short = (before[:, -1] + rooms[:, -1] < radius[at]) & (steep[:, -1] > 0)
        if few == slope.shape[1]:
            break
        at, few = at[short], min(8 * few, slope.shape[1])
    return size
