"""PDPGD: proximal gradient descent with multipliers of distance and constraint that are learnt on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.moves.lengths import (
    DUAL,
    NORMS,
    clamped,
    free,
    inward,
    length,
    per_length,
    reach,
    shrunk,
    within,
)  # fmt: skip
from ironbound.searches.moves.move import Move
from ironbound.searches.norms import norm_among

TINY = 1e-8
SHARE = {"l0": 1.0, "l1": 1.0, "l2": 0.5, "linf": 0.5}
NEAR = 1e-2
"""Inner steps end where they move a point by less than this share of its length."""


@dataclass(frozen=True)
class Pdpgd(Move):
    """A step of Adam down softplus(-margin), then the proximal operator of the distance in Adam's metric."""

    rate: float | None = None
    last: float = 0.01
    ratio: float = 0.01
    dual: float = 0.1
    last_dual: float = 0.1
    smooth: float = 0.9
    least: float = 1e-6
    inner: int = 5
    beta1: float = 0.9
    beta2: float = 0.999

    norms = NORMS
    needs = Can.SCALE

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Adam's means; the logarithm of the multipliers' ratio, and the smoothed share of the distance."""
        norm = norm_among(task.region, self.norms, self)
        one = torch.ones_like(task.region.radius)
        s.reach, s.rate = reach(task.region, norm), (self.rate or 0.0) * one
        s.mean, s.square = torch.zeros_like(task.region.x), torch.zeros_like(task.region.x)
        s.log = -math.log(self.ratio) * one
        s.share = torch.sigmoid(-s.log)

    def won(self, s: Any, answer: Answer) -> Bool[Tensor, " n"]:
        """Which points are witnesses."""
        return answer.success

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """One primal and one dual step."""
        region, steps, margin = task.region, s.steps.value, answer.value.double()
        norm, channels = region.norm, getattr(region, "channels", 1)
        along = free(region, answer.grad)
        if t == 0 and self.rate is None:
            s.rate = self._first(region, s, along, margin)
        grad = along * column(-torch.sigmoid(-margin), along)
        s.mean = s.mean.lerp(grad, 1 - self.beta1)
        s.square = s.square.mul(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        metric = (s.square.sqrt() / math.sqrt(1 - self.beta2 ** (t + 1))).add_(TINY)
        rate = s.rate * self.last ** (t / steps)
        step = (s.mean / metric).mul_(column(rate / (1 - self.beta1 ** (t + 1)), metric))
        change = clamped(region, (s.p - region.x).sub_(step)).sub_(region.x)
        s.p = within(norm, self._proximal(region, change, metric, rate, s, channels), s.reach, channels).add_(region.x)
        move = self.dual * ((steps - 1 - t) / max(steps - 1, 1) * (1 - self.last_dual) + self.last_dual)
        edge = -math.log(self.least)
        s.log = (s.log - margin.sign() * move).clamp_(-edge, edge)
        s.share = torch.lerp(s.share, torch.sigmoid(-s.log), 1 - self.smooth)

    def _first(self, region: Any, s: Any, along: Tensor, margin: Tensor) -> Tensor:
        """Step sizes with which Adam's first step, the same for all values, is a share of the linearised distance."""
        norm, inside = region.norm, inward(region, s.p, along)
        away = margin.abs() * per_length(1.0, length(DUAL[norm], inside))
        return SHARE[norm] * away / (1.0 if norm == "linf" else flat(along).shape[1] ** 0.5)

    def _proximal(self, region: Any, change: Tensor, metric: Tensor, rate: Tensor, s: Any, channels: int) -> Tensor:
        """The proximal operator in the metric, by a few steps of proximal gradient descent."""
        top = flat(metric).amax(1).double()
        weight = s.share / (1 - s.share) * rate / top
        metric = metric.div_(column(top, metric))
        z, moves = change, torch.ones_like(weight, dtype=torch.bool)
        for _ in range(self.inner):
            new = shrunk(region.norm, torch.addcmul(z, metric, z - change, value=-1), weight, channels)
            new = torch.where(column(moves, new), clamped(region, new).sub_(region.x), z)
            moves = length("l2", new - z) > NEAR * length("l2", new)
            z = new
            if not bool(moves.any()):
                break
        return z
