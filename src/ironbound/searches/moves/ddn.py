"""DDN: a step decides the direction, success alone decides the norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ironbound.core.protocols import Answer, Can, Task
from ironbound.core.rows import column
from ironbound.searches.moves.lengths import clamped, cosine, free, length, per_length, reach, rescaled, width
from ironbound.searches.moves.move import Move
from ironbound.searches.norms import norm_among


@dataclass(frozen=True)
class Ddn(Move):
    """delta <- norm * (delta + a g / |g|) / |.|, where the norm falls by gamma from a witness and rises by it elsewhere.

    Paper: Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger 2019, Decoupling Direction and Norm for Efficient
    Gradient-Based L2 Adversarial Attacks and Defenses, arXiv 1811.09600, algorithm 1. Differs: gamma falls as the step does,
    so that the walk ends near the boundary, and both begin larger (0.05 and 1 in the paper, gamma constant); points are not
    rounded to 256 levels. A finite radius of the set is never left.
    """

    gamma: float = 0.1
    last_gamma: float = 0.001
    step: float = 2.0
    """The first step, in widths of the model's range; the last is `last_step`. Between them half a cosine."""
    last_step: float = 0.01
    norm: float = 1.0
    """The first norm, in widths of the model's range."""

    norms = ("l2",)
    needs = Can.SCALE

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """The norm of each problem, and how far it may grow."""
        norm_among(task.region, self.norms, self)
        s.reach = reach(task.region, "l2")
        s.norm = torch.full_like(s.reach, self.norm * width(task.region))

    def won(self, s: Any, answer: Answer) -> Bool[Tensor, " n"]:
        """Which points are witnesses."""
        return answer.success

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """Lines 5 to 13: step, then the norm by success, then the point of that norm."""
        region, steps = task.region, s.steps.value
        grad, change = free(region, answer.grad), s.p - region.x
        step = cosine(t, steps, self.step, self.last_step) * width(region)
        change = change.addcmul_(grad, column(per_length(step, length("l2", grad)), grad))
        gamma = cosine(t, steps, self.gamma, self.last_gamma)
        s.norm = torch.minimum(s.norm * torch.where(answer.success, 1 - gamma, 1 + gamma), s.reach)
        s.p = clamped(region, rescaled(change, s.norm))
