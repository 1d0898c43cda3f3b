"""Balls around the input, within the model's box: L-infinity and L2. A point is the changed input itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError, InputError, UsageError
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.core.rows import choose, column, flat
from ironbound.sets.bounds import edges, inner_box

BALL = Can.PROJECT | Can.SAMPLE | Can.STEER | Can.SCALE


@dataclass(frozen=True)
class _Ball(ABC):
    eps: float = math.inf
    """The radius, in the units of the model's inputs; inf (the whole box) where only the smallest change matters."""

    can = BALL

    def __post_init__(self) -> None:
        if not (isinstance(self.eps, (int, float)) and self.eps >= 0):
            raise UsageError(f"{type(self).__name__}: eps is a radius >= 0 in input units; got {self.eps!r}.")
        object.__setattr__(self, "eps", float(self.eps))

    @abstractmethod
    def at(self, x: Float[Tensor, "n ..."], box: Box) -> BallRegion: ...

    def _parts(self, x: Tensor, box: Box) -> dict[str, Any]:
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{type(self).__name__} changes a tensor of floats; got {kind}.")
        radius = torch.full((len(x),), self.eps, dtype=torch.float64, device=x.device)
        lo, hi = edges(x, radius, box)
        return {"x": x, "lo": lo, "hi": hi, "radius": radius, "box": box}


@dataclass(frozen=True)
class Linf(_Ball):
    """All inputs within `eps` of x in every value, and within the model's box.

    `sample` draws uniformly from the ball and clamps to the box, as PGD's start does (Madry et al. 2018).

    >>> Linf(8 / 255)
    Linf(eps=0.03137254901960784)
    """

    norm = "linf"

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> LinfRegion:
        """The region around x, shape (n, ...)."""
        return LinfRegion(**self._parts(x, box))


@dataclass(frozen=True)
class L2(_Ball):
    """All inputs within Euclidean distance `eps` of x (over all values of a sample), and within the model's box.

    `sample` draws uniformly from the ball and projects onto the box.
    """

    norm = "l2"

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> L2Region:
        """The region around x, shape (n, ...)."""
        return L2Region(**self._parts(x, box))


@dataclass(frozen=True)
class BallRegion(ABC):
    """What the balls share. `lo` and `hi` are the tightest box around the region, exact in x's own type."""

    x: Tensor
    lo: Tensor
    hi: Tensor
    radius: Tensor
    box: Box

    items = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        rows = {name: getattr(self, name).index_select(0, index) for name in ("x", "lo", "hi", "radius")}
        return replace(self, **rows)

    def identity(self) -> Tensor:
        return self.x

    def leaf(self, p: Tensor) -> Tensor:
        return p

    def apply(self, p: Tensor, rng: Rng, items: Int[Tensor, " m"] | None = None) -> Tensor:
        return p

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        lo, hi = edges(self.x, radius, self.box)
        return replace(self, lo=lo, hi=hi, radius=radius)

    def distance(self, p: Tensor) -> Float[Tensor, " m"]:
        return torch.linalg.vector_norm(flat(p.double() - self.project(p).double()), dim=1)

    def _within(self, p: Tensor) -> Bool[Tensor, " m"]:
        return flat((p >= self.lo) & (p <= self.hi)).all(1)

    def _reach(self, dtype: torch.dtype) -> Tensor:
        """The radius, or the box's diagonal where that is smaller: what random draws can use."""
        reach = self.radius.clamp_max(_diagonal(self.x, self.box))
        if not bool(torch.isfinite(reach).all()):
            raise CompositionError(
                "there is no drawing from a set without end: give it a radius, or the model a range."
            )
        return reach.to(dtype)

    @property
    def _ends(self) -> tuple[float, float]:
        return inner_box(self.box, self.x.dtype)

    @abstractmethod
    def contains(self, p: Tensor) -> Bool[Tensor, " m"]: ...

    @abstractmethod
    def size(self, p: Tensor) -> Float[Tensor, " m"]: ...

    @abstractmethod
    def project(self, p: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LinfRegion(BallRegion):
    """An L-infinity ball in the box around each row of x."""

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        return self._within(p)

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        return flat(p.double() - self.x).abs_().amax(1)

    def project(self, p: Tensor) -> Tensor:
        return torch.clamp(p, self.lo, self.hi)

    def sample(self, rng: Rng) -> Tensor:
        noise = rng.uniform(tuple(self.x.shape[1:]), self.x.dtype, -1, 1)
        return self.project(self.x + column(self._reach(self.x.dtype), self.x) * noise)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        p = torch.where(g > 0, self.hi, torch.where(g < 0, self.lo, self.x))
        return p, flat(g.double() * p.double()).sum(1)


@dataclass(frozen=True)
class L2Region(BallRegion):
    """A Euclidean ball in the box around each row of x."""

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        return self._within(p) & (self.size(p) <= self.radius)

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        return torch.linalg.vector_norm(flat(p.double() - self.x), dim=1)

    def steepest(self, g: Tensor) -> Tensor:
        tiny = torch.finfo(g.dtype).tiny
        g = g / column(flat(g).abs().amax(1).clamp_min(tiny), g)  # squares of 1e-30, a sure net's gradient, are 0
        norm = torch.linalg.vector_norm(
            flat(g), dim=1, dtype=torch.float64
        )  # in float32 a lone row is summed otherwise
        return g / column(norm.clamp_min(tiny), g)

    def sample(self, rng: Rng) -> Tensor:
        direction = self.steepest(rng.fold("direction").normal(tuple(self.x.shape[1:]), self.x.dtype))
        share = rng.fold("distance").unit() ** (1 / flat(self.x).shape[1])
        return self.project(self.x + column(self._reach(torch.float64) * share, self.x) * direction)

    def project(self, p: Tensor) -> Tensor:
        """The nearest point of ball and box: clamp(x + t (p - x)) with the t in (0, 1] at which it just fits the ball.

        (The KKT conditions of the projection: with multiplier m of the ball, t = 1 / (1 + m).)
        """
        clamped = torch.clamp(p, self.lo, self.hi)
        outside = (self.size(clamped) > self.radius) | flat(clamped != torch.clamp(p, *self._ends)).any(1)
        if not bool(outside.any()):
            return clamped
        step = p - self.x
        room = flat(torch.where(step > 0, self.hi - self.x, self.x - self.lo))
        t, end = _fill(flat(step).abs(), room, self.radius)
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
    t = radius / total(slope2).sqrt()
    while True:
        full = (slope * t[:, None].to(slope.dtype) >= room) & (slope > 0)
        used, rest = total(torch.where(full, room2, 0.0)), total(torch.where(full, 0.0, slope2))
        following = ((radius**2 - used).clamp_min(0) / rest).sqrt()  # rest 0: everything is full, and t has no end
        following = torch.where(rest > 0, following, math.inf)
        rises = following > t * (1 + tiny)
        if not bool(rises.any()):
            return torch.minimum(t, end), end
        t = torch.where(rises, following, t)  # the others have arrived, whatever company they keep


def _diagonal(x: Tensor, box: Box) -> float:
    return math.inf if box is None or not len(x) else (box[1] - box[0]) * math.sqrt(x[0].numel())
