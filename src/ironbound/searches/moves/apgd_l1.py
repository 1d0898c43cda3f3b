"""APGD for the L1 ball: sparse steps whose sparsity follows the best point found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.moves.apgd import back_to_best, note_best
from ironbound.searches.moves.move import Move, Shared, check_radius

RADII = ((3, 0.3), (2, 0.3), (1, 0.4))
"""The balls of `large_radii`: times the radius, and the share of the steps."""
SPARSER = 0.95
"""Support that shrinks to less than this share of what it was is worth going on with full steps."""


@dataclass(frozen=True)
class ApgdL1(Move):
    """Sparse steps of one radius at first; how many values they change follows the support of the best point so far.

    A step moves the values with the largest gradients by the same amount, in sum the step size, and is projected exactly
    onto ball and box. After each window of 4% of the steps: where the best point's support shrank by more than a
    twentieth, back to that point with steps of one radius; elsewhere steps shrink by 1.5, to no less than a tenth. The
    next steps change 1 / 1.5 as many values as the best point does.

    Paper: Croce, Hein 2021, Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image Classifiers, arXiv 2103.01208,
    algorithm 1 and section 3. Steps equal those of the authors' code.
    """

    large_radii: bool = False
    """Spend 30%, 30% and 40% of the steps in balls of three, two and one radius, each from the best point of the one
    before, projected (section 3.3). Differs: the passes over these points are among the steps, where the authors' code
    makes them besides."""
    share: float | None = 0.2
    """Of the values, the share that the first steps change; None: as the start's support says, as after each window. Where
    it begins in larger balls, that is so in any case."""

    @property
    def needs(self) -> Can:
        """A projection, and other radii where it begins with these."""
        return Can.PROJECT | (Can.SCALE if self.large_radii else Can(0))

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The first ball; the rest begins with it."""
        check_radius(task)
        s.ball, s.stage = None, None
        stages = ((1, steps),) if not self.large_radii else _lengths(steps)
        self._enter(task, s, stages, 0)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Note the value; at the end of a window choose sparsity and step size; step, or go on in the next ball."""
        stage: _Stage = s.stage.value
        region = task.region if s.ball is None else s.ball
        grad = answer.grad
        note_best(s, grad, answer.value.double())
        if t + 1 == stage.end and stage.left:
            self._enter(task, s, stage.left, t + 1)
            return
        since = t - stage.start
        if since and since % stage.window == 0:
            grad = self._checkpoint(s, region, grad)
        s.p = region.project(_sparse(s.p, grad, s.share, s.size))

    def _enter(self, task: Task, s: Any, stages: tuple[tuple[int, int], ...], start: int) -> None:
        """Into the next ball: the best point so far, projected, is the start."""
        (times, length), left = stages[0], stages[1:]
        region = s.ball = task.region if times == 1 else task.region.scaled(times * task.region.radius)
        if start or self.large_radii:
            s.p = region.project(s.best if start else s.p)
        values = max(1, math.prod(s.p.shape[1:]))
        s.size, s.best, s.best_grad = region.radius, None, None
        s.best_value = torch.full_like(region.radius, -torch.inf)
        if self.share is None or self.large_radii:
            s.support = _support(s.p, region)
            s.share = s.support / values / 1.5
        else:
            s.support = torch.full_like(region.radius, values)
            s.share = torch.full_like(region.radius, self.share)
        s.stage = Shared(_Stage(start, start + length, max(int(0.04 * length), 1), left))
        s.ball = None if times == 1 else region

    def _checkpoint(self, s: Any, region: Any, grad: Tensor) -> Tensor:
        support = _support(s.best, region)
        sparser = support / s.support < SPARSER
        s.share, s.support = support / max(1, math.prod(s.p.shape[1:])) / 1.5, support
        least = torch.maximum(s.size / 1.5, region.radius / 10)
        s.size = torch.where(sparser, region.radius, least)
        return back_to_best(s, sparser, grad)


@dataclass(frozen=True)
class _Stage:
    """A ball's part of the steps."""

    start: int
    end: int
    window: int
    left: tuple[tuple[int, int], ...]


def _lengths(steps: int) -> tuple[tuple[int, int], ...]:
    """The balls with their numbers of steps; the last has what is left, and is the only one where there are too few."""
    first = [(times, math.ceil(share * steps)) for times, share in RADII[:-1]]
    rest = steps - sum(length for _, length in first)
    return (*first, (1, rest)) if rest > 0 else ((1, steps),)


def _support(p: Tensor, region: Any) -> Float[Tensor, " n"]:
    """How many values differ from the input's by more than a projection's rounding."""
    rounding = max(8 * torch.finfo(p.dtype).eps, 1e-11)
    return flat((p - region.identity()).abs_() > column(rounding * region.radius, p)).sum(1).double()


def _sparse(p: Tensor, grad: Tensor, share: Tensor, size: Tensor) -> Tensor:
    """p moved by `size` in sum, the same for each of the `share` of values with the largest gradients, and their equals."""
    slope = flat(grad.abs())
    values = slope.shape[1]
    count = values - ((1 - share) * values).clamp(0, values - 1).long()
    most = int(count.max()) if len(count) else 1
    least = slope.topk(most, dim=1).values.gather(1, (count - 1)[:, None])
    moved = torch.where((slope >= least).view(grad.shape), grad.sign(), 0.0)
    each = size / flat(moved).abs().sum(1, dtype=torch.float64).clamp_min(1)
    return torch.addcmul(p, column(each, p), moved)
