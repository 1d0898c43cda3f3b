"""The Euclidean ball in a box: projection and support by Newton's method on one multiplier a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Box
from ironbound.core.rng import Rng
from ironbound.core.rows import choose, column, flat
from ironbound.sets.ball import Ball, BallRegion


@dataclass(frozen=True, eq=False, repr=False)
class L2(Ball):
    """All inputs within Euclidean distance `eps` of x (over all values of a sample), and within the model's box.

    `sample` draws uniformly from the ball and projects onto the box.
    """

    norm = "l2"

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> L2Region:
        """The region around x, shape (n, ...)."""
        return L2Region(**self._edged(x, box))


@dataclass(frozen=True)
class L2Region(BallRegion):
    """A Euclidean ball in the box around each row of x."""

    norm = "l2"

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """The Euclidean length of the change, float64."""
        return torch.linalg.vector_norm(flat(p.to(torch.float64, copy=True).sub_(self.x)), dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        g, tiny = self._masked(g), torch.finfo(g.dtype).tiny
        g = g / column(flat(g).abs().amax(1).clamp_min(tiny), g)  # squares of 1e-30, a sure net's gradient, are 0
        norm = torch.linalg.vector_norm(
            flat(g), dim=1, dtype=torch.float64
        )  # in float32 a lone row is summed otherwise
        return g / column(norm.clamp_min(tiny), g)

    def sample(self, rng: Rng) -> Tensor:
        direction = self.steepest(rng.fold("direction").normal(tuple(self.x.shape[1:]), self.x.dtype))
        share = rng.fold("distance").unit() ** (1 / self._dimensions())
        return self.project(self.x + column(self._reach(torch.float64) * share, self.x) * direction)

    def project(self, p: Tensor) -> Tensor:
        """The nearest point of ball and box: clamp(x + t (p - x)) with the t in (0, 1] at which it just fits the ball.

        (The KKT conditions of the projection: with multiplier m of the ball, t = 1 / (1 + m).)
        """
        return self._in_portions(L2Region._nearest, p)

    def _nearest(self, p: Tensor) -> Tensor:
        p = self._free(p)
        clamped, outside = self._clamped(p)
        if not bool(outside.any()):
            return clamped
        step = p - self.x
        t, end = _fill(flat(step).abs(), flat(self._room(step)), self.radius)
        nearest = self._inside(step, t.clamp_max(1.0), end)
        return choose(outside, nearest, clamped)

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """As `project`, along the gradient without end: t grows until the ball is full or every value is at its edge."""
        room = torch.where(g > 0, self.hi.double() - self.x.double(), self.x.double() - self.lo.double())
        slope = flat(g.double().abs())
        t, end = _fill(slope, flat(room), self.radius)
        gain = torch.minimum(slope * t[:, None], flat(room)) * slope
        value = flat(g.double() * self.x.double()).sum(1) + gain.nan_to_num(nan=0.0, posinf=math.inf).sum(1)
        return self._inside(g, t, end), value

    def moves(self, slope: Tensor, room: Tensor, radius: Float[Tensor, " m"]) -> Tensor:
        """How far each value goes to maximise a linear function: in proportion to its slope, to no more than its room."""
        t, _ = _fill(flat(slope), flat(room), radius)
        return torch.where(slope > 0, torch.minimum(slope * column(t, slope), room), 0.0)

    def _inside(self, step: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """clamp(x + t step), with t shrunk by rounding errors (at its end none are made) until float64 finds it inside."""
        shrink = 2 * torch.finfo(step.dtype).eps
        t = torch.where(t < end, t * (1 - shrink), t)
        aim = self.radius * (1 - 1e-12)  # because a float64 norm may change its last bit with the batch
        while True:
            move = torch.nan_to_num(column(t.to(step.dtype), step) * step, nan=0.0)
            p = torch.clamp(self.x + move, self.lo, self.hi)
            size = self.size(p)
            outside = size > aim
            if not bool(outside.any()):
                return p
            t = torch.where(outside, t * (aim / size) * (1 - shrink), t)
            shrink *= 2


def _fill(
    slope: Float[Tensor, "m d"], room: Float[Tensor, "m d"], radius: Float[Tensor, " m"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """The largest t with sum_i min(t slope_i, room_i)^2 <= radius^2, and that at which the last value meets its edge.

    Both float64, and t ends there.

    Newton's method on t^2: the sum is piecewise linear in it and concave, so the steps rise to the answer and end there.
    """
    slope2, room2, tiny = slope**2, room**2, 4 * torch.finfo(slope.dtype).eps
    end = torch.where(slope > 0, room / slope, 0.0).amax(1).double()  # where the last value is at its edge
    total = lambda squares: squares.sum(1, dtype=torch.float64)  # which does not feel how many rows there are
    length = total(slope2).sqrt()
    t = torch.where(length > 0, radius / length, math.inf)  # 0 / 0 is no number; nothing moves, whatever t is
    while True:
        full = (slope * t[:, None].to(slope.dtype) >= room) & (slope > 0)
        used, rest = total(torch.where(full, room2, 0.0)), total(torch.where(full, 0.0, slope2))
        following = ((radius**2 - used).clamp_min(0) / rest).sqrt()  # rest 0: everything is full, and t has no end
        following = torch.where(rest > 0, following, math.inf)
        rises = following > t * (1 + tiny)
        if not bool(rises.any()):
            return torch.minimum(t, end), end
        t = torch.where(rises, following, t)  # the others have arrived, whatever company they keep
