"""Sets whose points are parameters of a change (an angle, a shift, a flow field) that the region applies differentiably.

All of them are boxes around the change of nothing: each parameter, in its own unit, goes at most as far as the radius.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError, InputError, UsageError
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.core.rows import flat
from ironbound.sets.bounds import inner_box
from ironbound.sets.union import Union, united

PARAMETRIC = Can.PROJECT | Can.SAMPLE | Can.STEER | Can.SUPPORT | Can.SCALE


@dataclass(frozen=True)
class Parametric(ABC):
    """What these sets share: frozen descriptions for images (n, channels, height, width)."""

    can: ClassVar[Can] = PARAMETRIC
    norm: ClassVar[str]
    """The kind of set, by which searches that are made for it know it."""
    parametric: ClassVar[bool] = True
    """Points cannot be told from the inputs they stand for, so that an audit keeps them beside its witnesses."""

    flat_at_x: ClassVar[bool] = False
    """Whether the gradient is zero at x by the nature of the change."""

    @property
    @abstractmethod
    def spec(self) -> str:
        """The text that `parse_threat` reads as this set; "" where there is none."""

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What one may change, in words."""

    @abstractmethod
    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> ParameterRegion: ...

    def __or__(self, other: Any) -> Union:
        return united(self, other)


def images(x: Any, name: str, channels: int | None = None) -> Tensor:
    """x, where it is a batch of images of floats. Raises InputError with the shape that is needed."""
    if not (isinstance(x, Tensor) and x.is_floating_point() and x.ndim == 4):
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"{name} changes images of floats, shape (n, channels, height, width); got {got}.")
    if channels is not None and x.shape[1] != channels:
        raise InputError(f"{name} changes images of {channels} channels; got {x.shape[1]} in {tuple(x.shape)}.")
    return x


def checked(value: Any, name: str, what: str) -> float:
    """A number >= 0. Raises UsageError."""
    if isinstance(value, bool) or not (isinstance(value, Real) and float(value) >= 0):
        raise UsageError(f"{name}: {what}, a number >= 0; got {value!r}.")
    return float(value)


