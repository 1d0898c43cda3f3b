"""Carlini and Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv 1608.04644, section VI.A (L2)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core.protocols import Answer, Ask, Can, Task, Terms

INSIDE = 1 - 1e-6  # atanh is infinite at the ends of the box


@dataclass(frozen=True)
class CarliniWagner:
    """Minimise |delta|^2 + c f(x + delta) by Adam in tanh coordinates; bisect c outside.

    The coordinates are the search's own affair; the set and its points stay the user's.
    """

    bisections: int = 4
    steps: int = 40
    rate: float = 0.05
    c: float = 1.0
    kappa: float = 0.0

    needs = Can.GRADIENT | Can.SCORES

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        low, high = task.region.box
        x = task.region.identity()
        zero = torch.zeros(task.n, dtype=x.dtype)
        s = task.state(x=x, c=zero + self.c, lower=zero, upper=zero + torch.inf)
        for _ in range(self.bisections):
            s.w = torch.atanh(((s.x - low) / (high - low) * 2 - 1) * INSIDE)
            s.m, s.v, s.found = torch.zeros_like(s.w), torch.zeros_like(s.w), torch.zeros_like(s.c, dtype=torch.bool)
            for t in range(1, self.steps + 1):
                task.compact()
                bent = s.w.tanh()
                answer = yield Ask(low + (high - low) * (bent + 1) / 2, grad=True, loss=self.loss, args=(s.c,))
                s.found = s.found | answer.success
                self.adam(s, -answer.grad * (1 - bent**2) * (high - low) / 2, t)
            s.upper = torch.where(s.found, torch.minimum(s.upper, s.c), s.upper)
            s.lower = torch.where(s.found, s.lower, s.c)
            s.c = torch.where(s.upper.isinf(), s.c * 10, (s.lower + s.upper) / 2)

    def loss(self, terms: Terms, c: Tensor) -> Tensor:
        """Up is better here, so the paper's |delta|^2 + c max(-margin, -kappa) with its sign turned."""
        return -(terms.size**2) + c * terms.objective.clamp_max(self.kappa)

    def adam(self, s: Any, g: Tensor, t: int) -> None:
        s.m, s.v = 0.9 * s.m + 0.1 * g, 0.999 * s.v + 0.001 * g**2
        s.w = s.w - self.rate * (s.m / (1 - 0.9**t)) / ((s.v / (1 - 0.999**t)).sqrt() + 1e-8)
