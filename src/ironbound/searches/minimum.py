"""Minimum-norm attacks by steps of fixed cost, with the step as a part: DDN, FMN, ALMA, PDPGD."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.searches.moves import Alma, Ddn, Fmn, Pdpgd, Shared


@dataclass(frozen=True)
class Closing:
    """`steps` points, the first of them the input, each made by the move from what was heard at the one before.

    They close in on the boundary from both sides; the smallest witness among them is the answer. The last point is only
    looked at, so that as many points as in the authors' code take one backward pass less.
    """

    steps: int
    move: Alma | Ddn | Fmn | Pdpgd

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise UsageError(f"the first point is the input, so there are two at least; got steps={self.steps}.")

    @property
    def needs(self) -> Can:
        """Gradients and scores, and what the move needs of the set."""
        return Can.GRADIENT | Can.SCORES | self.move.needs

    @property
    def norms(self) -> tuple[str, ...]:
        """The balls in which the move walks; other sets are refused when it runs."""
        return self.move.norms

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Ask for the gradient, move; every point on the way may be the witness."""
        s = task.state(steps=Shared(self.steps))
        self.move.prepare(task, s, self.steps)
        s.p = task.region.identity()
        for t in range(self.steps - 1):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            self.move(task, s, answer, t)
        task.compact()
        yield Ask(s.p)
