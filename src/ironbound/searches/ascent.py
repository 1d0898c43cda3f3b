"""Gradient ascent on the objective, with the move and the start as parts: FGSM, I-FGSM, PGD, MI-FGSM, APGD and more."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.searches.moves.move import Move
from ironbound.searches.starts import Clean, Corner, Gaussian, Given, Nudged, Sparse, Start, Uniform, Vertices

__all__ = ["Ascent", "Clean", "Corner", "Gaussian", "Given", "Move", "Nudged", "Sparse", "Start", "Uniform", "Vertices"]


@dataclass(frozen=True)
class Ascent:
    """`steps` moves along the gradient, then one last look at where they led."""

    steps: int
    move: Move
    start: Start = field(default_factory=Clean)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"an ascent takes at least one step; got steps={self.steps}.")

    @property
    def needs(self) -> Can:
        """Gradients, and what move and start need of the set."""
        return Can.GRADIENT | self.move.needs | getattr(self.start, "needs", Can(0))

    @property
    def norms(self) -> tuple[str, ...]:
        """Those that the move is for, where it is for some only; else there is no such attribute."""
        norms: tuple[str, ...] = self.move.norms  # type: ignore[attr-defined]
        return norms

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Ask for the gradient, move; every point on the way may be the witness."""
        s = task.state(p=self.start(task))
        move = self.move.on(task.region)
        move.prepare(task, s, self.steps)
        for t in range(self.steps):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            move(task, s, answer, t)
        task.compact()
        yield Ask(s.p)
