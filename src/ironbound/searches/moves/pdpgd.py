"""PDPGD: proximal gradient descent with multipliers of distance and constraint that are learnt on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.moves.lengths import NORMS, clamped, free, inward, length, per_length
from ironbound.searches.moves.move import Move
from ironbound.searches.moves.proximal import proximal
from ironbound.searches.norms import norm_among

TINY = 1e-8
UNIT = {"l0": "linf", "l1": "linf", "l2": "l2", "linf": "l1"}
"""The norm of a gradient that weighs as much as the distance does."""
SHARE = {"l0": 1.0, "l1": 1.0, "l2": 0.5, "linf": 0.5}
"""The first step, all values moving by the same, as a share of the linearised distance to the boundary."""


@dataclass(frozen=True)
class Pdpgd(Move):
    """z <- prox(z - a m / H): a step of Adam down softplus(-margin), then the proximal operator of the distance, in the metric H.

    m and H are Adam's mean and root of the mean square; prox(v) minimises a (l0 / l1) D(z) + sum H (z - v)^2 / 2. D is the
    distance, in L0 the sum of lengths to the power 2/3. The logarithm of l0 / l1 rises at a witness and falls elsewhere, and
    what is used is the moving average of l0 and l1 = 1 - l0.

    Paper: Matyasko, Chau 2021, PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack, arXiv 2106.01538, algorithm 1.
    Differs: the proximal operator is exact in Adam's metric, where five inner steps of proximal gradient descent are published;
    these leave values with small gradients far too large. The multipliers' ratio is in units of the gradient at the input, and
    the first step is a share of the linearised distance to the boundary, so that neither hangs on the scale of the logits or
    of the inputs; softplus bends within a share of the margin at the input. The walk may leave a finite radius of the set, which
    the smallest change does not, if there is one.
    """

    rate: float | None = None
    """The step size; None: a share of the linearised distance, see SHARE."""
    last: float = 0.01
    """The share of the step size that is left at the end."""
    knee: float = 0.1
    """Where softplus bends, as a share of the margin at the input."""
    ratio: float = 0.1
    """The first ratio of the distance's multiplier to the constraint's."""
    dual: float = 0.1
    last_dual: float = 0.1
    """The step of the ratio's logarithm, and the share of it that is left at the end."""
    smooth: float = 0.9
    least: float = 1e-6
    beta1: float = 0.9
    beta2: float = 0.999

    norms = NORMS
    needs = Can.SCALE

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Adam's means; the logarithm of the multipliers' ratio, and the smoothed share of the distance."""
        norm_among(task.region, self.norms, self)
        one = torch.ones_like(task.region.radius)
        s.rate, s.unit, s.knee = (self.rate or 0.0) * one, one, one
        s.mean, s.square = torch.zeros_like(task.region.x), torch.zeros_like(task.region.x)
        s.log = math.log(self.ratio) * one
        s.share = torch.sigmoid(s.log)

    def won(self, s: Any, answer: Answer) -> Bool[Tensor, " n"]:
        """Which points are witnesses."""
        return answer.success

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """One primal and one dual step."""
        region, steps, margin = task.region, s.steps.value, answer.value.double()
        norm, channels = region.norm, getattr(region, "channels", 1)
        along = free(region, answer.grad)
        if t == 0:
            self._first(region, s, along, margin)
        grad = along * column(-torch.sigmoid(-margin / s.knee), along)
        s.mean = s.mean.lerp(grad, 1 - self.beta1)
        s.square = s.square.mul(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        metric = (s.square.sqrt() / math.sqrt(1 - self.beta2 ** (t + 1))).add_(TINY)
        rate = s.rate * self.last ** (t / steps)
        step = (s.mean / metric).mul_(column(rate / (1 - self.beta1 ** (t + 1)), metric))
        change = clamped(region, (s.p - region.x).sub_(step)).sub_(region.x)
        weight = s.share / (1 - s.share) * s.unit * rate
        s.p = clamped(region, proximal(norm, change, weight, metric, channels))
        move = self.dual * ((steps - 1 - t) / max(steps - 1, 1) * (1 - self.last_dual) + self.last_dual)
        edge = -math.log(self.least)
        s.log = (s.log + margin.sign() * move).clamp_(-edge, edge)
        s.share = torch.lerp(s.share, torch.sigmoid(s.log), 1 - self.smooth)

    def _first(self, region: Any, s: Any, along: Tensor, margin: Float[Tensor, " n"]) -> None:
        """The units of the multipliers' ratio and of steps, from the gradient at the input."""
        slope = length(UNIT[region.norm], inward(region, s.p, along))
        s.unit = torch.where(slope > 0, slope, 1.0)
        s.knee = torch.where(margin != 0, self.knee * margin.abs(), 1.0)
        if self.rate is None:
            away = margin.abs() * per_length(1.0, slope)
            s.rate = SHARE[region.norm] * away / (1.0 if region.norm == "linf" else flat(along).shape[1] ** 0.5)
