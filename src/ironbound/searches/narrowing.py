"""A short climb towards every target, a long one only towards those that came nearest."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Outputs, Search, Task
from ironbound.objectives import TargetDlr, TargetMargin
from ironbound.searches.guided import Aimed, Likely, Targets, guided

Asking = Generator[Ask, Answer, Any]


@dataclass(frozen=True)
class Narrowed:
    """Run `short` once for each target, then `search` for the `keep` targets to which its problem came nearest.

    How near is the largest z_t - z_y of the short climb, in logits, whatever the loss that was climbed. Each problem keeps
    its own targets; the long climbs start anew, nearest target first. Any wrong answer met on the way is a success.

    Paper: the targets are those of Gowal et al. 2019, arXiv 1910.09338 (multi-targeted), and Croce, Hein 2020, arXiv
    2003.01690 (APGD-T); the narrowing is successive halving as in Jamieson, Talwalkar 2016, Non-stochastic Best Arm
    Identification and Hyperparameter Optimization, arXiv 1502.07943, algorithm 1.
    Differs: two rounds with numbers that are given, where theirs halve until one is left; and the second begins anew instead
    of going on, since APGD's step sizes follow from the number of steps that it has in all.
    """

    search: Search
    short: Search
    keep: int = 3
    loss: Callable[[Outputs, Tensor, Tensor], Tensor] = field(default_factory=TargetDlr)
    """(outputs, y, target) -> one number a row, up towards the target."""
    targets: Targets = field(default_factory=Likely)

    from_label = True

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UsageError(f"at least one target is kept; got keep={self.keep}.")

    @property
    def needs(self) -> Can:
        """What both searches need, and what the ranking needs."""
        return self.search.needs | self.short.needs | self.targets.needs

    def notes(self, classes: int) -> list[str]:
        """Where there are too few classes for the loss or the number of targets."""
        return Aimed(self.search, self.loss, self.targets).notes(classes)

    def run(self, task: Task) -> Asking:
        """Rank the targets, climb shortly towards each, rank them by what was reached, climb on towards the first."""
        ranking = yield from self.targets.ranked(task)
        if ranking is None:
            return
        unheard = torch.full(ranking.shape, -torch.inf, dtype=torch.float64, device=ranking.device)
        s, count = task.state(target=ranking, reached=unheard), ranking.shape[1]
        if count > self.keep:  # otherwise there is nothing to choose
            for column in range(count):
                yield from self._climb(self.short, task, s, column, turn=column)
            nearest = s.reached.argsort(dim=1, descending=True, stable=True)[:, : self.keep]
            s.target, s.reached = s.target.gather(1, nearest), s.reached.gather(1, nearest)
        for column in range(s.target.shape[1]):
            yield from self._climb(self.search, task, s, column, turn=count + column)

    def _climb(self, search: Search, task: Task, s: Any, column: int, turn: int) -> Asking:
        """A search towards each problem's target of this column; how near it comes is noted in `s.reached`."""

        def note(ask: Ask, heard: Answer) -> None:
            if heard.outputs is not None:
                owner = torch.arange(len(s.target), device=s.target.device) if ask.owner is None else ask.owner
                gap = TargetMargin()(heard.outputs, task.y[owner], s.target[owner, column]).double()
                gap = torch.where(heard.granted & ~gap.isnan(), gap, -torch.inf)
                s.reached[:, column].scatter_reduce_(0, owner, gap, "amax")

        task.turn(turn)
        task.compact()
        yield from guided(search, task, self._towards, lambda: (s.target[:, column],), note)

    def _towards(self, terms: Any, target: Tensor) -> Tensor:
        return self.loss(terms.outputs, terms.y, target)
