"""What Square Attack proposes: squares of one colour (Linf), or change moved from one window to another (L2, L1).

Everything works on windows of all problems at once: they have one size, and gather and scatter touch nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.rng import Rng
from ironbound.core.rows import flat, kept
from ironbound.sets.l1 import L1Region
from ironbound.sets.l2 import L2Region
from ironbound.sets.linf import LinfRegion

SHY = 1 - 1e-6  # of the radius: rounding to the input's type may then not leave the ball
EXACT = 1 - 1e-9  # of the ball's mass, against the order in which float64 sums are made


class Proposals(Protocol):
    """Where to start, and what to try next."""

    def start(self, region: Any, rng: Rng) -> Float[Tensor, "n ..."]:
        """The first points, one a problem."""
        ...

    def sizes(self, region: Any, p: Float[Tensor, "r ..."], row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """What `propose` will want to know of points of these problems, float64."""
        ...

    def numbers(self, region: Any) -> int:
        """How many random numbers a proposal takes."""
        ...

    def propose(
        self, region: Any, p: Float[Tensor, "n ..."], size: Float[Tensor, " n"], share: float, u: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n ..."]:
        """Points of the region that differ from p in windows with this share of the pixels; u is uniform in [0, 1)."""
        ...


def proposals_for(region: Any) -> Proposals:
    """Those for this region's norm and shape; raises CompositionError where there are none."""
    if not isinstance(region, (LinfRegion, L2Region, L1Region)):
        raise CompositionError(
            f"Square knows how to move in balls of Linf, L2 and L1; got {type(region).__name__}. Use one of these sets, "
            "or a search that draws from any set (noise)."
        )
    image_shape(region.x)
    if not bool(torch.isfinite(region.lo).all() & torch.isfinite(region.hi).all()):
        raise CompositionError("Square moves along the edge of the set: give it a radius, or the model a range.")
    return Squares() if isinstance(region, LinfRegion) else Bumps(2 if isinstance(region, L2Region) else 1)


# ------------------------------------------------------------------------------------------------------ windows
def image_shape(x: Float[Tensor, "n ..."]) -> tuple[int, int, int]:
    """Channels, height and width; a vector is an image of one channel and one row."""
    if x.ndim not in (2, 4):
        raise CompositionError(
            f"Square changes images (n, channels, height, width) and vectors (n, d); got shape {tuple(x.shape)}. "
            "Reshape the inputs, and let the model's first layer put them back."
        )
    return (x.shape[1], x.shape[2], x.shape[3]) if x.ndim == 4 else (1, 1, x.shape[1])


def extent(share: float, height: int, width: int, least: int = 1, odd: bool = False) -> tuple[int, int]:
    """Height and width of a window with this share of the pixels: a square, or a line where the image is one."""
    line = min(height, width) == 1
    side = max(round(share * height * width) if line else round((share * height * width) ** 0.5), least)
    side += odd and side % 2 == 0
    side = min(side, max(height, width) if line else min(height, width))
    return min(side, height), min(side, width)


@dataclass(frozen=True)
class Windows:
    """One window a problem, all of one size."""

    top: Int[Tensor, " n"]
    left: Int[Tensor, " n"]
    rows: int
    columns: int
    index: Int[Tensor, "n values"]
    """The places of its values, channel by channel, in the flat row of its problem."""

    @staticmethod
    def drawn(
        shape: tuple[int, int, int], size: tuple[int, int], down: Float[Tensor, " n"], across: Float[Tensor, " n"]
    ) -> Windows:
        """Windows whose corners are given by numbers in [0, 1): every place within the image is equally likely."""
        (_, height, width), (rows, columns) = shape, size
        top, left = (down * (height - rows + 1)).long(), (across * (width - columns + 1)).long()
        return Windows(top, left, rows, columns, (top * width + left)[:, None] + _first(shape, size, down.device))

    def of(self, table: Float[Tensor, "n ..."]) -> Float[Tensor, "n c pixels"]:
        """The windows' values."""
        return flat(table).gather(1, self.index).view(len(table), -1, self.rows * self.columns)

    def put(self, table: Float[Tensor, "n values"], values: Float[Tensor, "n c pixels"]) -> None:
        """Write other values into the windows of a flat table."""
        table.scatter_(1, self.index, flat(values))

    def inside(self, other: Windows) -> Bool[Tensor, "n 1 pixels"]:
        """Which of the pixels are in the other windows, of the same size, too."""
        count = lambda length: torch.arange(length, device=self.top.device)
        down = (self.top - other.top)[:, None] + count(self.rows)
        across = (self.left - other.left)[:, None] + count(self.columns)
        rows, columns = (down >= 0) & (down < self.rows), (across >= 0) & (across < self.columns)
        return (rows[:, :, None] & columns[:, None, :]).view(len(rows), 1, -1)


