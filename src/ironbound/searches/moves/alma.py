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
SHARE = 0.25


@dataclass(frozen=True)
class Alma(Move):
    """Descent on distance + P(y, rho, mu), where y is the constraint (the objective with its sign turned, below 0 inside).

    P is the penalty P2 of the paper: mu y + mu rho y^2 + rho^2 y^3 / 6 for y >= 0, mu y / (1 - rho y) below. The multiplier
    mu is a moving average of P's slope; rho grows where the constraint does not improve. Steps are RMSProp's with momentum,
    and shrink from the first witness on.

    Paper: Rony, Granger, Pedersoli, Ben Ayed 2021, Augmented Lagrangian Adversarial Attacks, arXiv 2011.11857, algorithm 1.
    """

    rate: float | None = None
    """The step size; None: such that the first step is as long as the linearised distance to the boundary."""
    last: float = 0.01
    """The share of the step size that is left at the end."""
    mu: float = 1.0
    rho: float = 1.0
    every: int = 10
    tau: float = 0.95
    gamma: float = 1.2
    alpha: float = 0.9

    norms = ("l1", "l2")
    needs = Can.SCALE

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Multiplier and penalty of each problem; means of gradients and their squares; when it was first won."""
        norm = norm_among(task.region, self.norms, self)
        one = torch.ones_like(task.region.radius)
        s.reach = reach(task.region, norm)
        s.mu, s.rho, s.rate, s.before = self.mu * one, self.rho * one, (self.rate or 0.0) * one, one
        s.found = torch.full_like(one, torch.inf)
        s.square, s.momentum = torch.ones_like(task.region.x), torch.zeros_like(task.region.x)

    def won(self, s: Any, answer: Answer) -> Bool[Tensor, " n"]:
        """Which points are witnesses."""
        return answer.success

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """One step of algorithm 1."""
        region, y = task.region, -answer.value.double()
        change = s.p - region.x
        if t == 0:
            s.before = y
        elif (t + 1) % self.every == 0:
            improves = s.found.isfinite() | (y < self.tau * s.before)
            s.rho, s.before = torch.where(improves, s.rho, self.gamma * s.rho), y
        if t:
            s.mu = torch.lerp(s.mu, _slope(y, s.rho, s.mu), 1 - self.alpha).clamp_(LEAST_MU, MOST_MU)
        s.found = torch.where(answer.success, s.found.clamp_max(t), s.found)
        along = free(region, answer.grad)
        if t == 0 and self.rate is None:
            s.rate = self._first(region, s, along, y)
        grad = along * column(-_slope(y, s.rho, s.mu), along)
        if t:
            grad = grad.add_(_away(region.norm, change))
        s.square = s.square.mul(self.alpha).addcmul_(grad, grad, value=1 - self.alpha)
        s.momentum = s.momentum.mul(self.alpha).addcdiv_(grad, s.square.sqrt().add_(TINY))
        since = (t - s.found).clamp_min(0) / (s.steps.value - s.found).clamp_min(1)
        rate = s.rate * self.last ** since.nan_to_num_(nan=0.0)
        change = change.sub_(s.momentum * column(rate, change))
        s.p = clamped(region, within(region.norm, change, s.reach))

    def _first(self, region: Any, s: Any, along: Tensor, y: Tensor) -> Tensor:
        """A share of the linearised distance to the boundary, in L1 as if shared out among the root of all values."""
        norm, inside = region.norm, inward(region, s.p, along)
        away = y.abs() * per_length(1.0, length(DUAL[norm], inside))
        return SHARE * away / (flat(along).shape[1] ** 0.5 if norm == "l1" else 1.0)


def _slope(y: Float[Tensor, " n"], rho: Float[Tensor, " n"], mu: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The derivative of the penalty P2 by y."""
    up = y.clamp_min(0)
    return torch.where(y >= 0, mu + 2 * mu * rho * up + (rho * up) ** 2 / 2, mu / (1 - rho * y.clamp_max(0)) ** 2)


def _away(norm: str, change: Tensor) -> Tensor:
    """The gradient of the distance; 0 at the input."""
    if norm == "l1":
        return change.sign()
    return change * column(per_length(1.0, length("l2", change)), change)
