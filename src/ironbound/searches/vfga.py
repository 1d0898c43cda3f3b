"""The Voting Folded Gaussian Attack: one pixel a step, by a vote among random changes of the two that promise most."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Rows, Task
from ironbound.core.rng import Rng
from ironbound.core.rows import put
from ironbound.searches.sparse import changed, open_region, some, won

Asking = Generator[Ask, Answer, Any]


@dataclass(frozen=True)
class Voting:
    """Of the pixels not changed so far, try the best to raise and the best to lower; keep the draw that helps most.

    The best to raise is the one with the largest gradient times the way to the upper end; the best to lower likewise.
    `draws` changes of each are tried: absolute values of normal numbers, as wide as that way, clamped. A success wins,
    else the highest objective. Where pixels have channels, gains are summed over those whose gradient points that way,
    and these change together.

    Paper: Hajri, Cesaire, Combey, Lamprier, Gallinari 2020, Stochastic Sparse Adversarial Attacks, arXiv 2011.12423,
    algorithms 2 and 3 (VFGA).
    """

    steps: int | None = None
    """Pixels at most; None: all of them."""
    draws: int = 10

    norms = ("l0",)
    needs = Can.GRADIENT | Can.SCORES

    def __post_init__(self) -> None:
        if (self.steps is not None and self.steps < 1) or self.draws < 1:
            raise UsageError(f"VFGA takes at least one step and one draw; got steps={self.steps}, draws={self.draws}.")

    def run(self, task: Task) -> Asking:
        """Algorithm 3, until every problem has won or has changed all that it may."""
        x = open_region(task, self).identity()
        live = torch.ones(task.n, dtype=torch.bool, device=x.device)
        s = task.state(p=x, live=live, scale=torch.zeros(task.n, dtype=torch.float64, device=x.device))
        pixels = math.ceil(task.region.widest)
        for _ in range(pixels if self.steps is None else min(self.steps, pixels)):
            task.compact()
            at = s.live.nonzero()[:, 0]
            if len(at) == 0:
                return
            p, region, owner = some(s.p, task.region, at)
            answer = yield Ask(p, owner, grad=True)
            step = Draws.of(region, p, answer.grad, self.draws, task.fresh.take(at))
            going = answer.granted & ~won(task, s, answer, at)
            row = (step.gains & going[:, None]).repeat_interleave(self.draws, 1).flatten().nonzero()[:, 0]
            if len(row) == 0:
                return
            owner = at[row // (2 * self.draws)]
            s.live = torch.zeros_like(s.live).index_fill(0, owner, True)
            answer = yield Ask(Rows(len(row), partial(step.some, row)), owner)
            s.live = s.live.index_fill(0, owner[won(task, s, answer, owner)], False)
            best, heard = _elected(answer, row, len(at), 2 * self.draws)
            s.p = put(s.p, at[heard], step.points(best[heard]))
            s.live = s.live & (task.region.size(s.p) < task.region.radius)


@dataclass(frozen=True)
class Draws:
    """The candidates of one step: for each problem `draws` values of the pixel to raise, then as many of that to lower."""

    p: Tensor
    region: Any
    pixel: Int[Tensor, "n 2"]
    value: Float[Tensor, "n 2 draws channels"]
    """What the pixel becomes."""
    gains: Bool[Tensor, "n 2"]
    """Whether the gradient promises anything."""

    @staticmethod
    def of(region: Any, p: Tensor, grad: Tensor, draws: int, rng: Rng) -> Draws:
        """The pixels with the most to gain, and where random steps of theirs lead."""
        g = region.by_pixel(torch.where(torch.isfinite(grad), grad, 0.0))
        here, lo, hi = (region.by_pixel(table) for table in (p, region.lo, region.hi))
        ways = torch.stack([torch.where(g > 0, hi - here, 0.0), torch.where(g < 0, lo - here, 0.0)], 1)
        gain = (g[:, None] * ways).sum(2).masked_fill(changed(region, p)[:, None], 0.0)
        gain, pixel = gain.max(2)
        channels = here.shape[1]
        at = pixel[:, :, None, None].expand(-1, -1, channels, 1)
        way, here, lo, hi = (
            (t if t.ndim == 4 else t[:, None].expand(-1, 2, -1, -1)).gather(3, at)[..., 0][:, :, None]
            for t in (ways, here, lo, hi)
        )
        folded = rng.fold("folded").normal((2, draws, channels), p.dtype).abs()
        return Draws(p, region, pixel, torch.clamp(here + folded * way, lo, hi), gain > 0)

    def some(self, rows: Int[Tensor, " r"], at: slice) -> Tensor:
        """The candidates of these numbers, of those numbered `rows`."""
        return self.points(rows[at])

    def points(self, number: Int[Tensor, " r"]) -> Tensor:
        """The candidates of these numbers, problem by problem, `2 draws` of each."""
        draws = self.value.shape[2]
        problem, side = number // (2 * draws), number // draws % 2
        value, wide = self.value[problem, side, number % draws], self.region.by_pixel(self.p[problem])
        place = self.pixel[problem, side][:, None, None].expand(-1, wide.shape[1], 1)
        return wide.scatter(2, place, value[..., None]).reshape(len(number), *self.p.shape[1:])


def _elected(answer: Answer, row: Tensor, problems: int, each: int) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """The number of the candidate that each problem keeps, a success if there is one; and which problems have any."""
    value = torch.full((problems * each,), -torch.inf, dtype=answer.value.dtype, device=row.device)
    success = torch.zeros_like(value, dtype=torch.bool).index_copy(0, row, answer.success).view(problems, each)
    value = value.index_copy(0, row, answer.value.nan_to_num(-torch.inf, torch.inf, -torch.inf)).view(problems, each)
    value = torch.where(success.any(1, keepdim=True) & ~success, -torch.inf, value)
    top, place = value.max(1)
    return torch.arange(problems, device=row.device) * each + place, top > -torch.inf
