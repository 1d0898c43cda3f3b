"""Greedy search for few pixels: take those whose gradients promise most, drop those that are not needed, exchange."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.judge import TAU
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.searches.sparse import changed, open_region, some, won

Asking = Generator[Ask, Answer, Any]
ENOUGH = 1.5
"""Times the least margin that the judge accepts: the level that is aimed at."""


@dataclass(frozen=True)
class Greedy:
    """Pixels at the ends of the box, chosen by the linear view of the objective at the point just asked.

    A pixel's gain is what moving it to the end that its gradient points to adds to the objective. While the goal is not
    met and there is room, the pixels with the largest gains move: `share` of as many as the linear view says are needed.
    From a witness as many of the cheapest pixels go back to x as the linear view says are not needed, and at least one;
    from then on there is room for one pixel less than the smallest witness has. Where there is no room, the cheapest
    pixel is exchanged for the best other one, which goes on until the steps are over; a pixel that went back, or to
    the other end, stays there for `rest` steps, so that the search leaves where it was.

    The radius, or one pixel less than the smallest witness, is where it looks: what it finds is found within the set. On
    a linear model with two classes the first witness is the smallest there is.
    """

    steps: int = 100
    share: float = 0.5
    rest: int = 10

    norms = ("l0",)
    needs = Can.GRADIENT | Can.SCORES

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.share <= 1 or self.rest < 0:
            raise UsageError(f"Greedy has steps >= 1, share in (0, 1] and rest >= 0; got {self}.")

    def run(self, task: Task) -> Asking:
        """Ask for the gradient, change the pixels; every point on the way may be the witness."""
        region = open_region(task, self)
        x = region.identity()
        none = torch.zeros(task.n, dtype=torch.float64, device=x.device)
        s = task.state(
            p=x, scale=none, most=region.radius.clamp_max(region.widest), live=region.radius >= 1,
            until=torch.zeros(task.n, int(region.widest), dtype=torch.int64, device=x.device),
        )  # fmt: skip
        for t in range(self.steps + 1):
            task.compact()
            at = (s.live if t else torch.ones_like(s.live)).nonzero()[:, 0]
            if len(at) == 0:
                return
            p, region, owner = some(s.p, task.region, at)
            answer = yield Ask(p, owner, grad=t < self.steps)
            if t < self.steps:
                self._move(task, s, region, answer, at, t)

    def _move(self, task: Task, s: Any, region: Any, answer: Answer, at: Tensor, t: int) -> None:
        """The next points of these rows; those that can do no more are asked no more."""
        hit, p, until = won(task, s, answer, at), s.p[at], s.until[at]
        view = View.of(region, p, answer.grad)
        most = torch.where(hit, view.count - 1, s.most[at])
        lacking = ENOUGH * TAU * s.scale[at] - answer.value.double()
        room = (most - view.count).clamp_min(0)
        back = torch.where(hit, self._spared(view, -lacking), (room == 0).long())
        away = _best(-view.cost, back) & view.changed
        may = ~away & (until <= t)
        forth = torch.where(hit, 0, torch.where(room == 0, 1, self._needed(view, may, lacking).minimum(room)))
        chosen = _best(torch.where(may, view.gain, 0.0), forth)
        turned = chosen & view.changed
        away &= ~((room == 0) & turned.any(1))[:, None]  # where a changed pixel turns nothing need go back
        q = torch.where(region.by_value(chosen), view.end, torch.where(region.by_value(away), region.x, p))
        s.p, s.most = s.p.index_copy(0, at, q), s.most.index_copy(0, at, most)
        s.until = s.until.index_copy(0, at, torch.where(away | turned, t + 1 + self.rest, until))
        s.live = s.live.index_copy(0, at, answer.granted & (most >= 1) & (chosen | away).any(1))

    def _spared(self, view: View, slack: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
        """How many of the cheapest changed pixels go back where the objective has so much to spare."""
        free = (view.cost.sort(1).values.cumsum(1) <= slack[:, None]).sum(1)
        return (free * self.share).ceil().clamp_min(1).minimum(view.count - 1).long()

    def _needed(self, view: View, may: Bool[Tensor, "n pixels"], gap: Float[Tensor, " n"]) -> Tensor:
        """How many of the best pixels move to the ends where so much is lacking."""
        gain = torch.where(may, view.gain, 0.0).sort(1, descending=True).values
        needed = ((gain.cumsum(1) - gain < gap[:, None]) & (gain > 0)).sum(1)
        return (needed * self.share).ceil().clamp_min(1)


@dataclass(frozen=True)
class View:
    """What the gradient says of every pixel, by the linear view at p; float64."""

    end: Tensor
    """Each value at the end of the box that its gradient points to."""
    changed: Bool[Tensor, "n pixels"]
    gain: Float[Tensor, "n pixels"]
    """What going to these ends adds to the objective, at least 0."""
    cost: Float[Tensor, "n pixels"]
    """What going back to x takes from it; inf where the pixel is as in x."""

    @staticmethod
    def of(region: Any, p: Tensor, grad: Tensor) -> View:
        """The view of points p with these gradients; values without a finite gradient are best left."""
        g = torch.where(torch.isfinite(grad), grad, 0.0)
        end = torch.where(g > 0, region.hi, torch.where(g < 0, region.lo, p))
        slope, here, differs = g.double(), p.double(), changed(region, p)
        gain = region.by_pixel(slope * (end.double() - here)).sum(1)
        cost = region.by_pixel(slope * (here - region.x.double())).sum(1)
        return View(end, differs, gain, torch.where(differs, cost, torch.inf))

    @property
    def count(self) -> Float[Tensor, " n"]:
        """How many pixels are changed."""
        return self.changed.sum(1).double()


def _best(value: Float[Tensor, "n pixels"], number: Tensor) -> Bool[Tensor, "n pixels"]:
    """So many of the largest values of each row, but none that is 0 or -inf; of equals the first."""
    order = value.argsort(dim=1, descending=True, stable=True)
    among = torch.arange(value.shape[1], device=value.device) < number[:, None]
    best = torch.zeros_like(value, dtype=torch.bool).scatter_(1, order, among.expand_as(order))
    return best & (value != 0) & (value != -torch.inf)
