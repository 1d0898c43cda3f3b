"""L-BFGS within a box, for many problems at once: each has its own memory, its own line search and its own step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Task
from ironbound.core.rows import column, flat, kept
from ironbound.sets.bounds import inner_box

ARMIJO = 1e-4
CURVED = 1e-10
"""Pairs with <s, y> below this part of <y, y> are not remembered: the approximation has to stay positive."""


@dataclass(frozen=True)
class Lbfgs:
    """Quasi-Newton steps on |p - x|^2 - c objective(p), projected onto the box, with backtracking.

    Values that are at an end of the box and pulled beyond stay out of the step; the others move by the two-loop recursion
    over `memory` pairs. A point asked is a trial: where it lowers the loss too little, a shorter one is asked next, by
    quadratic interpolation.

    Paper: Byrd, Lu, Nocedal, Zhu 1995, A Limited Memory Algorithm for Bound Constrained Optimization (L-BFGS-B), whose Cauchy
    point gives way here to Bertsekas' (1982) projected steps on the free values, since these need no loop over breakpoints.
    """

    memory: int = 8

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise UsageError(f"L-BFGS remembers at least one pair; got memory={self.memory}.")

    def begin(self, task: Task, s: Any) -> None:
        """The last accepted points with loss and gradient, the way from there, and the pairs."""
        x = task.region.identity()
        number = torch.zeros(task.n, dtype=torch.float64, device=x.device)
        s.p = s.base = x
        s.low, s.size, s.slope = number + torch.inf, number + 1, number
        s.gradient, s.way = torch.zeros_like(x), torch.zeros_like(x)
        pairs = (task.n, self.memory, flat(x).shape[1])
        s.moves, s.bends, s.inverse = x.new_zeros(pairs), x.new_zeros(pairs), number.new_zeros(pairs[:2])

    def restart(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Back to x, and everything forgotten."""
        s.p = s.p.index_copy(0, row, kept(task.region.x, row, task.n))
        s.low, s.inverse = s.low.index_fill(0, row, torch.inf), s.inverse.index_fill(0, row, 0.0)

    def away(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """|p - x|^2."""
        return flat(kept(s.p, row, task.n) - kept(task.region.x, row, task.n)).square().sum(1, dtype=torch.float64)

    def step(
        self,
        task: Task,
        s: Any,
        row: Int[Tensor, " r"],
        g: Tensor,
        pull: Float[Tensor, " r"],
        loss: Float[Tensor, " r"],
    ) -> None:
        """Accept the trial and turn, or come back halfway."""
        n, p = task.n, kept(s.p, row, task.n)
        total = self.away(task, s, row) + loss
        low, slope, size = s.low[row], s.slope[row], s.size[row]
        first = torch.isinf(low)
        good = first | (total <= low + ARMIJO * size * slope)
        shorter = -slope * size**2 / (2 * (total - low - size * slope))
        size = torch.where(good, 1.0, torch.minimum(torch.maximum(shorter, 0.1 * size), 0.5 * size).nan_to_num(nan=0.0))
        s.size = s.size.index_copy(0, row, size)
        if len(at := good.nonzero()[:, 0]):
            slopes = torch.addcmul((p - kept(task.region.x, row, n)).mul_(2), column(pull, g), g, value=-1)
            self._turn(task, s, row[at], p[at], slopes[at], total[at], first[at])
        ends = inner_box(task.region.box, p.dtype)
        way, base = kept(s.way, row, n), kept(s.base, row, n)
        s.p = s.p.index_copy(0, row, torch.addcmul(base, column(s.size[row], way), way).clamp_(*ends))

    def _turn(
        self, task: Task, s: Any, row: Tensor, p: Tensor, slopes: Tensor, total: Tensor, first: Bool[Tensor, " r"]
    ) -> None:
        """The accepted points become the base of the next way; what was learnt on the last one is remembered."""
        self._remember(s, row, flat(p - s.base[row]), flat(slopes - s.gradient[row]), first)
        s.base, s.gradient = s.base.index_copy(0, row, p), s.gradient.index_copy(0, row, slopes)
        s.low = s.low.index_copy(0, row, total)
        low, high = inner_box(task.region.box, p.dtype)
        free = ~(((p <= low) & (slopes > 0)) | ((p >= high) & (slopes < 0)))
        if task.region.mask is not None:
            free &= task.region.mask[row]
        q = flat(slopes * free)
        way = self._quasi_newton(s, row, q, flat(free))
        slope = _dot(way, q)
        down = slope < 0
        way, slope = torch.where(down[:, None], way, -q), torch.where(down, slope, -_dot(q, q))
        none = ~(s.inverse[row] > 0).any(1) | ~down  # without memory a step of length 1 at most
        size = torch.where(none, (1 / slope.neg().clamp_min(1e-300).sqrt()).clamp_max(1.0), 1.0)
        s.way = s.way.index_copy(0, row, way.view_as(p))
        s.slope, s.size = s.slope.index_copy(0, row, slope), s.size.index_copy(0, row, size)

    def _remember(self, s: Any, row: Tensor, move: Tensor, bend: Tensor, first: Bool[Tensor, " r"]) -> None:
        """The newest pair stands last."""
        along = _dot(move, bend)
        at = (~first & (along > CURVED * _dot(bend, bend))).nonzero()[:, 0]
        if len(at) == 0:
            return
        whose = row[at]
        news = (("moves", move[at]), ("bends", bend[at]), ("inverse", 1 / along[at]))
        for name, new in news:
            table = getattr(s, name)
            setattr(s, name, table.index_copy(0, whose, torch.cat([table[whose, 1:], new[:, None]], 1)))

    def _quasi_newton(self, s: Any, row: Tensor, q: Tensor, free: Tensor) -> Tensor:
        """-H q on the free values, by the two-loop recursion."""
        moves, bends, inverse = s.moves[row] * free[:, None], s.bends[row] * free[:, None], s.inverse[row]
        along = (moves * bends).sum(2, dtype=torch.float64)
        inverse = torch.where((inverse > 0) & (along > 0), 1 / along, 0.0)  # of the part on the free values
        parts = torch.zeros_like(inverse)
        q = q.clone()
        for i in reversed(range(self.memory)):
            parts[:, i] = inverse[:, i] * _dot(moves[:, i], q)
            q.addcmul_(parts[:, i : i + 1].to(q.dtype), bends[:, i], value=-1)
        last = along[:, -1] / _dot(bends[:, -1], bends[:, -1])
        q.mul_(torch.where((inverse[:, -1] > 0) & torch.isfinite(last), last, 1.0).to(q.dtype)[:, None])
        for i in range(self.memory):
            back = parts[:, i] - inverse[:, i] * _dot(bends[:, i], q)
            q.addcmul_(back.to(q.dtype)[:, None], moves[:, i])
        return q.mul_(free).neg_()


def _dot(a: Tensor, b: Tensor) -> Float[Tensor, " r"]:
    return (a * b).sum(1, dtype=torch.float64)
