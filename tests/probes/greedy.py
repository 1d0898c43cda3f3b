"""Greedy exchange of words (Jin et al. 2020, TextFooler, arXiv 1907.11932, algorithm 1 without its ranking)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from ironbound.core.protocols import Answer, Ask, Can, Task
from probes.words import Words


@dataclass(frozen=True)
class Greedy:
    """The best single exchange, then the next one."""

    edits: int

    needs = Can.NEIGHBOURS | Can.SCORES

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        s = task.state(p=task.region.identity())
        for _ in range(self.edits):
            task.compact()
            points, owner = task.region.neighbours(s.p, task.fresh)
            if not points:
                return
            answer = yield Ask(points, owner=owner, partial=True)
            best: dict[int, tuple[float, Words]] = {}
            for row, value, point in zip(owner.tolist(), answer.value.tolist(), points, strict=True):
                best[row] = max(best.get(row, (-torch.inf, s.p[row])), (value, point), key=lambda pair: pair[0])
            s.p = [best[row][1] if row in best else point for row, point in enumerate(s.p)]
