"""Regions whose points are the changed inputs themselves: what most sets of numbers share, so that a new one writes little."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.protocols import Box
from ironbound.core.rng import Rng
from ironbound.core.rows import flat


@dataclass(frozen=True)
class InputRegion(ABC):
    """The region of a set around inputs x, shape (n, ...), whose points are inputs of the same shape and type.

    A new set writes a frozen dataclass that inherits from this one, with `contains` and `project`, and a set whose `at`
    makes it; `sample`, `steepest`, `support` and `scaled` where its `can` promises them. Tensors among the fields are
    tables with one row a problem: `take` takes their rows and leaves every other field as it is.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Darker(InputRegion):
    ...     def contains(self, p):
    ...         return ((p >= self.box[0]) & (p <= self.x)).flatten(1).all(1)
    ...
    ...     def project(self, p):
    ...         return torch.minimum(p, self.x).clamp(min=self.box[0])
    >>> region = Darker(torch.tensor([[0.2, 0.7]]), (0.0, 1.0))
    >>> region.distance(torch.tensor([[0.5, 0.7]]))
    tensor([0.3000], dtype=torch.float64)
    """

    x: Tensor
    box: Box
    """The model's input range; x lies in it."""

    items = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some problems; numbers may repeat."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        rows: dict[str, Any] = {n: own[n].index_select(0, index) for n in own if isinstance(own[n], Tensor)}
        return replace(self, **rows)

    def identity(self) -> Tensor:
        """x itself."""
        return self.x

    def leaf(self, p: Tensor) -> Tensor:
        """The point itself: nothing is relaxed."""
        return p

    def apply(self, p: Tensor, rng: Rng, items: Int[Tensor, " m"] | None = None) -> Tensor:
        """The point itself, which is an input."""
        return p

    def locate(self, inputs: Tensor) -> Tensor:
        """The points that stand for these inputs: themselves."""
        return inputs

    @abstractmethod
    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        """Whether each point is in the set, exactly and without tolerance."""

    @abstractmethod
    def project(self, p: Tensor) -> Tensor:
        """The nearest point of the set; points inside come back unchanged."""

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """The largest change of a value, float64."""
        return flat(p.to(torch.float64, copy=True).sub_(self.x)).abs_().amax(1)

    def distance(self, p: Tensor) -> Float[Tensor, " m"]:
        """The Euclidean distance to the set, float64; 0 inside."""
        return torch.linalg.vector_norm(flat(p.double() - self.project(p).double()), dim=1)
