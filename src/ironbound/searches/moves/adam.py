"""Adam's step within a set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ironbound.core.protocols import Answer, Task
from ironbound.core.rows import column, flat
from ironbound.searches.moves.move import Move, check_radius
from ironbound.searches.norms import norm_of


@dataclass(frozen=True)
class Adam(Move):
    """Adam on gradients of unit length, then projected.

    Paper: Kingma, Ba 2015, Adam: A Method for Stochastic Optimization, arXiv 1412.6980, algorithm 1; as an attack in
    Foolbox (LinfAdamPGD and its like), whose steps these are. Gradients count by their sign in Linf, by their Euclidean
    direction in L2, divided by the sum of absolute values in L1.
    Every value moves by about `size` at first, whatever the norm: in L2 and L1 directions are those of signs, and the
    maximum of a linear function is not reached.
    """

    size: float
    relative: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    tiny: float = 1e-8

    def prepare(self, task: Task, s: Any, steps: int) -> None:
        """Decayed means of gradients and of their squares."""
        if self.relative:
            check_radius(task, "give `step` in input units, or ")
        s.mean, s.square = torch.zeros_like(s.p), torch.zeros_like(s.p)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        """p <- project(p + size m / (sqrt(v) + tiny)), with the corrections for the bias of m and v."""
        g = answer.grad
        if norm_of(task.region) == "l1":
            g = g / column(flat(g).abs().sum(1).clamp_min(torch.finfo(g.dtype).tiny), g)
        else:
            g = task.region.steepest(g)
        s.mean = s.mean.mul(self.beta1).add_(g, alpha=1 - self.beta1)
        s.square = s.square.mul(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        mean, square = s.mean / (1 - self.beta1 ** (t + 1)), s.square / (1 - self.beta2 ** (t + 1))
        step = mean.div_(square.sqrt_().add_(self.tiny))
        size = column(self.size * task.region.radius, g) if self.relative else self.size
        s.p = task.region.project(step.mul_(size).add_(s.p))
