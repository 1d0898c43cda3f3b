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

FINE = 8
"""No change shrinks by more in one step than such a part of the largest change of a value that is known to suffice."""


@dataclass(frozen=True)
class Shrinkage:
    """D is |p - x|_2^2 + beta / rate |p - x|_1: a gradient step on the rest, then every change shrinks by beta.

    With `momentum` points are led beyond by k / (k + 3) of the last step (FISTA), else not (ISTA).

    Steps and shrinking get smaller together, so that what is minimised stays the same: as 1 - k / steps within a search, and
    with the largest change of a value that is known to suffice. A witness is then overshot by little, near or far.

    Paper: Chen, Sharma, Zhang, Yi, Hsieh 2018, EAD, arXiv 1709.04114, algorithm 1. There the step falls as sqrt(1 - k / steps)
    and the shrinking not at all: the absolute changes weigh ten times as much at the end as at the beginning, and a sample
    whose smallest change is 0.001 still takes steps of 0.01.
    """

    steps: int
    """Of each search."""
    rate: float = 0.001
    beta: float = 0.01
    momentum: bool = True

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.beta >= 0):
            raise UsageError(f"rate is a number > 0 and beta one >= 0; got rate={self.rate}, beta={self.beta}.")

    def begin(self, task: Task, s: Any) -> None:
        """The iterates; s.p is led beyond them."""
        s.p = s.iterate = task.region.identity()
        s.near = torch.full((task.n,), torch.inf, dtype=torch.float64, device=s.p.device)

    def restart(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Back to x."""
        x = kept(task.region.x, row, task.n)
        s.p, s.iterate = s.p.index_copy(0, row, x), s.iterate.index_copy(0, row, x)

    def away(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """|p - x|_2^2 + beta / rate |p - x|_1."""
        d = flat(kept(s.p, row, task.n) - kept(task.region.x, row, task.n))
        net = d.square().sum(1, dtype=torch.float64)
        return net.add_(d.abs().sum(1, dtype=torch.float64), alpha=self.beta / self.rate)

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
        d = p - x
        behind = torch.where(pull > 0, torch.inf, flat(d).abs().amax(1).double())
        near = torch.minimum(s.near[row], behind)
        s.near = s.near.index_copy(0, row, near)
        part = (1 - k / self.steps).clamp_min(0) * (near / (FINE * max(self.beta, 1e-12))).clamp(1e-9, 1)
        size, beta = self.rate * part, column(self.beta * part, d)
        move = (d * column(1 - 2 * size, d)).addcmul_(column(pull * size, g), g)
        move = move.sub_(torch.minimum(torch.maximum(move, -beta), beta))
        if mask is not None:
            move.mul_(kept(mask, row, n))
        box = inner_box(task.region.box, x.dtype)
        now = move.add_(x).clamp_(*box)
        beyond = now
        if self.momentum:
            beyond = torch.addcmul(now, column(k / (k + 3), now), now - before).clamp_(*box)
        s.iterate, s.p = s.iterate.index_copy(0, row, now), s.p.index_copy(0, row, beyond)
