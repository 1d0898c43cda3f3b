"""GAMA-PGD: an ascent that is led away from the clean answer for the first quarter."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task, Terms
from ironbound.searches.ascent import Ascent
from ironbound.searches.guided import clean_logits, guided
from ironbound.searches.moves import Step
from ironbound.searches.moves.move import Move, Shared, check_radius
from ironbound.searches.starts import Nudged, Start

DROPS = (0.6, 0.85)
"""The shares of the steps after which the step is a tenth of what it was."""


@dataclass(frozen=True)
class Gama:
    """Climb objective + weight |p(x') - p(x)|^2, with a weight that falls to 0 and steps that fall twice.

    The objective is the attack's; in the paper it is max_{j != y} p_j - p_y, objectives.ProbabilityMargin.

    Paper: Sriramanan, Addepalli, Baburaj, Babu 2020, Guided Adversarial Attack for Evaluating and Enhancing Adversarial
    Defenses, arXiv 2011.14969, equation 3 and algorithm 1. Starts at the edge of the set; steps are 2 radii, a tenth of
    that after 60% of the steps and again after 85%; on an L1 ball they are sparse ones.
    Differs: p(x) is the answer to the clean input, as in the paper; the authors' code takes that to its own start.
    """

    steps: int = 100
    weight: float = 50.0
    """Of the distance to the clean probabilities, at first."""
    guided: float = 0.25
    """The share of the steps in which the weight falls to 0."""
    step: float = 2.0
    """The first steps, in radii."""
    start: Start = field(default_factory=lambda: Nudged(1.0))

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"an ascent takes at least one step; got steps={self.steps}.")

    @property
    def needs(self) -> Can:
        """Gradients and scores, a projection, a steepest direction, and what the start needs."""
        return Can.GRADIENT | Can.SCORES | Can.PROJECT | Can.STEER | getattr(self.start, "needs", Can(0))

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Hear the clean answer, then ascend; 1 + steps + 1 forward rows a problem."""
        clean = yield from clean_logits(task)
        if clean is None:
            return
        s, asks = task.state(clean=clean.softmax(1)), count()
        task.compact()

        def tables() -> tuple[Tensor, Tensor]:
            return s.clean, torch.full((task.n,), self._weight(next(asks)), dtype=s.clean.dtype, device=s.clean.device)

        yield from guided(Ascent(self.steps, Dropping(self.step), self.start), task, _loss, tables)

    def _weight(self, t: int) -> float:
        return self.weight * max(0.0, 1 - t / (self.guided * self.steps)) if self.guided else 0.0


@dataclass(frozen=True)
class Dropping(Move):
    """A Step of `size` radii at first, a tenth of that after each of DROPS."""

    size: float

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """How many steps there are."""
        check_radius(task, "give `step` in input units, or ")
        s.steps = Shared(steps)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """The step of this time."""
        size = self.size / 10 ** sum(t >= int(drop * s.steps.value) for drop in DROPS)
        s.p = Step(size, relative=True).on(task.region).moved(task, s.p, answer.grad)


def _loss(terms: Terms, clean: Float[Tensor, "m c"], weight: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    return terms.objective + weight * (terms.outputs.softmax(1) - clean).square().sum(1)
