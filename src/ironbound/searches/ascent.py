"""Gradient ascent on the objective, with the move and the start as parts: FGSM, I-FGSM, PGD, MI-FGSM, APGD."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Points, Task


class Move(Protocol):
    """How to step from the point just asked to the next. All state is in tables with one row a problem."""

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Add the move's own tables to the state."""
        ...

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Replace s.p by the next point, after step t of the search."""
        ...


@dataclass(frozen=True)
class Clean:
    """Start at the input itself."""

    def __call__(self, task: Task) -> Points:
        """The identity of each problem."""
        return task.region.identity()


@dataclass(frozen=True)
class Uniform:
    """Start at a random point of the set; what distribution that is the set says."""

    def __call__(self, task: Task) -> Points:
        """One draw a problem, a different one for every restart."""
        return task.region.sample(task.rng.fold("start"))


@dataclass(frozen=True)
class Ascent:
    """`steps` moves along the gradient, then one last look at where they led."""

    steps: int
    move: Move
    start: Clean | Uniform = Clean()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"an ascent takes at least one step; got steps={self.steps}.")

    @property
    def needs(self) -> Can:
        """Gradients, a projection, a steepest direction, and draws where it starts at random."""
        start = Can.SAMPLE if isinstance(self.start, Uniform) else Can(0)
        return Can.GRADIENT | Can.PROJECT | Can.STEER | start

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Ask for the gradient, move; every point on the way may be the witness."""
        s = task.state(p=self.start(task))
        self.move.prepare(task, s, self.steps)
        for t in range(self.steps):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            self.move(task, s, answer, t)
        task.compact()
        yield Ask(s.p)
