"""Carlini and Wagner's outer searches for norms whose gradient says little: ever tighter limits, and ever fewer free pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ironbound.core.protocols import Answer, Task
from ironbound.core.rows import flat, kept


@dataclass(frozen=True)
class ShrinkTau:
    """Linf: values pay for what they change beyond tau. tau falls below every witness; c grows where there is none.

    Paper: Carlini, Wagner 2017, arXiv 1608.04644, section VI.C. Differs: where no c finds anything below tau, the search goes
    on between that tau and the smallest witness, until they are within `near` of each other; the published one ends there, up
    to 1 - decrease (0.1) too large, or at 1/256 of the range.
    """

    c: float = 1e-5
    most: float = 20.0
    factor: float = 2.0
    decrease: float = 0.8
    near: float = 0.01
    searches: int = 180
    """At most."""

    def begin(self, task: Task, s: Any) -> None:
        """No limit yet: the first search is for any witness."""
        zero = torch.zeros(task.n, dtype=torch.float64, device=s.p.device)
        s.c, s.failed, s.searched = zero + self.c, zero, zero
        s.best, s.now = zero + torch.inf, zero + torch.inf  # the smallest witness, and that of this search
        s.open = torch.ones_like(zero, dtype=torch.bool)
        width = 1.0 if task.region.box is None else task.region.box[1] - task.region.box[0]
        s.tau = zero + width  # what nothing can go beyond

    def heard(
        self, task: Task, s: Any, row: Int[Tensor, " r"], won: Bool[Tensor, " r"], answer: Answer, every: int
    ) -> Bool[Tensor, " r"]:
        """A search is over with a witness below tau."""
        size = flat(kept(s.p, row, task.n) - kept(task.region.x, row, task.n)).abs().amax(1).double()
        now = torch.where(won, torch.minimum(s.now[row], size), s.now[row])
        s.now = s.now.index_copy(0, row, now)
        return now <= s.tau[row]

    def follow(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """A smaller tau after a witness, a larger c without; a larger tau where c is at its end."""
        c, tau, failed, best, now = (table[row] for table in (s.c, s.tau, s.failed, s.best, s.now))
        best, won = torch.minimum(best, now), now <= tau
        last = ~won & (c * self.factor > self.most)
        failed = torch.where(last, torch.minimum(tau, best), failed)
        middle = (failed + best) / 2
        tau = torch.where(won, torch.maximum(self.decrease * best, middle), torch.where(last, middle, tau))
        c = torch.where(won | last, c, c * self.factor)
        over = (last & torch.isinf(best)) | (best - failed <= self.near * best)
        s.searched = s.searched.index_add(0, row, torch.ones_like(c))
        s.open = s.open.index_copy(0, row, s.open[row] & ~over & (s.searched[row] < self.searches))
        new = {"c": c, "tau": tau, "failed": failed, "best": best, "now": torch.full_like(now, torch.inf)}
        for name, values in new.items():
            setattr(s, name, getattr(s, name).index_copy(0, row, values))


@dataclass(frozen=True)
class ShrinkPixels:
    """L0: after every witness the pixels that matter least go back to x for good; c grows where there is none.

    How much a pixel matters is its change times the objective's gradient there, summed over channels.

    Paper: Carlini, Wagner 2017, arXiv 1608.04644, section VI.B; how many pixels leave at a time as in the authors' code: those
    that matter less than 0.01, but no more than 0.3 sqrt(changed pixels), and one at least.
    """

    c: float = 1e-3
    most: float = 2e6
    factor: float = 2.0
    searches: int = 180
    """At most."""

    def begin(self, task: Task, s: Any) -> None:
        """Everything may change."""
        zero = torch.zeros(task.n, dtype=torch.float64, device=s.p.device)
        s.c, s.searched = zero + self.c, zero
        s.found = torch.zeros_like(zero, dtype=torch.bool)
        s.open, mask = ~s.found, task.region.mask
        s.free = torch.ones_like(s.p, dtype=torch.bool) if mask is None else mask.clone()
        s.matter = torch.zeros_like(self._by_pixel(task.region, s.p).sum(1))

    def heard(
        self, task: Task, s: Any, row: Int[Tensor, " r"], won: Bool[Tensor, " r"], answer: Answer, every: int
    ) -> Bool[Tensor, " r"]:
        """A search is over with its first witness."""
        at = won.nonzero()[:, 0]
        if len(at):
            whose = row[at]
            change = (s.p[whose] - task.region.x[whose]) * kept(answer.grad, at, len(row))
            s.matter = s.matter.index_copy(0, whose, self._by_pixel(task.region, change.abs()).sum(1))
            s.found = s.found.index_fill(0, whose, True)
        return won

    def follow(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Fewer pixels after a witness, a larger c without."""
        found, c = s.found[row], s.c[row]
        c = torch.where(found, c, c * self.factor)
        region, x = task.region, task.region.x
        moved = self._by_pixel(region, (s.p[row] != x[row]) & s.free[row]).any(1)
        free = moved & ~self._least(s.matter[row], moved, 1.0 if region.box is None else region.box[1] - region.box[0])
        free = torch.where(found[:, None], free, self._by_pixel(region, s.free[row]).any(1))
        wide = free[:, None].expand(-1, region.channels, -1).reshape(s.free[row].shape) & s.free[row]
        s.free, s.c = s.free.index_copy(0, row, wide), s.c.index_copy(0, row, c)
        s.found = s.found.index_fill(0, row, False)
        s.searched = s.searched.index_add(0, row, torch.ones_like(c))
        going = (c <= self.most) & free.any(1) & (s.searched[row] < self.searches)
        s.open = s.open.index_copy(0, row, s.open[row] & going)

    def _least(self, matter: Tensor, moved: Tensor, width: float) -> Bool[Tensor, "r pixels"]:
        """Which of the pixels that moved matter least."""
        ordered, order = torch.where(moved, matter, torch.inf).sort(dim=1, stable=True)
        place = torch.arange(matter.shape[1], device=matter.device)
        below = torch.cat([torch.ones_like(moved[:, :1]), ordered[:, :-1] <= 0.01 * width], 1)
        few = place < (0.3 * moved.sum(1, keepdim=True).double().sqrt()).clamp_min(1)
        return torch.zeros_like(moved).scatter_(1, order, below & few) & moved

    def _by_pixel(self, region: Any, values: Tensor) -> Tensor:
        wide = flat(values)
        return wide.reshape(len(wide), region.channels, wide.shape[1] // region.channels)
