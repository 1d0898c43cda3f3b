"""The L0 ball in a box: at most so many pixels, or coordinates, change, each as far as the box allows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.core.rows import choose, flat
from ironbound.sets.ball import Ball, BallRegion, edges_within


@dataclass(frozen=True, eq=False, repr=False)
class L0(Ball):
    """All inputs that differ from x in at most `eps` pixels, by any amount within the model's box.

    of: "pixels", positions over all channels of samples (channels, height, width), or of any with three dimensions and
    more; samples of fewer have no channels, and each of their values is a pixel. "coordinates": each value by itself.

    `sample` draws `eps` of the pixels, each choice with the same probability, and gives them values uniform in the box.
    There is no steepest direction of unit length; `support` maximises a linear function exactly.

    >>> L0(3, of="coordinates")
    L0(eps=3.0, of='coordinates')
    """

    of: Literal["pixels", "coordinates"] = "pixels"

    can = Can.PROJECT | Can.SAMPLE | Can.SUPPORT | Can.SCALE
    norm = "l0"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("pixels", "coordinates"):
            raise UsageError(f'L0: of is "pixels" or "coordinates"; got {self.of!r}.')
        counts = self.eps if isinstance(self.eps, Tensor) else torch.tensor([self.eps])
        odd = counts[counts != counts.floor()]
        if len(odd):
            raise UsageError(f"L0: eps is a number of {self.of}, and so a whole one; got {float(odd[0])!r}.")

    def times(self, factor: float) -> Self:
        """The same with `factor` times the count, rounded down."""
        more = self.eps * factor
        return replace(self, eps=more.floor() if isinstance(more, Tensor) else float(torch.tensor(more).floor()))

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> L0Region:
        """The region around x, shape (n, ...)."""
        parts = self._parts(x, box)
        lo, hi = _edges(x, parts["radius"], box, parts["mask"])
        channels = x.shape[1] if self.of == "pixels" and x.ndim > 3 else 1
        return L0Region(lo=lo, hi=hi, channels=channels, **parts)


@dataclass(frozen=True)
class L0Region(BallRegion):
    """Inputs that differ from each row of x in few pixels; `radius` is how many."""

    norm = "l0"

    channels: int = 1
    """Values a pixel."""
    step: ClassVar[float] = 1.0
    """Radii are multiples of it."""

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        """The same with other counts, rounded down."""
        radius = radius.floor()
        lo, hi = _edges(self.x, radius, self.box, self.mask)
        return replace(self, lo=lo, hi=hi, radius=radius)

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """How many pixels differ, float64."""
        return self.by_pixel(p != self.x).any(1).sum(1).double()

    @property
    def widest(self) -> float:
        """The number of pixels."""
        return self.x[0].numel() / self.channels if len(self.x) else math.inf

    def project(self, p: Tensor) -> Tensor:
        """The pixels that gain most by being p, clamped to the box, instead of x; of equals the first."""
        p = self._free(p)
        near = torch.clamp(p, self.lo, self.hi)
        inside = self.size(near) <= self.radius
        if bool(inside.all()):
            return near
        moved = near.double() - self.x.double()
        gain = moved * (2 * (p.double() - self.x.double()) - moved)  # |p - x|^2 - |p - near|^2
        kept = _best(self.by_pixel(gain).sum(1), self.radius)
        return choose(inside, near, torch.where(self.by_value(kept), near, self.x))

    def sample(self, rng: Rng) -> Tensor:
        shape, kind = tuple(self.x.shape[1:]), self.x.dtype
        if not math.isfinite(self._width):
            raise CompositionError("L0 draws values from the model's range, and this model has none: give it one.")
        order = rng.fold("pixels").uniform((int(flat(self.x).shape[1] / self.channels),), torch.float64, 0, 1)
        if self.mask is not None:
            order = torch.where(self.by_pixel(self.mask).any(1), order, -1.0)
        low, high = self._ends
        values = rng.fold("values").uniform(shape, kind, low, high).clamp(low, high)
        return torch.where(self.by_value(_best(order + 1, self.radius)), self._free(values), self.x)

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """The pixels with the most to gain go to the ends of the box that their gradients point to."""
        slope = g.double()
        end = torch.where(g > 0, self.hi, torch.where(g < 0, self.lo, self.x))
        gain = torch.where(g != 0, slope * (end.double() - self.x.double()), 0.0)
        by_pixel = self.by_pixel(gain).sum(1)
        kept = _best(by_pixel, self.radius)
        value = flat(slope * self.x.double()).sum(1) + torch.where(kept, by_pixel, 0.0).sum(1)
        return torch.where(self.by_value(kept), end, self.x), value

    def moves(self, slope: Tensor, room: Tensor, radius: Float[Tensor, " m"]) -> Tensor:
        """How far each value goes to maximise a linear function: as far as it can, in the pixels that gain most.

        The slopes may be those of a window of the picture, (m, channels, ...) where a pixel has channels.
        """
        wide = (len(slope), self.channels, slope[0].numel() // self.channels) if len(slope) else (0, self.channels, 0)
        gain = torch.where(slope > 0, slope * room, 0.0).reshape(wide).sum(1)
        kept = _best(gain, radius)[:, None].expand(wide).reshape(slope.shape)
        return torch.where(kept & (slope > 0), room, 0.0)

    def by_pixel(self, values: Tensor) -> Tensor:
        """Values in the shape of x as (n, channels, pixels)."""
        wide = flat(values)
        pixels = wide.shape[1] // self.channels  # which -1 could not tell of no rows
        return wide.reshape(len(wide), self.channels, pixels)

    def by_value(self, pixels: Bool[Tensor, "n pixels"]) -> Tensor:
        """What is said of pixels, said of each value, in the shape of x."""
        return pixels[:, None].expand(-1, self.channels, -1).reshape(self.x.shape)


def _best(gain: Float[Tensor, "n pixels"], radius: Float[Tensor, " n"]) -> Bool[Tensor, "n pixels"]:
    """The pixels with the largest gains above 0, at most as many as each row's radius; of equals the first."""
    count = radius.clamp_max(gain.shape[1]).long()
    most = int(count.max()) if len(count) else 0
    if most == 0:
        return torch.zeros_like(gain, dtype=torch.bool)
    least = gain.topk(most, dim=1).values.gather(1, (count - 1).clamp_min(0)[:, None])
    above, equal = gain > least, gain == least
    ties = equal & (equal.cumsum(1) <= count[:, None] - above.sum(1, keepdim=True))
    return (above | ties) & (gain > 0) & (count > 0)[:, None]


def _edges(x: Tensor, count: Int[Tensor, " n"], box: Box, mask: Any) -> tuple[Tensor, Tensor]:
    """The whole box, where at least one pixel may change."""
    return edges_within(x, torch.where(count >= 1, math.inf, 0.0).to(torch.float64), box, mask)
