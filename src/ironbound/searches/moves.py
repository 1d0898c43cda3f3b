"""Moves of an ascent: the plain step, the step with momentum, and APGD's schedule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Answer, Task
from ironbound.core.rows import choose, column, flat


@dataclass(frozen=True)
class Step:
    """A step of fixed length along the set's steepest direction, then projected.

    Paper: Kurakin, Goodfellow, Bengio 2017 (arXiv 1607.02533), Madry et al. 2018 (arXiv 1706.06083), equation in 2.1.
    """

    size: float
    """In the units of the radius, or, where `relative`, as a share of each problem's own radius."""
    relative: bool = False

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Nothing to remember."""
        _check_unit(task, self)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """p <- project(p + size * steepest(g))."""
        s.p = _stepped(task, s.p, answer.grad, self)


@dataclass(frozen=True)
class Momentum:
    """A step along the decayed sum of gradients, each divided by its own L1 norm.

    Paper: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv 1710.06081, algorithm 1.
    Differs: divides by the mean absolute value as the authors' code does, which has the same direction.
    """

    size: float
    decay: float = 1.0
    relative: bool = False

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The accumulated gradient, zero at first."""
        _check_unit(task, self)
        s.g = torch.zeros_like(s.p)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """g <- decay g + grad / |grad|_1; p <- project(p + size * steepest(g))."""
        scale = flat(answer.grad).abs().mean(1)
        s.g = self.decay * s.g + answer.grad / column(scale.clamp_min(torch.finfo(scale.dtype).tiny), s.g)
        s.p = _stepped(task, s.p, s.g, self)


def _check_unit(task: Task, move: Step | Momentum) -> None:
    if move.relative:
        _check_radius(task, "give `step` in input units, or ")


def _check_radius(task: Task, other: str = "") -> None:
    if not bool(torch.isfinite(task.region.radius).all()):
        raise CompositionError(f"steps are a share of the radius, but the set has none; {other}give the set a radius.")


def _stepped(task: Task, p: Tensor, g: Tensor, move: Step | Momentum) -> Tensor:
    direction = task.region.steepest(g)
    if not move.relative:
        return task.region.project(torch.add(p, direction, alpha=move.size))
    return task.region.project(torch.addcmul(p, column(move.size * task.region.radius, p), direction))


@dataclass(frozen=True)
class Apgd:
    """Step sizes that halve when a problem stops gaining, momentum, and a jump back to the best point.

    Paper: Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
    Attacks, arXiv 2003.01690, algorithm 1 and section 3.2. What all problems share (the checkpoints) depends on the
    step alone; the rest is state, one row a problem.
    Differs: steps equal those of the authors' code but for two things. Its first window compares the first step's loss
    with 0 instead of the start's. Its L2 projection shrinks onto the ball and then clamps to the box, which leaves part
    of the radius unused at the box's edge; ours goes to the nearest point of both.
    """

    rho: float = 0.75
    momentum: float = 0.75

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Best point, value and gradient so far; step size (2 eps at first); and the two conditions' counters."""
        _check_radius(task)
        worst = torch.full_like(task.region.radius, -torch.inf)
        s.steps = torch.full_like(worst, steps)
        s.old, s.best, s.best_grad, s.best_value = s.p, s.p, torch.zeros_like(s.p), worst
        s.size, s.ups, s.previous = 2 * task.region.radius, torch.zeros_like(worst), worst
        s.at_checkpoint, s.reduced = worst, torch.ones_like(worst, dtype=torch.bool)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Lines 5 to 19: note the value, halve and jump back at a checkpoint, step with momentum."""
        value = answer.value.double()
        self._note(s, answer.grad, value, t)
        grad = answer.grad
        window = checkpoints(int(s.steps[0])).get(t) if len(s.steps) else None
        if window is not None:
            grad = self._checkpoint(s, grad, window)
        along = task.region.project(s.p + column(s.size, s.p) * task.region.steepest(grad))
        a = self.momentum if t else 1.0
        s.p, s.old = task.region.project(s.p + a * (along - s.p) + (1 - a) * (s.p - s.old)), s.p

    def _note(self, s: Any, grad: Tensor, value: Tensor, t: int) -> None:
        better = value > s.best_value
        s.best, s.best_grad = choose(better, s.p, s.best), choose(better, grad, s.best_grad)
        s.best_value = torch.maximum(value, s.best_value)
        if t:
            s.ups = s.ups + (value > s.previous)
        else:
            s.at_checkpoint = s.best_value
        s.previous = value

    def _checkpoint(self, s: Any, grad: Tensor, window: int) -> Tensor:
        """Conditions 1 (too few gains in the window) and 2 (neither halved nor gained since the last checkpoint)."""
        stuck = (s.ups <= window * self.rho) | (~s.reduced & (s.at_checkpoint >= s.best_value))
        s.reduced, s.at_checkpoint, s.ups = stuck, s.best_value, torch.zeros_like(s.ups)
        s.size = torch.where(stuck, s.size / 2, s.size)
        s.p = choose(stuck, s.best, s.p)
        return choose(stuck, s.best_grad, grad)


@cache
def checkpoints(steps: int) -> dict[int, int]:
    """The steps after which sizes may be halved, each with the length of the window before it (section 3.2)."""
    at, window, found = 0, max(int(0.22 * steps), 1), dict[int, int]()
    while (at := at + window) < steps:
        found[at] = window
        window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return found
