"""Shafahi et al. 2020, Universal Adversarial Training, arXiv 1811.11304, section 4: one change for many inputs.

A collective problem: one point, many items; one problem for all inputs, or one a group of them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core.protocols import Answer, Ask, Box, Can, Task
from ironbound.core.rng import Rng
from ironbound.sets.linf import Linf, LinfRegion


@dataclass(frozen=True)
class Universal:
    """A change of at most `eps` a value, the same for all inputs of a group (None: all are one); inputs keep their box."""

    eps: float
    groups: tuple[int, ...] | None = None
    can = Can.PROJECT | Can.SAMPLE | Can.STEER

    def at(self, x: Tensor, box: Box) -> UniversalRegion:
        items = torch.tensor(self.groups or [0] * len(x))
        change = Linf(self.eps).at(torch.zeros_like(x[:1]).repeat(int(items.max()) + 1, *[1] * (x.ndim - 1)), None)
        return UniversalRegion(change, Linf(self.eps).at(x, box), items)


@dataclass(frozen=True)
class UniversalRegion:
    change: LinfRegion
    each: LinfRegion
    items: Tensor

    def __len__(self) -> int:
        return len(self.change)

    def take(self, index: Tensor) -> UniversalRegion:
        return replace(self, change=self.change.take(index))

    def apply(self, p: Tensor, rng: Rng, items: Tensor | None = None) -> Tensor:
        mine = self.each.take(items)
        return mine.project(mine.x + p)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.change, name)  # the change itself lives in a ball around zero


@dataclass(frozen=True)
class UniversalAscent:
    """Minibatches in random order: a step along the sign of the mean gradient, and a look at all items an epoch."""

    epochs: int
    batch: int
    step: float

    needs = Can.GRADIENT | Can.PROJECT | Can.STEER

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        s = task.state(p=task.region.identity())
        for _ in range(self.epochs):
            task.compact()
            orders = [self.shuffled(task, row) for row in range(task.n)]
            for start in range(0, max(map(len, orders)), self.batch):
                row = torch.tensor([i for i, order in enumerate(orders) if start < len(order)])
                place = torch.arange(start, start + self.batch)  # the last batch of a group wraps round
                items = torch.stack([orders[i][place % len(orders[i])] for i in row.tolist()])
                answer = yield Ask(s.p[row], owner=row, items=items, grad=True)
                region = task.region.take(row)
                s.p = s.p.index_copy(0, row, region.project(s.p[row] + self.step * region.steepest(answer.grad)))
            yield Ask(s.p)  # on all items: only this one can be a claim

    def shuffled(self, task: Task, row: int) -> Tensor:
        members = task.members(row)
        return members[task.fresh.fold("order").take(torch.tensor([row])).permutation(len(members))[0]]
