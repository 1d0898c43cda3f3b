"""Unions of sets: the adversary may choose which of them it uses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Box, Can, PerturbationSet
from ironbound.core.rng import Rng
from ironbound.core.rows import choose, flat, of_rows
from ironbound.sets.region import InputRegion


@dataclass(frozen=True)
class Union:
    """All inputs that are in one of several sets: `Linf(8/255) | L2(0.5)`. Unions of unions are flattened.

    Attacks run on each part in turn, certificates need all of them. Sizes and radii are in radii of the nearest part, so
    that the union's own radius is 1. `sample` draws a part, each with the same probability, then from it.

    Raises UsageError for parts that are no sets, or fewer than one.
    """

    parts: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.parts or not all(isinstance(part, PerturbationSet) for part in self.parts):
            raise UsageError(f"a union is of sets such as Linf(8/255) | L2(0.5); got {self.parts!r}.")
        flattened = [inner for part in self.parts for inner in (part.parts if isinstance(part, Union) else (part,))]
        finite = [part for part in flattened if Can.FINITE in part.can]
        if finite and len(flattened) > 1:
            raise CompositionError(
                f"points of a finite set are numbers of changes, and a union has one kind of points, the changed inputs; "
                f"got {finite[0]!r} beside others. Attack them one after the other; Finite | Finite is one Finite."
            )
        other = [part for part in flattened if getattr(part, "parametric", False)]
        if other:
            raise CompositionError(
                f"points of {type(other[0]).__name__} are parameters of a change, and a union has one kind of points, the "
                "changed inputs. Attack the parts one after the other; Spatial(rotation=, translation=) does both at once."
            )
        object.__setattr__(self, "parts", tuple(flattened))

    def __or__(self, other: Any) -> Union:
        return united(self, other)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts))

    @property
    def can(self) -> Can:
        """What all parts offer."""
        return reduce(lambda a, b: a & b, (part.can for part in self.parts))

    def take(self, index: Int[Tensor, " r"]) -> Union:
        """The union for some rows of the inputs it was made for."""
        return replace(self, parts=tuple(of_rows(part, index) for part in self.parts))

    def times(self, factor: float) -> Union:
        """All parts with `factor` times their radii."""
        return replace(self, parts=tuple(part.times(factor) for part in self.parts))

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> UnionRegion:
        """The regions of all parts around x. Raises CompositionError for parts whose points are not inputs."""
        regions = tuple(part.at(x, box) for part in self.parts)
        for part, region in zip(self.parts, regions, strict=True):
            if region.items is not None or region.identity() is not x:
                raise CompositionError(
                    f"a union has one kind of points, the changed inputs, and those of {part!r} are others. "
                    "Attack the parts one by one."
                )
        return UnionRegion(x, box, regions)


def united(one: Any, other: Any) -> Union:
    """`one | other`; NotImplemented where the other is no set."""
    return Union((one, other)) if isinstance(other, PerturbationSet) else NotImplemented


@dataclass(frozen=True)
class UnionRegion(InputRegion):
    """Several regions around the same inputs."""

    parts: tuple[Any, ...]

    def take(self, index: Int[Tensor, " r"]) -> Self:
        parts = tuple(part.take(index) for part in self.parts)
        return replace(self, x=self.x.index_select(0, index), parts=parts)

    @property
    def radius(self) -> Float[Tensor, " n"]:
        """One: sizes are in radii of the nearest part."""
        return torch.ones(len(self.x), dtype=torch.float64, device=self.x.device)

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        """All parts with `radius` times their own radii."""
        # 0 times an infinite radius is the input alone
        parts = tuple(p.scaled(torch.where(radius > 0, radius * p.radius, 0.0)) for p in self.parts)
        return replace(self, parts=parts)

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        return torch.stack([part.contains(p) for part in self.parts]).any(0)

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """In radii of the nearest part; inf where only parts of radius 0 are near, 0 in parts without end."""
        shares = [(part.size(p), part.radius) for part in self.parts]
        return torch.stack(
            [torch.where(s > 0, s / r, 0.0).nan_to_num(nan=math.inf, posinf=math.inf) for s, r in shares]
        ).amin(0)

    def project(self, p: Tensor) -> Tensor:
        """The nearest of the parts' nearest points; ties go to the earlier part."""
        best, least = self.parts[0].project(p), None
        for part in self.parts[1:]:
            least = self._away(p, best) if least is None else least
            other = part.project(p)
            away = self._away(p, other)
            best, least = choose(away < least, other, best), torch.minimum(away, least)
        return best

    def sample(self, rng: Rng) -> Tensor:
        """A part drawn uniformly, then a draw from it."""
        which = rng.fold("part").integers(0, len(self.parts))
        draws = [part.sample(rng.fold(f"part {i}")) for i, part in enumerate(self.parts)]
        return reduce(lambda p, i: choose(which == i, draws[i], p), range(1, len(draws)), draws[0])

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """The best of the parts' best points."""
        found = [part.support(g) for part in self.parts]
        p, value = found[0]
        for other, more in found[1:]:
            p, value = choose(more > value, other, p), torch.maximum(more, value)
        return p, value

    def steepest(self, g: Tensor) -> Tensor:
        """Raises CompositionError: parts have different units of length."""
        raise CompositionError(
            "a union has no steepest direction of its own. Attack its parts in turn: attack.against(union)."
        )

    def _away(self, p: Tensor, q: Tensor) -> Tensor:
        return torch.linalg.vector_norm(flat(p.double() - q.double()), dim=1)
