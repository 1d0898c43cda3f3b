"""Ilyas et al. 2018, Black-box Adversarial Attacks with Limited Queries and Information, arXiv 1804.08598, algorithm 1."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ironbound.core.protocols import Answer, Ask, Can, Rows, Search, Task
from ironbound.core.rows import column


@dataclass(frozen=True)
class Nes:
    """The gradient of a Gaussian's mean value, from pairs of probes on both sides (antithetic sampling)."""

    samples: int
    sigma: float

    def estimate(self, task: Task, p: Tensor) -> Generator[Ask, Answer, Tensor]:
        half = self.samples // 2
        streams, owner = task.fresh.fold("nes").repeat(half), torch.arange(task.n).repeat_interleave(2 * half)

        def probe(at: slice) -> Tensor:
            number = torch.arange(len(owner))[at]
            return column(1 - 2 * (number % 2), p) * streams.take(number // 2).normal(tuple(p.shape[1:]), p.dtype)

        answer = yield Ask(Rows(len(owner), lambda at: p[owner[at]] + self.sigma * probe(at)), owner=owner)
        value = torch.where(answer.granted, answer.value, 0).to(p.dtype)
        return (column(value, p) * probe(slice(0, len(owner)))).unflatten(0, (task.n, -1)).mean(1) / self.sigma


@dataclass(frozen=True)
class Estimated:
    """Any gradient search where only scores are seen: its gradient asks are answered from estimates."""

    search: Search
    by: Nes

    @property
    def needs(self) -> Can:
        return self.search.needs & ~Can.GRADIENT | Can.SCORES

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        asks, answer = self.search.run(task), None
        while True:
            try:
                ask = asks.send(answer)
            except StopIteration:
                return
            grad = (yield from self.by.estimate(task, ask.points)) if ask.grad else None
            answer = yield replace(ask, grad=False)
            answer = replace(answer, grad=grad)
