"""Minimum-norm attacks by steps of fixed cost, with the step as a part: DDN, FMN, ALMA, PDPGD."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import choose, column, kept
from ironbound.searches.moves import Alma, Ddn, Fmn, Pdpgd, Shared
from ironbound.searches.moves.lengths import by_pixel, length

LATE = 2 / 3
"""From this share of the steps on witnesses are kept: earlier ones are hardly ever the smallest."""
BACK = 0.5
"""The first look is this share of the change nearer to the input; one that fails is followed by one at a third of that."""
LEAST_BACK = 1e-4
"""No look is nearer by less than this share: there is nothing left to win."""


@dataclass(frozen=True)
class Closing:
    """`steps` points, the first of them the input, most of them made by the move from what was heard at the one before.

    The last `looks` need no gradient: they go back from the smallest late witness towards the input, along the straight line
    in L1, L2 and Linf, in L0 by one pixel (or coordinate) after the other, those that change least first. The smallest
    witness of all points is the answer.
    """

    steps: int
    move: Alma | Ddn | Fmn | Pdpgd
    looks: int = 0

    def __post_init__(self) -> None:
        if self.steps < 2 or not 0 <= self.looks < self.steps - 1:
            raise UsageError(
                "the first point is the input, a second is made from it, and looks come after both: steps >= 2 and "
                f"0 <= looks < steps - 1; got steps={self.steps}, looks={self.looks}."
            )

    @property
    def needs(self) -> Can:
        """Gradients and scores, and what the move needs of the set."""
        return Can.GRADIENT | Can.SCORES | self.move.needs

    @property
    def norms(self) -> tuple[str, ...]:
        """The balls in which the move walks; other sets are refused when it runs."""
        return self.move.norms

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Ask for the gradient, move, and look back; every point on the way may be the witness."""
        moves = self.steps - max(self.looks, 1)  # the last point needs no gradient
        s = task.state(steps=Shared(moves + 1), p=task.region.identity(), witness=task.region.identity())
        s.length = torch.full_like(task.region.radius, torch.inf)
        self.move.prepare(task, s, moves + 1)
        for t in range(moves):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            if self.looks and t >= LATE * moves:
                self._keep(task, s, self.move.won(s, answer))
            self.move(task, s, answer, t)
        task.compact()
        answer = yield Ask(s.p)
        if self.looks > 1:
            self._keep(task, s, self.move.won(s, answer))
            yield from self._look(task, s)

    def _keep(self, task: Task, s: Any, won: Tensor) -> None:
        region = task.region
        size = length(region.norm, s.p - region.x, getattr(region, "channels", 1))
        smaller = won & (size < s.length)
        s.length = torch.where(smaller, size, s.length)
        row = smaller.nonzero()[:, 0]  # a broadcast choice takes thrice as long
        s.witness = s.witness.index_copy(0, row, kept(s.p, row, len(smaller)))

    def _look(self, task: Task, s: Any) -> Generator[Ask, Answer, None]:
        """Nearer to the input while that misleads the model, and by less where it does not."""
        s.back, s.tried = torch.full_like(s.length, BACK), None
        for _ in range(self.looks - 1):
            task.compact()
            if not bool((s.back > LEAST_BACK).any()):
                return
            region, change = task.region, s.witness - task.region.x
            if region.norm == "l0":
                s.p = self._without_one(s, region, change)
            else:
                s.p = s.witness - change.mul_(column(s.back, change))
            answer = yield Ask(s.p)
            won = self.move.won(s, answer)
            s.witness = choose(won, s.p, s.witness)
            if region.norm != "l0":
                s.back = torch.where(won, s.back, s.back / 3)

    def _without_one(self, s: Any, region: Any, change: Tensor) -> Tensor:
        """The best points without the pixel that changes least, of those not tried."""
        weight = by_pixel(change, region.channels).square().sum(1)
        s.tried = torch.zeros_like(weight, dtype=torch.bool) if s.tried is None else s.tried
        least = weight.masked_fill((weight == 0) | s.tried, torch.inf).argmin(1, keepdim=True)
        s.tried = s.tried.scatter(1, least, torch.ones_like(s.tried))
        one = torch.zeros_like(s.tried).scatter_(1, least, torch.ones_like(s.tried))[:, None]
        return torch.where(one.expand(-1, region.channels, -1).reshape(change.shape), region.x, s.witness)
