"""ALMA: an augmented Lagrangian whose multiplier moves at every step, in L2 and L1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.moves.lengths import DUAL, clamped, free, inward, length, per_length, reach, within
from ironbound.searches.moves.move import Move
from ironbound.searches.norms import norm_among

LEAST_MU, MOST_MU = 1e-6, 1e12
TINY = 1e-8
PUBLISHED_RATE = 0.1
ALPHA = {"l1": 0.8, "l2": 0.9}
"""0.9 is published; in L1, where the multiplier has further to go, a shorter memory ends nearer."""


@dataclass(frozen=True)
class Alma(Move):
    """Descent on distance + P(c, rho, mu), where c is the constraint (the objective with its sign turned, below 0 inside).

    P is the penalty P2 of the paper: mu c + mu rho c^2 + rho^2 c^3 / 6 for c >= 0, mu c / (1 - rho c) below. The multiplier
    mu is a moving average of P's slope; rho grows where the constraint does not improve. Steps are RMSProp's with momentum,
    and shrink from the first witness on.

    Paper: Rony, Granger, Pedersoli, Ben Ayed 2021, Augmented Lagrangian Adversarial Attacks, arXiv 2011.11857, algorithm 1.
    Differs (with `published` it is theirs in all this): the constraint is divided by the dual norm of its gradient at the
    input, so that it is a length as the distance is, and rho by the linearised distance to the boundary; then mu belongs
    near 1 in every norm, on models of every scale, and need not be found first. The mean square starts at that of the first
    gradient, and in L1 averages are shorter. A finite radius of the set is never left.
    """

    rate: float | None = None
    """The step size; None: such that the first step is a share of the linearised distance to the boundary."""
    last: float = 0.01
    """The share of the step size that is left at the end."""
    mu: float = 1.0
    rho: float = 1.0
    every: int = 10
    tau: float = 0.95
    gamma: float = 1.2
    alpha: float | None = None
    """The weight of what was, in all moving averages and the momentum; None: see ALPHA."""
    share: float = 0.2
    tolerance: float = 0.0
    """Added to the constraint: by how much the objective is to be beyond 0."""
    published: bool = False

    norms = ("l1", "l2")
    needs = Can.SCALE

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Multiplier and penalty of each problem; means of gradients and their squares; when it was first won."""
        norm = norm_among(task.region, self.norms, self)
        one = torch.ones_like(task.region.radius)
        s.reach, s.unit = reach(task.region, norm), one
        s.mu, s.rho, s.rate, s.before = self.mu * one, self.rho * one, (self.rate or 0.0) * one, one
        s.found = torch.full_like(one, torch.inf)
        s.square, s.momentum = torch.ones_like(task.region.x), torch.zeros_like(task.region.x)

    def won(self, s: Any, answer: Answer) -> Bool[Tensor, " n"]:
        """Which points are witnesses."""
        return answer.success

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """One step of algorithm 1."""
        region, along = task.region, free(task.region, answer.grad)
        alpha = self.alpha or (0.9 if self.published else ALPHA[region.norm])
        if t == 0:
            self._first(region, s, along, answer.value.double())
        c, change = (self.tolerance - answer.value.double()) * s.unit, s.p - region.x
        if t == 0:
            s.before = c
        elif (t + 1) % self.every == 0:
            improves = s.found.isfinite() | (c < self.tau * s.before)
            s.rho, s.before = torch.where(improves, s.rho, self.gamma * s.rho), c
        if t:
            s.mu = torch.lerp(s.mu, _slope(c, s.rho, s.mu), 1 - alpha).clamp_(LEAST_MU, MOST_MU)
        s.found = torch.where(c < 0, s.found.clamp_max(t), s.found)
        grad = along * column(-_slope(c, s.rho, s.mu) * s.unit, along)
        if t:
            grad = grad.add_(_away(region.norm, change))
        elif not self.published:
            mean = flat(grad).square().mean(1)
            s.square = torch.ones_like(grad).mul_(column(torch.where(mean > 0, mean, 1.0), grad))
        s.square = s.square.mul(alpha).addcmul_(grad, grad, value=1 - alpha)
        s.momentum = s.momentum.mul(alpha).addcdiv_(grad, s.square.sqrt().add_(TINY))
        since = (t - s.found).clamp_min(0) / (s.steps.value - s.found).clamp_min(1)
        rate = s.rate * self.last ** since.nan_to_num_(nan=0.0)
        change = change.sub_(s.momentum * column(rate, change))
        s.p = clamped(region, within(region.norm, change, s.reach))

    def _first(self, region: Any, s: Any, along: Tensor, value: Float[Tensor, " n"]) -> None:
        """The units of the constraint, of rho and of steps, from the gradient at the input."""
        if self.published:
            s.rate = s.rate if self.rate is not None else torch.full_like(s.rate, PUBLISHED_RATE)
            return
        slope = length(DUAL[region.norm], inward(region, s.p, along))
        away = value.abs() * per_length(1.0, slope)
        s.unit = torch.where(slope > 0, 1 / slope, 1.0)
        s.rho = s.rho * torch.where(away > 0, 1 / away, 1.0)
        if self.rate is None:
            s.rate = self.share * away / flat(along).shape[1] ** 0.5


def _slope(c: Float[Tensor, " n"], rho: Float[Tensor, " n"], mu: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The derivative of the penalty P2 by c."""
    up = c.clamp_min(0)
    return torch.where(c >= 0, mu + 2 * mu * rho * up + (rho * up) ** 2 / 2, mu / (1 - rho * c.clamp_max(0)) ** 2)


def _away(norm: str, change: Tensor) -> Tensor:
    """The gradient of the distance; 0 at the input."""
    if norm == "l1":
        return change.sign()
    return change * column(per_length(1.0, length("l2", change)), change)
