"""What the balls share: a radius (one for all, or one a problem), a mask, the model's box. A point is the changed input."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.describe import described
from ironbound.core.errors import CompositionError, InputError, UsageError
from ironbound.core.protocols import Box, Can
from ironbound.core.rows import flat
from ironbound.sets.bounds import BLOCK, edges, inner_box
from ironbound.sets.region import InputRegion
from ironbound.sets.union import Union, united

BALL = Can.PROJECT | Can.SAMPLE | Can.STEER | Can.SUPPORT | Can.SCALE


@dataclass(frozen=True, eq=False, repr=False)
class Ball(ABC):
    """A ball around x in the model's box; equal to another where kind, radii and mask are."""

    eps: float | Tensor = math.inf
    """The radius, in the units of the model's inputs: one for all, or a tensor (n,) with one a problem, kept in float64.

    inf (the whole box) where only the smallest change matters. In an audit a tensor has one radius a row of the data.
    """
    mask: Tensor | None = None
    """Bool: only values where it is True may change. It broadcasts with one sample, or has as many dimensions as the
    batch and then holds one mask a problem, shape (n, ...)."""
    rows: Tensor | None = field(default=None, kw_only=True)
    """Which rows of eps and mask are meant, where these hold one a problem; None: all. Made by `take`."""

    can: ClassVar[Can] = BALL
    norm: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", _checked_radius(self.eps, type(self).__name__))
        if self.mask is not None and not (isinstance(self.mask, Tensor) and self.mask.dtype == torch.bool):
            kind = self.mask.dtype if isinstance(self.mask, Tensor) else type(self.mask).__name__
            raise UsageError(
                f"{type(self).__name__}: mask is a bool tensor, True where values may change; got {kind}. Write "
                "torch.as_tensor(mask).bool()."
            )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(described(self) == described(other))

    def __hash__(self) -> int:
        return hash(str(described(self)))

    def __repr__(self) -> str:
        named = ((f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None)
        said = (f"{name}={_short(value)}" for name, value in named if name != "of" or value != "pixels")
        return f"{type(self).__name__}({', '.join(said)})"

    def __or__(self, other: Any) -> Union:
        return united(self, other)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The set for some rows of the inputs it was made for: itself, unless it holds one radius or mask a problem."""
        if self.mask is None and not isinstance(self.eps, Tensor):
            return self
        index = index.to("cpu", torch.int64)
        if self.rows is None and isinstance(self.eps, Tensor):
            _must_have(self.eps, index, "radii", type(self).__name__)
        return replace(self, rows=index if self.rows is None else self.rows.index_select(0, index))

    def times(self, factor: float) -> Self:
        """The ball with `factor` times the radius."""
        return replace(self, eps=self.eps * factor)

    @abstractmethod
    def at(self, x: Float[Tensor, "n ..."], box: Box) -> BallRegion: ...

    def _parts(self, x: Tensor, box: Box) -> dict[str, Any]:
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{type(self).__name__} changes a tensor of floats; got {kind}.")
        return {"x": x, "radius": self._radius_of(x), "box": box, "mask": self._mask_of(x)}

    def _edged(self, x: Tensor, box: Box) -> dict[str, Any]:
        """The parts, and the edges of each value within one radius."""
        parts = self._parts(x, box)
        lo, hi = edges_within(x, parts["radius"], box, parts["mask"])
        return {"lo": lo, "hi": hi, **parts}

    def _radius_of(self, x: Tensor) -> Tensor:
        if not isinstance(self.eps, Tensor):
            return torch.full((len(x),), self.eps, dtype=torch.float64, device=x.device)
        radius = self._chosen(self.eps, "radii")
        if len(radius) != len(x):
            raise InputError(
                f"{type(self).__name__} has {len(radius)} radii, one a problem, for {len(x)} inputs. Give one for every input."
            )
        return radius.to(x.device)

    def _mask_of(self, x: Tensor) -> Tensor | None:
        if self.mask is None:
            return None
        shape = tuple(x.shape)
        mask = self._chosen(self.mask, "masks") if self.mask.ndim == x.ndim else self.mask
        wide = mask.ndim <= x.ndim and all(a in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1], strict=False))
        if not wide or (mask.ndim == x.ndim and len(mask) != len(x)):
            raise InputError(
                f"{type(self).__name__}: a mask has the shape of one sample, {shape[1:]}, or {shape} with one a problem; "
                f"got {tuple(mask.shape)}."
            )
        return mask.to(x.device).expand(shape)

    def _chosen(self, table: Tensor, what: str) -> Tensor:
        if self.rows is None:
            return table
        _must_have(table, self.rows, what, type(self).__name__)
        return table.index_select(0, self.rows.to(table.device))


@dataclass(frozen=True)
class BallRegion(InputRegion):
    """What the balls' regions share. `lo` and `hi` are the tightest box around the region, exact in x's own type."""

    lo: Tensor
    hi: Tensor
    radius: Tensor
    """One a problem, float64."""
    mask: Tensor | None = None
    """True where values may change, in the shape of x; None: everywhere. Elsewhere lo = hi = x."""

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        """The same balls with other radii."""
        lo, hi = edges_within(self.x, radius, self.box, self.mask)
        return replace(self, lo=lo, hi=hi, radius=radius)

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        return self.holds(p, self.size(p))

    def holds(self, p: Tensor, size: Float[Tensor, " m"]) -> Bool[Tensor, " m"]:
        """`contains` of points whose size is known."""
        return self._within(p) & (size <= self.radius)

    def part(self, at: slice) -> Self:
        """The region of neighbouring problems, without copying."""
        tables = {"x": self.x, "lo": self.lo, "hi": self.hi, "radius": self.radius, "mask": self.mask}
        rows: dict[str, Any] = {name: table[at] for name, table in tables.items() if table is not None}
        return replace(self, **rows)

    def _in_portions(self, work: Callable[[Self, Tensor], Tensor], p: Tensor) -> Tensor:
        """`work(region, p)`; on a CPU a few rows at a time, so that what it needs on the way stays in the cache."""
        rows = max(1, BLOCK * len(p) // max(1, p.numel()))
        if p.device.type != "cpu" or len(p) <= rows:
            return work(self, p)
        out = torch.empty_like(p)
        for start in range(0, len(p), rows):
            at = slice(start, start + rows)
            out[at] = work(self.part(at), p[at])
        return out

    def _within(self, p: Tensor) -> Bool[Tensor, " m"]:
        off = flat(torch.maximum(self.lo - p, p - self.hi))  # half the time of two comparisons
        within = (off.amax(1) if off.shape[1] else off.sum(1)) <= 0
        if bool(within.all()):
            return within
        return flat((p >= self.lo) & (p <= self.hi)).all(1)  # infinity less infinity is NaN

    def _free(self, p: Tensor) -> Tensor:
        """p where values may change, x elsewhere: what a projection may do first, since distances add up by value."""
        return p if self.mask is None else torch.where(self.mask, p, self.x)

    def _masked(self, g: Tensor) -> Tensor:
        """A gradient without the values that may not change."""
        return g if self.mask is None else torch.where(self.mask, g, 0.0)

    def _dimensions(self) -> Float[Tensor, " n"] | int:
        """How many values of each problem may change."""
        return flat(self.x).shape[1] if self.mask is None else flat(self.mask).sum(1).double().clamp_min(1)

    def _room(self, along: Tensor) -> Tensor:
        """How far each value can go in the direction of `along`."""
        return torch.where(along > 0, self.hi - self.x, self.x - self.lo)

    def _clamped(self, p: Tensor) -> tuple[Tensor, Bool[Tensor, " m"]]:
        """p clamped to the tightest box, and which rows have to come nearer than that."""
        clamped = torch.clamp(p, self.lo, self.hi)
        return clamped, (self.size(clamped) > self.radius) | flat(clamped != torch.clamp(p, *self._ends)).any(1)

    def _reach(self, dtype: torch.dtype) -> Tensor:
        """The radius, or the box's own where that is smaller: what random draws can use."""
        reach = self.radius.clamp_max(self.widest)
        if not bool(torch.isfinite(reach).all()):
            raise CompositionError(
                "there is no drawing from a set without end: give it a radius, or the model a range."
            )
        return reach.to(dtype)

    @property
    def widest(self) -> float:
        """A radius beyond which the set does not grow: the box's diagonal; inf without a box."""
        return self._width * math.sqrt(self.x[0].numel()) if len(self.x) else math.inf

    @property
    def _width(self) -> float:
        return math.inf if self.box is None else self.box[1] - self.box[0]

    @property
    def _ends(self) -> tuple[float, float]:
        return inner_box(self.box, self.x.dtype)


def _must_have(table: Tensor, rows: Tensor, what: str, name: str) -> None:
    if len(rows) and int(rows.max()) >= len(table):
        raise InputError(
            f"{name} has {len(table)} {what}, one a row of the data, but row {int(rows.max())} was asked for. "
            "Give one for every row."
        )


def edges_within(x: Tensor, radius: Tensor, box: Box, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The edges of each value; both x where a mask forbids it to change."""
    lo, hi = edges(x, radius, box)
    if mask is None:
        return lo, hi
    low, high = inner_box(box, x.dtype)  # of values beyond the box lo > hi, as without a mask
    return torch.where(mask, lo, x.clamp(min=low)), torch.where(mask, hi, x.clamp(max=high))


def _checked_radius(eps: Any, name: str) -> float | Tensor:
    if isinstance(eps, Tensor) and eps.ndim == 1 and eps.dtype != torch.bool:
        if not bool((eps >= 0).all()):
            raise UsageError(f"{name}: radii are numbers >= 0 in input units; got {eps.min().item()!r} among them.")
        return eps.detach().double()
    eps = eps.item() if isinstance(eps, Tensor) and eps.ndim == 0 else eps
    if not (isinstance(eps, Real) and float(eps) >= 0):
        several = isinstance(eps, (list, tuple)) or hasattr(eps, "shape")
        got = f"a {type(eps).__name__} {tuple(getattr(eps, 'shape', (len(eps),)))}" if several else repr(eps)
        made = " torch.as_tensor(...) makes a tensor." if several else ""
        raise UsageError(f"{name}: eps is a radius >= 0 in input units, or a tensor (n,) of radii; got {got}.{made}")
    return float(eps)


def _short(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    if value.dtype == torch.bool:
        return f"<{int(value.sum())} of {' x '.join(map(str, value.shape))}>"
    return f"<{len(value)}: {float(value.min()):.6g} to {float(value.max()):.6g}>" if len(value) else "<0>"
