"""How the penalty searches walk: Adam in the box, on the values themselves or behind a tanh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Task
from ironbound.core.rows import column, flat, kept
from ironbound.sets.bounds import BLOCK, inner_box

INSIDE = 1 - 1e-6
"""The inputs are drawn so far into the box, whose ends are infinitely far away in tanh's coordinates."""
FINE, FINER = 8, 100
"""Steps are no longer than such a part of the largest change of a value that is known to suffice."""


@dataclass(frozen=True)
class BoxAdam:
    """Adam's steps, clamped to the box.

    With `tanh`, as published, on w where p = low + (high - low) (tanh w + 1) / 2. There a value at an end of the box, a black
    or white pixel, is so far out that 100 steps of 0.01 hardly move it; without, it moves as others do.

    No step is longer than an eighth (beyond tau: a hundredth) of the largest change of a value that is known to suffice,
    so that small witnesses are found as exactly as large ones.

    D is the squared L2 distance, or with `beyond` the sum of what the changes of the values have over s.tau.

    Paper: Carlini, Wagner 2017, arXiv 1608.04644, sections V.B (change of variables), VI.A and VI.C; Adam: Kingma, Ba 2015,
    arXiv 1412.6980, algorithm 1. tanh is written as 2 sigmoid(2 w) - 1, which is five times as fast on a CPU.
    """

    rate: float = 0.01
    beyond: bool = False
    tanh: bool = False
    warm: bool = False
    """Searches go on from where the last one ended, as far as s.free (where the outer has one) lets them."""
    beta1: float = 0.9
    beta2: float = 0.999
    tiny: float = 1e-8

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise UsageError(f"the rate of Adam's steps is a number > 0; got {self.rate}.")

    def begin(self, task: Task, s: Any) -> None:
        """tanh's coordinates, and Adam's means."""
        x = task.region.identity()
        s.w = self._coordinates(task.region, x)
        s.mean, s.square = torch.zeros_like(x), torch.zeros_like(x)
        s.p = self._points(task.region, s.w, x, task.region.mask)
        s.near = torch.full((task.n,), torch.inf, dtype=torch.float64, device=x.device)

    def restart(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> None:
        """Begin again at x; or go on, with new means."""
        x = kept(task.region.x, row, task.n)
        for table in (s.mean, s.square):
            table.index_fill_(0, row, 0.0)
        if not self.warm:
            s.w.index_copy_(0, row, self._coordinates(task.region, x))
        mask = _free(task.region, s)
        mask = None if mask is None else mask.index_select(0, row)
        s.p = s.p.index_copy(0, row, self._points(task.region, kept(s.w, row, task.n), x, mask))

    def away(self, task: Task, s: Any, row: Int[Tensor, " r"]) -> Float[Tensor, " r"]:
        """|p - x|^2, or the sum of what is beyond tau."""
        d = flat(kept(s.p, row, task.n) - kept(task.region.x, row, task.n))
        if self.beyond:
            return (d.abs() - s.tau[row][:, None].to(d.dtype)).clamp_min(0).sum(1, dtype=torch.float64)
        return d.square().sum(1, dtype=torch.float64)

    def step(
        self,
        task: Task,
        s: Any,
        row: Int[Tensor, " r"],
        g: Tensor,
        pull: Float[Tensor, " r"],
        loss: Float[Tensor, " r"],
    ) -> None:
        """Adam's step down D - pull objective; a few rows at a time, so that what it needs on the way stays in the cache."""
        region, whole, free = task.region, len(row) == task.n, _free(task.region, s)
        out = torch.empty_like(s.p) if whole else s.p.clone()
        count = max(1, BLOCK * len(s.p) // max(1, s.p.numel())) if s.p.device.type == "cpu" else len(row)
        for start in range(0, len(row), count):
            at = slice(start, start + count)
            pick = lambda table: table[at] if whole else table.index_select(0, row[at])  # noqa: B023 - used at once
            p, x, w, mean, square, t = map(pick, (s.p, region.x, s.w, s.mean, s.square, s.t))
            mask = None if free is None else pick(free)
            d = torch.sub(p, x)
            behind = torch.where(pull[at] > 0, torch.inf, flat(d).abs().amax(1).double())
            near = torch.minimum(pick(s.near), behind)
            s.near[row[at]] = near
            d = d.sign().mul_(d.abs() > column(pick(s.tau), d)) if self.beyond else d.mul_(2)
            d.addcmul_(column(pull[at], d), g[at], value=-1)
            self._adam(region, d if mask is None else d.mul_(mask), p, (w, mean, square), t, near)
            if not whole:
                for table, new in ((s.w, w), (s.mean, mean), (s.square, square)):
                    table.index_copy_(0, row[at], new)
            points = self._points(region, w, x, mask)
            if whole:
                out[at] = points
            else:
                out.index_copy_(0, row[at], points)
        s.p = out

    def _adam(
        self, region: Any, d: Tensor, p: Tensor, own: tuple[Tensor, Tensor, Tensor], t: Tensor, near: Tensor
    ) -> None:
        """Change w and the means in place; d is the gradient at p and may be written to."""
        w, mean, square = own
        size = 1.0
        if self.tanh and region.box is not None:  # dp/dw = 2 (p - low) (high - p) / (high - low)
            low, high = region.box
            d.mul_((p - low).mul_(high - p))
            size = 2 / (high - low)
        mean.mul_(self.beta1).add_(d, alpha=(1 - self.beta1) * size)
        square.mul_(self.beta2).addcmul_(d, d, value=(1 - self.beta2) * size**2)
        one, two = 1 - self.beta1 ** t.double(), (1 - self.beta2 ** t.double()).sqrt()
        rate = (near / (FINER if self.beyond else FINE)).clamp(1e-9, self.rate)
        below = square.sqrt().add_(column(self.tiny * two, d)).mul_(column(-one / (rate * two), d))
        w.addcdiv_(mean, below)
        if not self.tanh:
            w.clamp_(*inner_box(region.box, w.dtype))

    def _coordinates(self, region: Any, x: Tensor) -> Tensor:
        """w at x."""
        if not self.tanh or region.box is None:
            return x.clone()
        low, high = region.box
        return ((x - (low + high) / 2) * (2 * INSIDE / (high - low))).clamp_(-INSIDE, INSIDE).atanh_()

    def _points(self, region: Any, w: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """p at w; x where values may not change."""
        p = w.clone()
        if self.tanh and region.box is not None:
            low, high = region.box
            p.mul_(2).sigmoid_()
            if (low, high) != (0.0, 1.0):
                p.mul_(high - low).add_(low).clamp_(*inner_box(region.box, p.dtype))
        return p if mask is None else torch.where(mask, p, x)


def _free(region: Any, s: Any) -> Tensor | None:
    """Where values may change: what the outer search left free, within the mask."""
    free: Tensor | None = getattr(s, "free", None)
    return region.mask if free is None else free