@cache
def _first(shape: tuple[int, int, int], size: tuple[int, int], device: torch.device) -> Int[Tensor, " values"]:
    """The places of the values of a window in the upper left corner."""
    (channels, height, width), (rows, columns) = shape, size
    count = lambda length: torch.arange(length, device=device)
    return ((count(channels)[:, None, None] * height + count(rows)[:, None]) * width + count(columns)).view(-1)


# --------------------------------------------------------------------------------------------------------- Linf
@dataclass(frozen=True)
class Squares:
    """Squares of one colour, every value at the lowest or the highest that it may have (algorithm 2)."""

    def start(self, region: Any, rng: Rng) -> Float[Tensor, "n ..."]:
        """Stripes: a sign for each channel and column."""
        channels, height, width = image_shape(region.x)
        up = rng.repeat(channels * width).unit().view(-1, channels, 1, width) < 0.5
        up = up.expand(-1, channels, height, width).reshape(region.x.shape)
        return torch.where(up, region.hi, region.lo)

    def sizes(self, region: Any, p: Float[Tensor, "r ..."], row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """Nothing is needed."""
        return torch.zeros(len(p), dtype=torch.float64, device=p.device)

    def numbers(self, region: Any) -> int:
        """Two for the corner, one for another colour, one a channel."""
        return 3 + image_shape(region.x)[0]

    def propose(
        self, region: Any, p: Float[Tensor, "n ..."], size: Float[Tensor, " n"], share: float, u: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n ..."]:
        """A sign for each channel of a window, other signs than it already shows."""
        channels, height, width = shape = image_shape(p)
        at = Windows.drawn(shape, extent(share, height, width), u[:, 0], u[:, 1])
        q = flat(p).clone()
        low, high, now = at.of(region.lo), at.of(region.hi), at.of(q)
        up = u[:, 3:] < 0.5
        new = torch.where(up[:, :, None], high, low)
        idle = (new == now).flatten(1).all(1)
        if bool(idle.any()):  # drawing until something changes, in one draw: any signs but the present ones
            up = up ^ (idle[:, None] & _some(u[:, 2], channels))
            new = torch.where(up[:, :, None], high, low)
        at.put(q, new)
        return q.view(p.shape)


def _some(u: Float[Tensor, " n"], channels: int) -> Bool[Tensor, "n channels"]:
    """A set of channels that is not empty, each equally likely; of more than 52 channels it lies among the first 52."""
    bits = min(channels, 52)
    number = 1 + (u * (2**bits - 1)).long()
    chosen = (number[:, None] >> torch.arange(bits, device=u.device)) & 1 == 1
    return chosen if bits == channels else torch.nn.functional.pad(chosen, (0, channels - bits))


# ------------------------------------------------------------------------------------------------------ L2 and L1
@dataclass(frozen=True)
class Bumps:
    """Pairs of windows: one loses its change, the other gets it and what the ball has left, as a bump and a dent.

    Algorithm 3, with |.|^norm summed where the paper has squares. In L1 the window gets as many times the mass as there
    are channels, as in AutoAttack's code: the projection then takes small changes away everywhere.
    """

    norm: int

    def start(self, region: Any, rng: Rng) -> Float[Tensor, "n ..."]:
        """A grid of five by five bumps, each channel of each with a sign of its own, scaled (L2) or projected (L1)."""
        channels, height, width = image_shape(region.x)
        rows, columns = (max(side // 5, 1) for side in (height, width))
        if min(height, width) > 1:
            rows = columns = min(rows, columns)
        down, across = height // rows, width // columns
        sign = _signs(rng.fold("sign").repeat(channels * down * across).unit()).view(-1, channels, down, 1, across, 1)
        turned = (rng.fold("turn").repeat(down * across).unit() < 0.5).view(-1, 1, down, 1, across, 1)
        bump, other = (table.to(sign.device)[:, None, :] for table in bumps(rows, columns, self.norm))
        tiles = (sign * torch.where(turned, other, bump)).reshape(-1, channels, down * rows, across * columns)
        tiles *= self._scale(region, channels * down * across)[:, None, None, None]
        left, top = width - across * columns, height - down * rows
        around = (left // 2, left - left // 2, top // 2, top - top // 2)
        change = torch.nn.functional.pad(tiles, around).view(region.x.shape)
        return region.project((region.x + change).to(region.x.dtype))

    def _scale(self, region: Any, count: int) -> Float[Tensor, " n"]:
        """What to multiply the bumps with: in L2 they fill the ball, in L1 they overfill it if it is not very large."""
        full = _radius(region) / count ** (1 / self.norm)
        if self.norm == 2:
            return full
        return full.clamp_min(1.0 if region.box is None else region.box[1] - region.box[0])

    def sizes(self, region: Any, p: Float[Tensor, "r ..."], row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """How much of the radius is used."""
        return kept(region, row, len(region)).size(p)

    def numbers(self, region: Any) -> int:
        """Four for the corners, one for the bump's direction, one a channel."""
        return 5 + image_shape(region.x)[0]

    def propose(
        self, region: Any, p: Float[Tensor, "n ..."], size: Float[Tensor, " n"], share: float, u: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n ..."]:
        """The projection of what the algorithm says: where clamping to the box leaves the ball's room, that is it."""
        channels, height, width = shape = image_shape(p)
        area, k = extent(share, height, width, least=3, odd=True), self.norm
        to, off = (Windows.drawn(shape, area, u[:, i], u[:, i + 1]) for i in (0, 2))
        clean, x = off.of(region.x), to.of(region.x).double()
        change = to.of(p).double() - x
        lost = (off.of(p).double() - clean.double()).masked_fill(off.inside(to), 0.0)
        moved = _mass(change, k) + _mass(lost, k)
        unused = (_radius(region) ** k - size**k).clamp_min(0)[:, None, None]
        room = (unused / channels + moved) ** (1 / k) * (channels if k == 1 else 1)
        bump, other = (table.to(x.device).reshape(-1) for table in bumps(*area, k))
        new = torch.where(u[:, 4, None, None] < 0.5, other, bump) * _signs(u[:, 5:, None])
        far = (x + _unit(new + _unit(change, k), k) * room).to(p.dtype)
        near = torch.clamp(far, to.of(region.lo), to.of(region.hi))
        total = size**k + (_mass(near.double() - x, k) - moved).sum((1, 2))
        over = total > region.radius**k * EXACT
        q = flat(p).clone()
        off.put(q, clean)
        to.put(q, torch.where(over[:, None, None], far, near))
        q, row = q.view(p.shape), over.nonzero()[:, 0]
        if len(row):
            q.index_copy_(0, row, kept(region, row, len(q)).project(kept(q, row, len(q))))
        return q


def _radius(region: Any) -> Float[Tensor, " n"]:
    """A hair less than the radius; the box's own where the ball is larger than it, or has no end."""
    return region.radius.clamp_max(region.widest) * SHY


def _mass(change: Float[Tensor, "*n pixels"], norm: int) -> Float[Tensor, "*n 1"]:
    """What change takes of the radius, to the power of the norm."""
    return (change.square() if norm == 2 else change.abs()).sum(-1, keepdim=True)


def _unit(change: Float[Tensor, "*n pixels"], norm: int) -> Float[Tensor, "*n pixels"]:
    """Scaled to norm 1; no change stays none."""
    return change / (_mass(change, norm) ** (1 / norm)).clamp_min(torch.finfo(change.dtype).tiny)


def _signs(u: Tensor) -> Tensor:
    return torch.where(u < 0.5, -1.0, 1.0).double()


@cache
def bumps(rows: int, columns: int, norm: int) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """A bump above a dent, of norm 1, float64, and the same lying on its side; a line has one of them only."""
    if rows == 1:
        line = _pair(columns, 1, norm).T
        return line, line
    upright = _pair(rows, columns, norm)
    return upright, upright.T if rows == columns else upright


def _pair(rows: int, columns: int, norm: int) -> Float[Tensor, "h w"]:
    halves = [_pyramid(rows // 2, columns, norm), -_pyramid(rows - rows // 2, columns, norm)]
    return _unit(torch.cat([_unit(half.reshape(-1), norm) for half in halves]), norm).view(rows, columns)


def _pyramid(rows: int, columns: int, norm: int) -> Float[Tensor, "h w"]:
    """Squares around the middle laid upon each other, the k-th smallest 1 / k^2 high (L2) or 1 / k^4 (L1)."""
    layers = 1 / torch.arange(1, max(rows, columns) // 2 + 2, dtype=torch.float64) ** (2 if norm == 2 else 4)
    height = layers.flip(0).cumsum(0).flip(0)  # at distance d from the middle lie the layers from d on
    across = lambda size: (torch.arange(size) - size // 2).abs()
    return height[torch.maximum(across(rows)[:, None], across(columns))]
