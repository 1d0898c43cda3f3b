"""A set around some inputs, with points and gradients to try on it: what promises about sets look at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.sets.bounds import inner_box
from ironbound.testing.promise import require
from ironbound.testing.tables import noise

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Around:
    """A set, inputs x (n, ...) within the box, and what follows from both."""

    set: Any
    x: Any
    box: Box

    @cached_property
    def region(self) -> Any:
        """The region around x."""
        return self.set.at(self.x, self.box)

    @cached_property
    def streams(self) -> Rng:
        """A random stream for each problem."""
        return Rng.of(0, torch.arange(100, 100 + len(self.region)))

    @property
    def can(self) -> Can:
        """What the set offers; a union is steered by its parts."""
        can: Can = self.set.can
        return can & ~Can.STEER if getattr(self.set, "parts", ()) else can

    @property
    def n(self) -> int:
        """The number of problems."""
        return len(self.region)

    @property
    def continuous(self) -> bool:
        """Whether points are tensors of floats, of which any numbers may be tried."""
        start = self.region.identity()
        return isinstance(start, Tensor) and start.is_floating_point()

    @property
    def eps(self) -> float:
        """The spacing of the points' own numbers near 1."""
        return torch.finfo(self.region.identity().dtype).eps

    @property
    def width(self) -> float:
        """The size of the box, or 1."""
        return 1.0 if self.box is None else self.box[1] - self.box[0]

    @cached_property
    def points(self) -> dict[str, Any]:
        """Points to try, within the set and far outside: one a problem each."""
        start = self.region.identity()
        found = {"the inputs themselves": start}
        if not self.continuous:
            return found | ({"draws": self.region.sample(self.streams)} if Can.SAMPLE in self.can else {})
        for reach in (0.001, 0.1, 1.0, 30.0, 1e4):
            found[f"noise of {reach:g} widths"] = start + reach * self.width * noise(start, 1)
        single = torch.zeros_like(start).flatten(1)
        if single.shape[1]:
            single[:, 0] = 3 * self.width
        return found | {"one value far away": start + single.view_as(start)}

    @property
    def some_points(self) -> dict[str, Any]:
        """A few of the points, where many functions are asked: near and far."""
        some = {name: p for name, p in self.points.items() if name in ("noise of 0.1 widths", "noise of 30 widths")}
        return some or self.points

    @cached_property
    def inside(self) -> dict[str, Any]:
        """Points of the set, as it gives them itself."""
        found = {"the inputs themselves": self.region.identity()}
        if Can.SAMPLE in self.can:
            for i in range(2):
                found[f"draw {i}"] = self.region.sample(self.streams.fold(i))
        if Can.PROJECT in self.can and self.continuous:
            found |= {f"the projection of {name}": q for name, q in self.projections.items()}
        return found

    @cached_property
    def projections(self) -> dict[str, Tensor]:
        """Of every point to try."""
        return {name: self.region.project(p) for name, p in self.points.items()}

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Directions in the shape of the leaves: dense, sparse, none, tiny, large."""
        leaf = self.region.leaf(self.region.identity())
        dense = noise(leaf, 2)
        sparse = torch.where(noise(leaf, 3) > 0, dense, 0.0)
        scaled = {f"times {size:g}": dense * size for size in (1e-20, 1e20)}
        return {"dense": dense, "half of it zero": sparse, "zero": torch.zeros_like(leaf)} | scaled

    def take(self, index: Tensor) -> Around:
        """The same around some of the inputs, made anew from the set."""
        return Around(rows.of_rows(self.set, index), rows.take(self.x, index), self.box)

    def with_inputs(self, x: Any) -> Around:
        """The same set around inputs with the same numbers."""
        return replace(self, x=x)

    def applied(self, p: Any) -> Any:
        """The inputs that points, one a problem, stand for; of collective problems all of each one's."""
        items = self.region.items
        if items is None:
            return self.region.apply(p, self.streams)
        each = torch.arange(len(items), device=items.device)
        return self.region.take(items).apply(rows.take(p, items), self.streams.take(items), each)

    def require_inside(self, p: Any, what: str, mend: str) -> None:
        """Each point is contained, and its input within the box."""
        contained = self.region.contains(p)
        require(contained, f"{what}: rows {_rows(~contained)} are not contained.", mend)
        if self.box is not None:
            low, high = inner_box(self.box, torch.float64)
            for leaf in rows.leaves(self.applied(p)):
                if leaf.is_floating_point():
                    within = (leaf.double() >= low) & (leaf.double() <= high)
                    require(within, f"{what}: the inputs leave the model's range {self.box}.", mend)


def _rows(which: Tensor) -> list[int]:
    return [int(i) for i in which.nonzero()[:, 0].tolist()]


def inputs(n: int, shape: Sequence[int], box: Box, dtype: torch.dtype) -> Tensor:
    """Inputs (n, *shape) of the box, a third of their values at its very ends; the same in every run."""
    size = math.prod(shape)
    number = torch.arange(1, n * size + 1, dtype=torch.float64)
    unit = (torch.frac(number * 0.6180339887498949) * 1.5 - 0.25).view(n, *shape)
    if box is None:
        return (10 * (unit - 0.5)).to(dtype)
    low, high = inner_box(box, dtype)
    return (low + unit.clamp(0, 1) * (high - low)).to(dtype).clamp(low, high)


@dataclass(frozen=True)
class SetSubject:
    """A set that was named, and the inputs around which it is looked at."""

    name: str
    set: Any
    n: int
    shapes: Sequence[Sequence[int]]
    boxes: Sequence[Box]
    dtypes: Sequence[torch.dtype]
    batch: Any = None

    @property
    def can(self) -> Can:
        """What the set offers; a union is steered by its parts."""
        can: Can = self.set.can
        return can & ~Can.STEER if getattr(self.set, "parts", ()) else can

    def cases(self) -> Iterator[tuple[str, Around]]:
        """Every shape, box and type at least once; or the batch that was given, in every box."""
        yield from self._made

    @cached_property
    def _made(self) -> list[tuple[str, Around]]:
        """Kept for all promises, which look at the same points."""
        if self.batch is not None:
            return [(f"your inputs, box {box}", Around(self.set, self.batch, box)) for box in self.boxes]
        made = [(inputs(self.n, shape, box, dtype), box) for shape, box, dtype in self._forms()]
        return [(f"inputs {tuple(x.shape)} of {x.dtype}, box {box}", Around(self.set, x, box)) for x, box in made]

    def _forms(self) -> Iterator[tuple[Sequence[int], Box, torch.dtype]]:
        usual = self.dtypes[min(1, len(self.dtypes) - 1)]
        for dtype in self.dtypes:
            yield self.shapes[0], self.boxes[0], dtype
        for shape in self.shapes[1:]:
            yield shape, self.boxes[0], usual
        for number, box in enumerate(self.boxes[1:]):
            yield self.shapes[number % len(self.shapes)], box, usual
