"""A walk that may leave the set at a price, and comes back to it: for any set that one can project onto."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.judge import TAU, scale_of
from ironbound.core.protocols import Ask, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.norms import must_hold_inputs
from ironbound.searches.penalty import ENOUGH, Asking
from ironbound.sets.bounds import inner_box


@dataclass(frozen=True)
class Surrogate:
    """Minimise max(0, kappa - objective(p)) + weight / 2 distance(p, P(x))^2 in the box; ask the nearest points of the set.

    The hinge is a convex upper bound of the 0/1 loss of the goal, as a function of the objective. Its gradient is brought
    to length 1, distances are L2 and counted in reaches: how far the set goes along the first gradient. So `weight` has no
    unit: the walk is in balance 1 / weight reaches outside. Steps are of `rate` reaches at first and fall to 0.
    """

    steps: int = 50
    weight: float = 4.0
    rate: float = 0.25
    kappa: float = 1.0
    """In logits; infinite: never content, so that the walk presses on."""
    looks: int = 10
    """How often on the way the projection is asked, beside the end."""

    needs = Can.GRADIENT | Can.SCORES | Can.PROJECT
    walks = True  # through inputs, to points outside of the set

    def __post_init__(self) -> None:
        if self.steps < 1 or self.looks < 0 or not (self.weight > 0 and self.rate > 0 and self.kappa >= 0):
            raise UsageError(
                f"a surrogate takes a step at least, weight and rate > 0, kappa and looks >= 0; got {self}."
            )

    def run(self, task: Task) -> Asking:
        """Down the gradient, with a look at the set now and then."""
        must_hold_inputs(task.region, self)
        x = task.region.identity()
        s = task.state(p=x, reach=torch.full((task.n,), torch.nan, dtype=torch.float64, device=x.device))
        every = max(1, self.steps // max(1, self.looks))
        for t in range(self.steps):
            task.compact()
            answer = yield Ask(s.p, grad=True)
            up = _unit(answer.grad)
            if t == 0:
                s.reach = self._reach(task.region, up)
            least = 0.0 if (scale := scale_of(answer.outputs)) is None else ENOUGH * TAU * scale
            wants = (answer.value.double() < self.kappa + least).to(up.dtype)
            outside = s.p - task.region.project(s.p)
            down = outside.mul(column(self.weight / s.reach, up)).sub_(up.mul_(column(wants, up)))
            rate = self.rate * (1 - t / self.steps)
            s.p = torch.addcmul(s.p, column(-rate * s.reach, down), down).clamp_(
                *inner_box(task.region.box, down.dtype)
            )
            if self.looks and (t + 1) % every == 0 and t + 1 < self.steps:
                task.compact()
                yield Ask(task.region.project(s.p))
        task.compact()
        yield Ask(task.region.project(s.p))

    def _reach(self, region: Any, up: Tensor) -> Float[Tensor, " n"]:
        """How far the set goes in L2 along the gradient."""
        x = region.identity()
        width = 1.0 if region.box is None else region.box[1] - region.box[0]
        far = region.project(torch.add(x, up, alpha=width * flat(x).shape[1] ** 0.5))
        length = torch.linalg.vector_norm(flat(far - x), dim=1, dtype=torch.float64)
        return torch.where(length > 0, length, torch.finfo(torch.float32).tiny)


def _unit(g: Tensor) -> Tensor:
    tiny = torch.finfo(g.dtype).tiny
    g = g / column(flat(g).abs().amax(1).clamp_min(tiny), g)
    return g / column(torch.linalg.vector_norm(flat(g), dim=1, dtype=torch.float64).clamp_min(tiny), g)
