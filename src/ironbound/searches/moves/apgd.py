"""APGD: step sizes that adapt to each problem, momentum, and jumps back to the best point. apgd_l1.py has its L1 form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import choose, column
from ironbound.searches.moves.move import Move, Shared, check_radius
from ironbound.searches.norms import norm_of

if TYPE_CHECKING:
    from ironbound.searches.moves.apgd_l1 import ApgdL1


@dataclass(frozen=True)
class Apgd(Move):
    """Step sizes that halve when a problem stops gaining, momentum, and a jump back to the best point.

    On an L1 ball it becomes ApgdL1, which has a schedule of its own.

    Paper: Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
    Attacks, arXiv 2003.01690, algorithm 1 and section 3.2. What all problems share (the checkpoints) depends on the
    step alone; the rest is state, one row a problem.
    Differs: steps equal those of the authors' code but for two things. Its first window compares the first step's loss
    with 0 instead of the start's. Its L2 projection shrinks onto the ball and then clamps to the box, which leaves part
    of the radius unused at the box's edge; ours goes to the nearest point of both.
    """

    rho: float = 0.75
    momentum: float = 0.75
    large_radii: bool = False
    """L1 only: begin in balls of three and two times the radius, as AutoAttack does."""

    @property
    def needs(self) -> Can:
        """A projection, a steepest direction, and other radii where it begins with these."""
        return Can.PROJECT | Can.STEER | (Can.SCALE if self.large_radii else Can(0))

    def on(self, region: Any) -> Apgd | ApgdL1:
        """On L1 its version for that norm, elsewhere itself."""
        from ironbound.searches.moves.apgd_l1 import ApgdL1

        return ApgdL1(large_radii=self.large_radii) if norm_of(region) == "l1" else self

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Best point, value and gradient so far; step size (2 eps at first); and the two conditions' counters."""
        check_radius(task)
        worst = torch.full_like(task.region.radius, -torch.inf)
        s.checkpoints = Shared(checkpoints(steps))
        s.old, s.best, s.best_grad, s.best_value = s.p, None, None, worst
        s.size, s.ups, s.previous = 2 * task.region.radius, torch.zeros_like(worst), worst
        s.at_checkpoint, s.reduced = worst, torch.ones_like(worst, dtype=torch.bool)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Lines 5 to 19: note the value, halve and jump back at a checkpoint, step with momentum."""
        value, grad = answer.value.double(), answer.grad
        if t:
            s.ups = s.ups + (value > s.previous)
        note_best(s, grad, value)
        if t == 0:
            s.at_checkpoint = s.best_value
        s.previous = value
        window = s.checkpoints.value.get(t)
        if window is not None:
            grad = self._checkpoint(s, grad, window)
        s.p, s.old = self._stepped(task.region, s, grad, t), s.p

    def _stepped(self, region: Any, s: Any, grad: Tensor, t: int) -> Tensor:
        """project(p + a (z - p) + (1 - a) (p - old)), with z the plain step and a = 1 at first."""
        along = region.project(torch.addcmul(s.p, column(s.size, s.p), region.steepest(grad)))
        if t == 0:
            return along
        p, rest = torch.lerp(s.p, along, self.momentum), 1 - self.momentum
        return region.project(p.add_(s.p, alpha=rest).sub_(s.old, alpha=rest))

    def _checkpoint(self, s: Any, grad: Tensor, window: int) -> Tensor:
        """Conditions 1 (too few gains in the window) and 2 (neither halved nor gained since the last checkpoint)."""
        stuck = (s.ups <= window * self.rho) | (~s.reduced & (s.at_checkpoint >= s.best_value))
        s.reduced, s.at_checkpoint, s.ups = stuck, s.best_value, torch.zeros_like(s.ups)
        s.size = torch.where(stuck, s.size / 2, s.size)
        return back_to_best(s, stuck, grad)


def note_best(s: Any, grad: Tensor, value: Tensor) -> None:
    """Keep point, gradient and value of the rows that are better than ever; NaN is not."""
    better = value > s.best_value
    row = better.nonzero()[:, 0]
    s.best_value = torch.where(better, value, s.best_value)
    if s.best is None or len(row) == len(value):
        s.best, s.best_grad, s.own = s.p, grad, Shared(False)
    elif len(row):
        if not s.own.value:  # until now the tables of others: points asked, and an answer
            s.best, s.best_grad, s.own = s.best.clone(), s.best_grad.clone(), Shared(True)
        s.best.index_copy_(0, row, s.p.index_select(0, row))
        s.best_grad.index_copy_(0, row, grad.index_select(0, row))


def back_to_best(s: Any, which: Tensor, grad: Tensor) -> Tensor:
    """These rows return to their best point; the gradients at where all are now."""
    s.p = choose(which, s.best, s.p)
    return choose(which, s.best_grad, grad)


@cache
def checkpoints(steps: int) -> dict[int, int]:
    """The steps after which sizes may be halved, each with the length of the window before it (section 3.2)."""
    at, window, found = 0, max(int(0.22 * steps), 1), dict[int, int]()
    while (at := at + window) < steps:
        found[at] = window
        window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return found
