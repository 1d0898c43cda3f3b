"""The regions that bounds are over: of any set whose points are inputs, with a box around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Box, PerturbationSet
from ironbound.core.rng import Rng
from ironbound.core.rows import flat
from ironbound.sets.bounds import inner_box

WIDER = 1e-12
"""By how much the float64 pass widens a radius: sizes are measured in float64, whose last bits this covers."""
WORK = 32 << 20
"""Bytes of directions at a time, where a box is found by them."""
TABLES = 8
"""Tensors as large as the directions that a support needs on the way."""


@runtime_checkable
class Boxed(Protocol):
    """A region that lies in a box of inputs, [lo, hi], one a row: what intervals start from."""

    lo: Tensor
    hi: Tensor


@dataclass(frozen=True, eq=False)
class Enclosed:
    """A region that lacks a box, or a radius, with both."""

    region: Any
    lo: Float[Tensor, "n ..."]
    hi: Float[Tensor, "n ..."]
    box: Box

    def __len__(self) -> int:
        return len(self.lo)

    @property
    def radius(self) -> Float[Tensor, " n"]:
        """The region's own, one a row; 1, the size of all of it, where it has none."""
        own = getattr(self.region, "radius", None)
        return self.lo.new_ones(len(self.lo), dtype=torch.float64) if own is None else own.double()

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some rows; numbers may repeat."""
        lo, hi = self.lo.index_select(0, index), self.hi.index_select(0, index)
        return replace(self, region=self.region.take(index), lo=lo, hi=hi)

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """The region's own: argmax and max of <g, p>."""
        found: tuple[Tensor, Tensor] = self.region.support(g)
        return found

    def scaled(self, radius: Float[Tensor, " n"]) -> Enclosed:
        """With other radii, in the box around that."""
        return enclosed(self.region.scaled(radius), self.region.identity(), self.box)

    def widened(self) -> Self:
        """With a radius larger by what rounding may be; the box has been rounded outwards already."""
        return replace(self, region=self.region.scaled(self.radius * (1 + WIDER))) if scales(self) else self


def region_of(set_: PerturbationSet, x: Float[Tensor, "n ..."], box: Box) -> Any:
    """The set's region around x in a shape for bounds: with `lo`, `hi`, `take` and one `radius` a row.

    A region without a box of its own gets the one that its `support` says (`enclosed`). Raises UsageError where it has
    neither, and where points are no inputs (angles, a patch, numbers of changes).
    """
    region, name = set_.at(x, box), type(set_).__name__
    if not isinstance(region, Boxed) and not hasattr(region, "support"):
        raise UsageError(
            f"{name} has no box around its points, which bounds need; Linf, L2, L1 and L0 have. In a set of your own give "
            'the region `support`, or a box by `lo` and `hi`. Finite sets are decided by method="exhaustive".'
        )
    if not _points_are_inputs(region, x):
        raise UsageError(
            f"points of {name} stand for changed inputs and are none, and bounds are over inputs. Linf, L2, L1, L0, unions "
            "of them and sets of your own whose region is an InputRegion can be bounded; this one can be attacked."
        )
    return region if isinstance(region, Boxed) and hasattr(region, "radius") else enclosed(region, x, box)


def enclosed(region: Any, x: Float[Tensor, "n ..."], box: Box) -> Enclosed:
    """The tightest box around a region: its own, or by its support along both directions of each value.

    The latter asks for two supports a value, many at a time; its ends are rounded outwards, and cut at the model's range.
    """
    if isinstance(region, Boxed):
        return Enclosed(region, region.lo, region.hi, box)
    low, high = inner_box(box, x.dtype)
    up, down = _reach(region, x, 1.0), -_reach(region, x, -1.0)
    up, down = up + WIDER * (1 + up.abs()), down - WIDER * (1 + down.abs())
    return Enclosed(region, down.clamp(min=low), up.clamp(max=high), box)


def _reach(region: Any, x: Tensor, sign: float) -> Float[Tensor, "n ..."]:
    """How far each value goes in one direction, times the sign, float64."""
    size, found = flat(x).shape[1], []
    for at in torch.arange(x.numel(), device=x.device).split(max(1, WORK // (8 * max(1, size) * TABLES))):
        along = torch.zeros(len(at), size, dtype=x.dtype, device=x.device).scatter(1, at[:, None] % size, sign)
        found.append(region.take(at // size).support(along.view(len(at), *x.shape[1:]))[1])
    return torch.cat(found).double().view(x.shape)


def scales(region: Any) -> bool:
    """Whether the region can be made with other radii."""
    own = region.region if isinstance(region, Enclosed) else region
    return hasattr(own, "scaled") and hasattr(own, "radius")


def widened(region: Any) -> Any:
    """A float64 region that holds every point of lower precision that `contains` accepts.

    Sizes are measured in float64, and may pass for the radius where they exceed it by its last bits.
    """
    if isinstance(region, Enclosed):
        return region.widened()
    return region.scaled(region.radius * (1 + WIDER)) if scales(region) else region


def inside(x: Float[Tensor, "n ..."], box: Box) -> Bool[Tensor, " n"]:
    """Which inputs are finite and lie in the model's range."""
    low, high = inner_box(box, x.dtype)
    return flat(x.isfinite() & (x >= low) & (x <= high)).all(1)


def _points_are_inputs(region: Any, x: Tensor) -> bool:
    if getattr(region, "items", None) is not None or getattr(region, "parametric", False):
        return False
    point = region.identity()
    return point is x and region.apply(point, Rng.of(0, torch.arange(len(x), device=x.device))) is point
