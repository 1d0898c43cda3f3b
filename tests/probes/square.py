"""Andriushchenko et al. 2020, Square Attack, arXiv 1912.00049, algorithms 1 and 2 (L-infinity)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import choose, column

HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 steps: where p is halved (section 3.1)


@dataclass(frozen=True)
class Square:
    """Random search: a square of one colour, kept where it gains. Starts from vertical stripes."""

    steps: int
    p: float = 0.8

    needs = Can.SCORES | Can.PROJECT

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        x = task.region.identity()
        channels, height, width = x.shape[1:]
        stripes = task.rng.fold("stripes").sign((channels, 1, width), x.dtype)
        s = task.state(p=task.region.project(x + column(task.region.radius, x) * stripes))
        answer = yield Ask(s.p)
        s.value = answer.value
        down, across = torch.arange(height)[:, None], torch.arange(width)[None, :]
        for t in range(self.steps):
            task.compact()
            side, fresh = self.side(t, height, width), task.fresh
            top = fresh.fold("top").integers(0, height - side + 1)[:, None, None]
            left = fresh.fold("left").integers(0, width - side + 1)[:, None, None]
            window = (down >= top) & (down < top + side) & (across >= left) & (across < left + side)
            colour = 2 * column(task.region.radius, s.p) * fresh.fold("colour").sign((channels, 1, 1), s.p.dtype)
            q = task.region.project(s.p + colour * window[:, None])
            answer = yield Ask(q)
            s.p = choose(answer.value > s.value, q, s.p)
            s.value = torch.maximum(answer.value, s.value)

    def side(self, t: int, height: int, width: int) -> int:
        share = self.p / 2 ** sum(t / self.steps * 10_000 > at for at in HALVED)
        return min(max(round((share * height * width) ** 0.5), 1), height - 1)
