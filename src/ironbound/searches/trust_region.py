"""The trust region attack: steps towards one class, as long as the linear view of the model has proved right."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import flat
from ironbound.searches.linearise import Front, View, onto, started, viewed
from ironbound.searches.norms import norm_among
from ironbound.sets.bounds import inner_box

Asking = Generator[Ask, Answer, Any]


@dataclass
class Trusting(Front):
    """A front with one class left, and how far each problem trusts its linear view."""

    radius: Float[Tensor, " r"]
    """The longest step, in the norm of the set, float64."""
    f: Float[Tensor, " r"]
    """The class's logit less that of the label before the last step, float64."""
    promised: Float[Tensor, " r"]
    """What the last step should have added to it."""


@dataclass(frozen=True)
class TrustRegion:
    """Towards the class whose plane is nearest at x, in steps within a radius of trust that is adapted to how they turn out.

    Each step maximises the linear view of the class's logit less the label's in a ball of that radius around the current
    point, and goes no farther than to the plane and a little beyond. Of rho, what the step brought by what was promised:
    above `well` the radius is multiplied by `growth`, below `badly` divided by it. The first radius is a share of the
    distance to the plane at x. The walk ends at the first point that the judge will accept. Needs a ball of Linf or L2.

    Cost, rows a problem: 1 forward, then 1 forward and `classes` - 1 backward, then 1 forward and 1 backward a step.

    Paper: Yao, Gholami, Xu, Keutzer, Mahoney 2019, arXiv 1812.06371, algorithm 1 with the adaptive radius. Differs: the
    authors' first radius and its bounds are numbers in input units; steps stay within the box.
    """

    steps: int = 100
    radius: float = 0.1
    """The first radius, in distances to the plane at x."""
    growth: float = 1.2
    well: float = 0.9
    badly: float = 0.5
    overshoot: float = 0.02
    classes: int = 10

    norms = ("linf", "l2")
    needs = Can.GRADIENT | Can.SCORES
    from_label = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.classes < 2 or not (self.radius > 0 and self.growth >= 1 and self.overshoot >= 0):
            raise UsageError(
                "TrustRegion takes a step at least, between two classes at least, with radius > 0, growth >= 1 and "
                f"overshoot >= 0; got {self}."
            )
        if not 0 <= self.badly <= self.well:
            raise UsageError(f"TrustRegion has 0 <= badly <= well; got {self}.")

    def run(self, task: Task) -> Asking:
        """Choose the class, then walk."""
        norm = norm_among(task.region, self.norms, self)
        start = yield from started(task, task.region.identity(), self.classes)
        if start is None:
            return
        front: Front = start[0]
        for _ in range(self.steps):
            parts = []
            for group, count in front.groups(0.0):
                view = yield from viewed(task, norm, group, count)
                parts.append(self._stepped(task, norm, view))
            front = Trusting.joined(parts) if parts else front
            if len(front.row) == 0:
                return
        yield Ask(front.p, owner=front.row)

    def _stepped(self, task: Task, norm: str, view: View) -> Trusting:
        """Those that are not across, a step further; without those that cannot go anywhere."""
        chosen, far = view.nearest()
        at = (view.granted & ~view.won & torch.isfinite(far)).nonzero()[:, 0]
        front, chosen, far = view.front.take(at), chosen[at], far[at]
        w, f, gap = view.w[at, chosen], view.f[at, chosen], view.gap[at, chosen]
        if isinstance(front, Trusting):
            radius = self._adapted(front, f)
        else:
            radius, only = self.radius * far, view.asked[at, chosen][:, None]
            classes, steep, distance = (table.gather(1, only) for table in (front.classes, front.steep, front.distance))
            front = Trusting(front.row, front.p, front.scale, classes, steep, distance, front.step, radius, f, f)
        if len(at) == 0:
            return front
        box, part = inner_box(task.region.box, front.p.dtype), (radius / far).clamp_max(1.0)
        p = flat(front.p)
        d, step = onto(norm, p, w, gap * part, far * part, box)
        q = (p + d.mul_(1 + self.overshoot)).clamp_(*box)
        promised = ((q - p) * w).sum(1).double()
        front = replace(front, p=q.view_as(front.p), step=step, radius=radius, f=f, promised=promised)
        return front.take((step > 0).nonzero()[:, 0])

    def _adapted(self, front: Trusting, f: Float[Tensor, " r"]) -> Float[Tensor, " r"]:
        rho = (f - front.f) / front.promised
        factor = torch.where(rho > self.well, self.growth, torch.where(rho < self.badly, 1 / self.growth, 1.0))
        return front.radius * factor
