"""Inputs that are no single tensor: dicts (a change of one branch, or of both) and lists of tensors of different lengths."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.protocols import Answer, Ask, Box, Can, Task
from ironbound.core.rng import Rng
from ironbound.sets import Linf

STEPS = Can.PROJECT | Can.STEER


@dataclass(frozen=True)
class Branch:
    """A set for one branch of a dict; the others stay. Points are that branch alone."""

    name: str
    set: Any

    @property
    def can(self) -> Can:
        return self.set.can

    def at(self, x: dict[str, Tensor], box: Box) -> BranchRegion:
        return BranchRegion(self.name, x, self.set.at(x[self.name], box))


@dataclass(frozen=True)
class BranchRegion:
    name: str
    x: dict[str, Tensor]
    inner: Any

    def __len__(self) -> int:
        return len(self.inner)

    def take(self, index: Tensor) -> BranchRegion:
        return BranchRegion(self.name, rows.take(self.x, index), self.inner.take(index))

    def apply(self, p: Tensor, rng: Rng, items: Tensor | None = None) -> dict[str, Tensor]:
        return {**self.x, self.name: self.inner.apply(p, rng, items)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(frozen=True)
class Both:
    """A set for each branch: points are trees. The size of a change is the largest of its parts."""

    sets: dict[str, Any]

    can = STEPS

    def at(self, x: dict[str, Tensor], box: Box) -> Parts:
        return Parts({name: part.at(x[name], box) for name, part in self.sets.items()})


@dataclass(frozen=True)
class Lengths:
    """An L-infinity ball around each row of a list of tensors of any lengths: points are such lists."""

    eps: float

    can = STEPS

    def at(self, x: list[Tensor], box: Box) -> Parts:
        return Parts([Linf(self.eps).at(row[None], box) for row in x])


@dataclass(frozen=True)
class Parts:
    """Regions at the leaves of a tree (a dict: branch by branch) or of a list (one a row)."""

    parts: Any
    items = None

    def __len__(self) -> int:
        return len(self.parts) if isinstance(self.parts, list) else len(next(iter(self.parts.values())))

    def take(self, index: Tensor) -> Parts:
        if isinstance(self.parts, list):
            return Parts([self.parts[i] for i in index.tolist()])
        return Parts({name: part.take(index) for name, part in self.parts.items()})

    def leaf(self, p: Any) -> Any:
        return p

    def apply(self, p: Any, rng: Rng, items: Tensor | None = None) -> Any:
        return p

    def identity(self) -> Any:
        return self._each(lambda region: region.identity())

    def project(self, p: Any) -> Any:
        return self._each(lambda region, q: region.project(q), p)

    def steepest(self, g: Any) -> Any:
        return self._each(lambda region, q: region.steepest(q), g)

    def contains(self, p: Any) -> Tensor:
        return self._all(self._each(lambda region, q: region.contains(q), p), lambda table: table.all(0))

    def size(self, p: Any) -> Tensor:
        return self._all(self._each(lambda region, q: region.size(q), p), lambda table: table.amax(0))

    def _each(self, function: Any, *trees: Any) -> Any:
        if isinstance(self.parts, list):
            whole = zip(self.parts, *trees, strict=True)
            return [function(region, *[row[None] for row in these])[0] for region, *these in whole]
        return {name: function(region, *[tree[name] for tree in trees]) for name, region in self.parts.items()}

    def _all(self, found: Any, join: Any) -> Tensor:
        return torch.stack(found) if isinstance(found, list) else join(torch.stack(list(found.values())))


@dataclass(frozen=True)
class TreeAscent:
    """Projected gradient ascent where points are trees or lists."""

    steps: int
    step: float

    needs = Can.GRADIENT | STEPS

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        s = task.state(p=task.region.identity())
        for _ in range(self.steps):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            up = task.region.steepest(answer.grad)
            s.p = task.region.project(rows.each(lambda p, u: p + self.step * u, s.p, up))
        task.compact()
        yield Ask(s.p)
