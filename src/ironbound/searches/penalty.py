"""A penalty for being far plus a weight times the objective still wanting: outer weights, inner descents, problem by problem.

Minimise D(p - x) + c max(0, aim - objective(p)) over the model's box, for one c after the other. Carlini and Wagner's
attacks, the elastic net and Szegedy's L-BFGS differ in D, in the descent, and in what follows a search.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.judge import TAU, convincing, scale_of
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import kept
from ironbound.searches.norms import norm_among

Asking = Generator[Ask, Answer, Any]
ENOUGH = 1.5
"""Times the least margin that the judge accepts: where the hinge ends, so that a minimum of the penalty is a witness."""
CHECKS, PROGRESS = 10, 0.99
"""The early end: at each tenth of the steps the loss has to be below so much of what it was at the last (published: 0.9999)."""
EARLY = 2
"""Tenths of the steps in which a witness says nothing about c: Adam's first steps are equally large whatever the gradient."""


class Descent(Protocol):
    """How to walk downhill in the box. Its tables have one row a problem; `s.p` holds the points to ask."""

    def begin(self, task: Task, s: Any) -> None:
        """Add its tables to the state."""
        ...

    def restart(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Back to the input, without memory, for some problems."""
        ...

    def step(
        self,
        task: Task,
        s: Any,
        row: Int[Tensor, " r"],
        g: Tensor,
        pull: Float[Tensor, " r"],
        loss: Float[Tensor, " r"],
    ) -> None:
        """Replace the points of some problems: g is the objective's gradient there, `pull` its weight; `loss` is D's rival."""
        ...

    def away(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """D of the points now in s.p, float64."""
        ...


class Outer(Protocol):
    """What follows a search: the next weight, and whether there is another search at all."""

    def begin(self, task: Task, s: Any) -> None:
        """Add its tables to the state: at least `c`, the weights, and `open`, who still searches."""
        ...

    def heard(
        self, task: Task, s: Any, row: Int[Tensor, " r"], won: Bool[Tensor, " r"], answer: Answer, every: int
    ) -> Bool[Tensor, " r"]:
        """Note what the points in s.p of some problems were worth; says whose search is over with this.

        `every` is a tenth of the steps of a search.
        """
        ...

    def follow(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """The search of these problems is over: set their next c, and end those that have no more."""
        ...


@dataclass(frozen=True)
class Bisect:
    """c ten times as large until a search finds something, then halfway between the last that failed and the least that did not.

    Paper: Carlini, Wagner 2017, arXiv 1608.04644, section IV.D (binary search over c).
    """

    searches: int = 9
    c: float = 1e-3
    most: float = 1e10

    def __post_init__(self) -> None:
        if self.searches < 1 or not 0 < self.c < self.most:
            raise UsageError(f"a search over c has one search at least and a first c above 0; got {self}.")

    def begin(self, task: Task, s: Any) -> None:
        """The interval, and how many searches each problem has had."""
        zero = torch.zeros(task.n, dtype=torch.float64, device=s.p.device)
        s.c, s.lower, s.upper = zero + self.c, zero, zero + self.most
        s.searched = torch.zeros_like(zero, dtype=torch.int64)
        s.found = torch.zeros_like(zero, dtype=torch.bool)
        s.open = ~s.found

    def heard(
        self, task: Task, s: Any, row: Int[Tensor, " r"], won: Bool[Tensor, " r"], answer: Answer, every: int
    ) -> Bool[Tensor, " r"]:
        """A witness shows that c is large enough, if it comes after the first steps, which overshoot at any c."""
        s.found = s.found.index_copy(0, row, s.found[row] | (won & (s.t[row] >= EARLY * every)))
        return torch.zeros_like(won)

    def follow(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Narrow the interval."""
        c, found, lower, upper = s.c[row], s.found[row], s.lower[row], s.upper[row]
        upper, lower = torch.where(found, torch.minimum(upper, c), upper), torch.where(found, lower, c)
        following = torch.where(upper < self.most, (lower + upper) / 2, c * 10)
        s.c, s.lower, s.upper = (
            table.index_copy(0, row, new) for table, new in ((s.c, following), (s.lower, lower), (s.upper, upper))
        )
        s.searched = s.searched.index_add(0, row, torch.ones_like(row))
        s.found = s.found.index_fill(0, row, False)
        s.open = s.open & (s.searched < self.searches)


@dataclass(frozen=True)
class Penalty:
    """Searches of `steps` steps each, for one weight c after the other; every problem at its own c and its own step.

    A problem whose search gets nowhere goes on to its next c at once, so that its rows are not spent on waiting.

    Cost, rows a problem and step: 1 forward, 1 backward.
    """

    descent: Descent
    outer: Outer = field(default_factory=Bisect)
    steps: int = 100
    abort: bool = True
    """End a search that makes no progress in a tenth of its steps."""
    patience: int = 1
    """Tenths in a row without progress that end it; momentum may go up before it goes down."""
    hinge: bool = True
    """Nothing is won by an objective above the aim; else more is always better (cross-entropy)."""
    norms = ("linf", "l2", "l1", "l0")  # D is of changes of values; other sets are refused when it runs
    needs = Can.GRADIENT | Can.SCORES

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"a search takes at least one step; got steps={self.steps}.")

    def run(self, task: Task) -> Asking:
        """Ask, step; where a search is over, follow with the next."""
        norm_among(task.region, self.norms, self)
        x = task.region.identity()
        number = torch.zeros(task.n, dtype=torch.float64, device=x.device)
        count = torch.zeros_like(number, dtype=torch.int64)
        s = task.state(p=x, scale=number, last=number + torch.inf, t=count, stuck=count)
        self.descent.begin(task, s)
        self.outer.begin(task, s)
        every = max(1, -(-self.steps // CHECKS))
        while True:
            task.compact()
            row = s.open.nonzero()[:, 0]
            if len(row) == 0:
                return
            whole = len(row) == task.n
            answer = yield Ask(kept(s.p, row, task.n), owner=None if whole else row, grad=True)
            wants, done = self._heard(task, s, row, answer, every)
            over = done | self._over(task, s, row, wants, every)
            s.t = s.t.index_add(0, row, torch.ones_like(row))
            if len(ended := row[over]):
                self._follow(task, s, ended)
            going = (~over).nonzero()[:, 0]
            if len(going):
                loss = (wants * s.c[row])[going]
                pull = torch.where((wants > 0) | (not self.hinge), s.c[row], 0.0)[going]
                self.descent.step(task, s, row[going], kept(answer.grad, going, len(row)), pull, loss)

    def _heard(self, task: Task, s: Any, row: Tensor, answer: Answer, every: int) -> tuple[Tensor, Tensor]:
        """What the objective still wants of each point, below 0 where it has more; and whose search this ended."""
        value, scale = answer.value.double(), s.scale[row]
        if (largest := scale_of(answer.outputs)) is not None:
            scale = torch.maximum(scale, largest)
        s.scale = s.scale.index_copy(0, row, scale)
        s.open = s.open.index_copy(0, row, answer.granted)
        won = answer.success & ((value <= 0) | convincing(value, scale))
        done = self.outer.heard(task, s, row, won, answer, every)
        return ENOUGH * TAU * scale - value, done | ~answer.granted

    def _over(self, task: Task, s: Any, row: Tensor, wants: Tensor, every: int) -> Bool[Tensor, " r"]:
        """Whose search has had its steps, or gets nowhere."""
        t = s.t[row]
        over = t + 1 >= self.steps
        looks = (t % every == 0).nonzero()[:, 0]
        if self.abort and len(looks):
            at = row[looks]
            loss = self.descent.away(task, s, at) + s.c[at] * (
                wants[looks].clamp_min(0) if self.hinge else wants[looks]
            )
            stuck = torch.where(loss <= PROGRESS * s.last[at], 0, s.stuck[at] + 1)
            over[looks] |= stuck >= self.patience
            s.last, s.stuck = s.last.index_copy(0, at, loss), s.stuck.index_copy(0, at, stuck)
        return over

    def _follow(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        self.outer.follow(task, s, row)
        self.descent.restart(task, s, row)
        s.t, s.last = s.t.index_fill(0, row, 0), s.last.index_fill(0, row, torch.inf)
        s.stuck = s.stuck.index_fill(0, row, 0)
