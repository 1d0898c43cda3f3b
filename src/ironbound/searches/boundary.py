"""Decision-based attacks, which walk along the boundary between classes: HopSkipJump."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Answer, Ask, Can, Rows, Task
from ironbound.core.rows import column, flat
from ironbound.searches.norms import must_hold_inputs

Asking = Generator[Ask, Answer, Any]


@dataclass(frozen=True)
class HopSkipJump:
    """Start anywhere on the far side, bisect to the boundary, estimate its normal by probes, step along it, repeat.

    Paper: Chen, Jordan, Wainwright 2020, HopSkipJumpAttack: A Query-Efficient Decision-Based Attack, arXiv 1904.02144,
    algorithm 2 (L2), with the probes of equation 9 less their mean (16) and their radius of section III.C.
    """

    rounds: int = 10
    probes: int = 100
    """Probes of the first round; round t uses probes * sqrt(t)."""
    most: int = 10000
    bisections: int = 12
    starts: int = 100
    halvings: int = 12

    needs = Can.DECISIONS
    norms = ("l2", "linf", "l1")  # it walks straight lines, and no point of one differs in few pixels only
    walks = True  # from input to input: points that are numbers are refused when it runs

    def __post_init__(self) -> None:
        if min(self.rounds, self.probes, self.bisections, self.starts, self.halvings) < 1:
            raise UsageError(f"all counts of a HopSkipJump are at least 1; got {self}.")

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Algorithm 2: all problems in step, each with its own distances and decisions."""
        if task.region.box is None:
            raise CompositionError(
                "HopSkipJump starts anywhere in the model's range, but it has none; give Model(range=)."
            )
        x = task.region.identity()
        must_hold_inputs(task.region, self)
        s = task.state(x=x, p=x, have=torch.zeros(task.n, dtype=torch.bool, device=x.device))
        yield from self._starting_points(task, s)
        yield from self._bisect(s)
        for t in range(self.rounds):
            task.compact()
            distance = torch.linalg.vector_norm(flat(s.p - s.x), dim=1)
            direction = yield from self._direction(task, s, distance, t)
            yield from self._jump(task, s, distance / math.sqrt(t + 1), direction)
            yield from self._bisect(s)

    def _starting_points(self, task: Task, s: Any) -> Asking:
        """Uniform draws from the box until one is adversarial."""
        low, high = task.region.box
        for _ in range(self.starts):
            row = (~s.have).nonzero()[:, 0]
            if len(row) == 0:
                return
            q = task.fresh.fold("start").take(row).uniform(tuple(s.x.shape[1:]), s.x.dtype, low, high)
            answer = yield Ask(q, owner=row)
            won = answer.success
            s.p = s.p.index_copy(0, row[won], q[won])
            s.have = s.have.index_fill(0, row[won], True)

    def _bisect(self, s: Any) -> Asking:
        """Algorithm 1: between the input and an adversarial point, to 2^-bisections of their distance."""
        row = s.have.nonzero()[:, 0]
        if len(row) == 0:
            return
        x, far = s.x[row], s.p[row]
        near, good = torch.zeros_like(s.have[row], dtype=x.dtype), torch.ones_like(s.have[row], dtype=x.dtype)
        for _ in range(self.bisections):
            middle = (near + good) / 2
            answer = yield Ask(x + column(middle, x) * (far - x), owner=row)
            good, near = torch.where(answer.success, middle, good), torch.where(answer.success, near, middle)
        s.p = s.p.index_copy(0, row, torch.where(column(good == 1, x), far, x + column(good, x) * (far - x)))

    def _direction(self, task: Task, s: Any, distance: Tensor, t: int) -> Asking:
        """The mean of the probes' directions, signed by the decisions heard less their mean (equations 9 and 16)."""
        row, count = s.have.nonzero()[:, 0], min(self.most, int(self.probes * math.sqrt(t + 1)))
        direction = torch.zeros_like(s.p)
        if len(row) == 0:
            return direction
        draws, owner = task.fresh.fold("probe").take(row).repeat(count), row.repeat_interleave(count)
        delta = distance * (
            0.1 if t == 0 else 1 / flat(s.x).shape[1]
        )  # the paper's theta * sqrt(d) with theta = d^-3/2
        number, centre = torch.arange(len(owner), device=owner.device), s.p

        def unit(at: slice) -> Tensor:
            u = draws.take(number[at]).normal(tuple(centre.shape[1:]), centre.dtype)
            return u / column(torch.linalg.vector_norm(flat(u), dim=1), u)

        def make(at: slice) -> Tensor:
            return (centre[owner[at]] + column(delta[owner[at]], centre) * unit(at)).clamp(*task.region.box)

        answer = yield Ask(Rows(len(owner), make), owner=owner, partial=True)
        heard = answer.granted.view(-1, count).to(s.p.dtype)
        sign = (answer.success.view(-1, count).to(s.p.dtype) * 2 - 1) * heard
        mean = sign.sum(1, keepdim=True) / heard.sum(1, keepdim=True).clamp_min(1)
        sign = torch.where(mean.abs() == 1, sign, (sign - mean) * heard)
        for place, (at, mine) in enumerate(zip(row.tolist(), sign, strict=True)):  # all probes at once may not fit
            direction[at] = (column(mine, s.p) * unit(slice(place * count, (place + 1) * count))).sum(0)
        norm = torch.linalg.vector_norm(flat(direction), dim=1).clamp_min(1e-12)
        return direction / column(norm, direction)

    def _jump(self, task: Task, s: Any, step: Tensor, direction: Tensor) -> Asking:
        """Halve each problem's own step until it lands on the far side; those that never do stay where they are."""
        row = s.have.nonzero()[:, 0]
        for _ in range(self.halvings):
            if len(row) == 0:
                return
            q = (s.p[row] + column(step[row], s.p) * direction[row]).clamp(*task.region.box)
            answer = yield Ask(q, owner=row)
            s.p = s.p.index_copy(0, row[answer.success], q[answer.success])
            row = row[~answer.success]
            step = step.index_copy(0, row, step[row] / 2)
