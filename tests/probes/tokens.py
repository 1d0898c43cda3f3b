"""Ebrahimi et al. 2018, HotFlip, arXiv 1712.06751, section 3: token swaps guided by the gradient at the one-hot leaf."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ironbound.core.protocols import Answer, Ask, Box, Can, Task
from ironbound.core.rng import Rng


@dataclass(frozen=True)
class Swaps:
    """At most `edits` token ids exchanged for any others. A point is the ids; its leaf is one-hot."""

    vocabulary: int
    edits: int

    can = Can(0)

    def at(self, x: Tensor, box: Box) -> SwapsRegion:
        return SwapsRegion(self, x)


@dataclass(frozen=True)
class SwapsRegion:
    set: Swaps
    x: Tensor

    items = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> SwapsRegion:
        return SwapsRegion(self.set, self.x[index])

    def identity(self) -> Tensor:
        return self.x

    def leaf(self, p: Tensor) -> Tensor:
        return F.one_hot(p, self.set.vocabulary).float()

    def apply(self, p: Tensor, rng: Rng, items: Tensor | None = None) -> Tensor:
        return p

    def contains(self, p: Tensor) -> Tensor:
        return ((p >= 0) & (p < self.set.vocabulary)).all(1) & (self.size(p) <= self.set.edits)

    def size(self, p: Tensor) -> Tensor:
        return (p != self.x).double().sum(1)


@dataclass(frozen=True)
class HotFlip:
    """Rank all swaps by their first-order gain, try the best `beam` of them, keep the best."""

    edits: int
    beam: int = 4

    needs = Can.GRADIENT | Can.SCORES

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        s = task.state(p=task.region.identity())
        for _ in range(self.edits):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            gain = answer.grad - answer.grad.gather(2, s.p[:, :, None])
            swap = gain.flatten(1).topk(self.beam, dim=1).indices.flatten()
            owner, rank = torch.arange(task.n).repeat_interleave(self.beam), torch.arange(len(swap))
            points = s.p[owner]
            points[rank, swap // gain.shape[2]] = swap % gain.shape[2]
            answer = yield Ask(points, owner=owner, partial=True)
            best = answer.value.view(-1, self.beam).argmax(1)
            s.p = points.view(-1, self.beam, s.p.shape[1])[torch.arange(task.n), best]