@dataclass(frozen=True)
class ParameterRegion(ABC):
    """Points p (n, *shape), 0 where nothing changes; contained where low_i <= p_i <= min(radius * unit_i, limit_i).

    `low` is minus the upper end, or 0 of changes that have no opposite (a blur). The size is the largest |p_i| / unit_i,
    and what `steepest` calls a step of length 1 moves each parameter by its unit. `sample` draws uniformly. A subclass
    writes `changed`.
    """

    x: Tensor
    box: Box
    radius: Tensor
    """One a problem, float64, in multiples of the units."""
    unit: tuple[float, ...]
    """Of each parameter, or one for all of a field of them."""
    limit: tuple[float, ...]
    """Beyond which a parameter does nothing new: half a turn, all of the image. Likewise."""
    least: Tensor
    most: Tensor
    """The ends in the points' own type, shape (n, k) with k parameters, or (n, 1, ...) of fields."""

    items = None
    parametric = True
    norm: ClassVar[str]
    axes: ClassVar[tuple[str, ...]]
    """The names of the parameters, as a lattice is asked for; () of fields."""
    one_sided: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def around(cls, x: Tensor, box: Box, eps: float, unit: Sequence[float], limit: Sequence[float], **own: Any) -> Self:
        """The region with one radius for all."""
        radius = torch.full((len(x),), eps, dtype=torch.float64, device=x.device)
        least, most = cls._ends(x, radius, unit, limit)
        return cls(x, box, radius, tuple(unit), tuple(limit), least, most, **own)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some problems; numbers may repeat."""
        tables = {name: getattr(self, name).index_select(0, index) for name in ("x", "radius", "least", "most")}
        return replace(self, **tables)

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        """The same with other radii, one a problem."""
        least, most = self._ends(self.x, radius, self.unit, self.limit)
        return replace(self, radius=radius, least=least, most=most)

    @classmethod
    def _ends(cls, x: Tensor, radius: Tensor, unit: Sequence[float], limit: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Both ends, rounded inwards: in float64, the upper one is at most the radius times the unit."""
        units = radius.new_tensor(list(unit))
        wide = torch.where((units == 0) | (radius[:, None] == 0), 0.0, radius[:, None] * units)
        wide = torch.minimum(wide, radius.new_tensor(list(limit)))
        hi = wide.to(cls._kind(x))
        beyond = (hi.double() / units > radius[:, None]) & (hi > 0)
        hi = torch.where(beyond, torch.nextafter(hi, torch.zeros_like(hi)), hi)
        hi = hi.view(len(x), *cls._shape(x, len(unit)))
        return (torch.zeros_like(hi) if cls.one_sided else -hi), hi

    @staticmethod
    def _kind(x: Tensor) -> torch.dtype:
        """The points' type: few numbers, so float64."""
        return torch.float64

    @staticmethod
    def _shape(x: Tensor, count: int) -> tuple[int, ...]:
        """The shape of a row of the ends."""
        return (count,)

    def identity(self) -> Tensor:
        """Zeros."""
        return torch.zeros_like(self.most)

    def leaf(self, p: Tensor) -> Tensor:
        """The point itself: nothing is relaxed."""
        return p

    @abstractmethod
    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        """What the parameters make of images in at least float32, exactly x where they are 0; ends are cut afterwards."""

    def apply(self, p: Tensor, rng: Rng | None = None, items: Int[Tensor, " m"] | None = None) -> Tensor:
        """The changed images in x's own type, cut at the ends of the model's range; differentiable in p."""
        wide = self.x.to(torch.promote_types(self.x.dtype, torch.float32))
        return self.changed(wide, p).to(self.x.dtype).clamp(*inner_box(self.box, self.x.dtype))

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        """Whether every parameter lies within its ends, exactly."""
        return flat((p >= self.least) & (p <= self.most) & p.isfinite()).all(1)

    def project(self, p: Tensor) -> Tensor:
        """Each parameter brought within its ends."""
        return torch.clamp(p, self.least, self.most)

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """The largest parameter, in its unit, float64."""
        wide = p.double().abs()
        share = wide / wide.new_tensor(list(self.unit)).view(*[1] * (p.ndim - self.most.ndim + 1), *self.most.shape[1:])
        return flat(torch.where(wide == 0, 0.0, share)).amax(1)

    def distance(self, p: Tensor) -> Float[Tensor, " m"]:
        """The Euclidean distance to the set over the parameters, float64; 0 inside."""
        return torch.linalg.vector_norm(flat(p.double() - self.project(p).double()), dim=1)

    def sample(self, rng: Rng) -> Tensor:
        """Each parameter uniform between its ends."""
        self._must_end()
        shape = tuple(self.identity().shape[1:])
        return self.project(torch.lerp(self.least, self.most, rng.uniform(shape, self.most.dtype, 0, 1)))

    def steepest(self, g: Tensor) -> Tensor:
        """One unit of each parameter along the gradient's sign."""
        return g.sign() * g.new_tensor(list(self.unit)).view(self.most.shape[1:])

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """Every parameter at the end to which the gradient points."""
        p = torch.where(g > 0, self.most, torch.where(g < 0, self.least, torch.zeros_like(g)))
        return p, flat(torch.where(g == 0, 0.0, g.double() * p.double())).sum(1)

    def dual(self, g: Float[Tensor, "n k d"]) -> Float[Tensor, "n k"]:
        """The slopes along the steepest steps: sums of absolute values, each times its unit."""
        return (g.abs() * g.new_tensor(list(self.unit))).sum(2)

    def lattice(self, counts: dict[str, int]) -> Float[Tensor, "m k"]:
        """The shares of the way from the lower ends to the upper ones at which so many values an axis lie, both included.

        The corners farthest from the middle come first. Raises CompositionError for a field of parameters.
        """
        if not self.axes:
            raise CompositionError(
                f"a {self.norm} has a parameter a pixel, and no lattice holds them all. Use an attack by gradient."
            )
        ends = [torch.linspace(0, 1, counts[name], dtype=torch.float64) for name in self.axes]
        ends = [end if len(end) > 1 else end.new_full((1,), 0.0 if self.one_sided else 0.5) for end in ends]
        points = torch.cartesian_prod(*ends).view(-1, len(ends))
        away = (points if self.one_sided else (2 * points - 1).abs()).sum(1)
        return points[away.argsort(descending=True, stable=True)].to(self.x.device)

    def along(self, share: Float[Tensor, "m k"], owner: Int[Tensor, " m"]) -> Tensor:
        """The points so far on the way from the lower to the upper ends of these problems."""
        self._must_end()
        lo, hi = self.least.index_select(0, owner), self.most.index_select(0, owner)
        return torch.clamp(lo + (hi - lo) * share, lo, hi)

    def _must_end(self) -> None:
        if not bool(torch.isfinite(self.most).all()):
            raise CompositionError(
                "there is no drawing from a set without end: give it a radius, or the model a range."
            )


def written(value: float) -> str:
    """A number in the fewest digits that read as it again."""
    plain = f"{value:.6g}"
    return plain if float(plain) == value else repr(value)


def span(box: Box) -> float:
    """The width of the model's range; inf without one."""
    return math.inf if box is None else box[1] - box[0]
