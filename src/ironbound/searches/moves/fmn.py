"""FMN: a gradient step, and a ball that shrinks while the point misleads the model and grows while it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ironbound.core.judge import convincing, scale_of
from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column
from ironbound.searches.moves.lengths import (
    DUAL,
    NORMS,
    clamped,
    cosine,
    free,
    length,
    per_length,
    reach,
    rescaled,
    width,
    within,
)  # fmt: skip
from ironbound.searches.moves.move import Move
from ironbound.searches.norms import norm_among

STEPS = {"l0": 30.0, "l1": 10.0, "l2": 5.0, "linf": 10.0}
"""The length of the first step: in L0 in widths of the model's range, elsewhere in radii of the ball, in its own norm."""


@dataclass(frozen=True)
class Fmn(Move):
    """x + project(delta + a g / |g|) onto a ball whose radius follows the boundary; g is the margin's gradient.

    From a witness the radius becomes min((1 - gamma) radius, smallest size so far), elsewhere (1 + gamma) radius; before
    the first witness it is at least the linearised distance to the boundary. a and gamma fall along half a cosine. In L0
    the radius is a whole number of pixels (or coordinates) and changes by one at least.

    Paper: Pintor, Roli, Brendel, Biggio 2021, Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints, arXiv
    2102.12827, algorithm 1. Differs (with `published` it is the authors' in all this): steps are measured in radii of the
    ball and are longer; the radius also grows by gamma before the first witness, where the linearised distance alone stays
    short of the boundary for good once values are at the ends of the range; the first estimates are doubled, so that the
    walk looks at classes beyond the one that is nearest at the input; in L2 the point goes to the ball's surface. What
    counts as a witness has the margin that the judge asks for. A finite radius of the set is never left.
    """

    step: float | None = None
    """The first step, see STEPS; the last is a hundredth of it."""
    gamma: float = 0.05
    last_gamma: float = 0.001
    beyond: float = 2.0
    """Times the linearised distance: the ball before the first witness."""
    published: bool = False

    norms = NORMS
    needs = Can.SCALE

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The ball's radius, how far it may grow, the smallest size so far, the largest logit heard."""
        region, norm = task.region, norm_among(task.region, self.norms, self)
        far = torch.full_like(region.radius, torch.inf)
        s.reach, s.best, s.scale = reach(region, norm), far, torch.zeros_like(far)
        s.radius = torch.ones_like(far) if norm == "l0" else far

    def won(self, s: Any, answer: Answer) -> Bool[Tensor, " n"]:
        """Which points are witnesses by a margin that the judge accepts; `s.scale`, the largest logit, is kept."""
        scale = scale_of(answer.outputs)
        if scale is None or self.published:
            return answer.success
        s.scale = torch.maximum(s.scale, scale)
        return answer.success & ((answer.value <= 0) | convincing(answer.value, s.scale))

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Algorithm 1: the radius, the step, the projection."""
        region, norm, steps = task.region, task.region.norm, s.steps.value
        channels = getattr(region, "channels", 1)
        grad, change = free(region, answer.grad), s.p - region.x
        size, slope = length(norm, change, channels), length(DUAL[norm], grad)
        sure = self.won(s, answer)
        s.best = torch.where(sure, torch.minimum(size, s.best), s.best)
        gamma = cosine(t, steps, self.gamma, self.last_gamma)
        away = size + (1.0 if self.published else self.beyond) * answer.value.double().abs() * per_length(1.0, slope)
        s.radius = torch.minimum(self._radius(norm, s, sure, gamma, away), s.reach)
        rate = self._rate(region, norm, s, grad, slope) * cosine(t, steps, 1.0, 0.01)
        change = change.addcmul_(grad, column(rate, grad))
        if norm == "l2" and not self.published:
            s.p = clamped(region, rescaled(change, s.radius))
        else:
            s.p = clamped(region, within(norm, change, s.radius, channels))

    def _radius(
        self, norm: str, s: Any, sure: Bool[Tensor, " n"], gamma: float, away: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """The next radius; `away` is the linearised distance to the boundary."""
        if norm == "l0":
            down = torch.minimum(torch.minimum(s.radius - 1, (s.radius * (1 - gamma)).floor()), s.best)
            up = torch.maximum(s.radius + 1, (s.radius * (1 + gamma)).floor())
            return torch.where(sure, down, up).clamp_min(0)
        up = s.radius * (1 + gamma)
        unheard = s.radius.isinf()
        first = away if self.published else torch.where(unheard, away, torch.maximum(away, up))
        return torch.where(
            sure, torch.minimum(s.radius * (1 - gamma), s.best), torch.where(s.best.isfinite(), up, first)
        )

    def _rate(self, region: Any, norm: str, s: Any, grad: Tensor, slope: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The first step's length over the gradient's."""
        step = STEPS[norm] if self.step is None else self.step
        own = slope if norm in ("l0", "l2") else length("l2" if self.published else norm, grad)
        if self.published or norm == "l0":
            return per_length(step * width(region), own)
        return per_length(1.0, own) * torch.where(s.radius.isfinite(), step * s.radius, 0.0)
