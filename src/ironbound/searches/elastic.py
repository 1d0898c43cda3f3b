"""Proximal steps: the absolute changes are paid by shrinking every change, so that most become exactly zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Task
from ironbound.core.rows import column, flat, kept
from ironbound.sets.bounds import inner_box


@dataclass(frozen=True)
class Shrinkage:
    """D is |p - x|_2^2 + beta |p - x|_1: a gradient step on all but the second term, then every change shrinks by beta.

    With `momentum` points are led beyond by k / (k + 3) of the last step (FISTA), else not (ISTA). The steps' size falls as
    sqrt(1 - k / steps). Paper: Chen, Sharma, Zhang, Yi, Hsieh 2018, EAD, arXiv 1709.04114, algorithm 1.
    """

    steps: int
    """Of each search."""
    rate: float = 0.01
    beta: float = 0.01
    momentum: bool = True

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.beta >= 0):
            raise UsageError(f"rate is a number > 0 and beta one >= 0; got rate={self.rate}, beta={self.beta}.")

    def begin(self, task: Task, s: Any) -> None:
        """The iterates; s.p is led beyond them."""
        s.p = s.iterate = task.region.identity()

    def restart(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Back to x."""
        x = kept(task.region.x, row, task.n)
        s.p, s.iterate = s.p.index_copy(0, row, x), s.iterate.index_copy(0, row, x)

    def away(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """|p - x|_2^2 + beta |p - x|_1."""
        d = flat(kept(s.p, row, task.n) - kept(task.region.x, row, task.n))
        return d.square().sum(1, dtype=torch.float64) + self.beta * d.abs().sum(1, dtype=torch.float64)

    def step(
        self,
        task: Task,
        s: Any,
        row: Int[Tensor, " r"],
        g: Tensor,
        pull: Float[Tensor, " r"],
        loss: Float[Tensor, " r"],
    ) -> None:
        """S_beta(p - size gradient), clamped to the box; then beyond."""
        n, k = task.n, (s.t[row] - 1).double()
        p, x, before = (kept(table, row, n) for table in (s.p, task.region.x, s.iterate))
        mask = task.region.mask
        size = self.rate * (1 - k / self.steps).clamp_min(0).sqrt()
        d = p - x
        move = (d * column(1 - 2 * size, d)).addcmul_(column(pull * size, g), g)
        move = move.sub_(move.clamp(-self.beta, self.beta))
        if mask is not None:
            move.mul_(kept(mask, row, n))
        box = inner_box(task.region.box, x.dtype)
        now = move.add_(x).clamp_(*box)
        beyond = now
        if self.momentum:
            beyond = torch.addcmul(now, column(k / (k + 3), now), now - before).clamp_(*box)
        s.iterate, s.p = s.iterate.index_copy(0, row, now), s.p.index_copy(0, row, beyond)
