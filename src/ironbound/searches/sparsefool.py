"""SparseFool: DeepFool finds where the boundary is, a linear solver crosses it with as few values as it can."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import flat
from ironbound.searches.hyperplane import Planes
from ironbound.searches.linearise import Arrival, DeepFool, Front, started
from ironbound.searches.norms import norm_among
from ironbound.searches.smallest import length
from ironbound.sets.bounds import inner_box

Asking = Generator[Ask, Answer, Any]


@dataclass(frozen=True)
class SparseFool:
    """DeepFool (L2) to the boundary; then across its plane there, `ahead` times as far, by changing few values.

    Each round walks from the point of the last one to the boundary, at x~, and takes the plane with the normal w (class
    met less the label) through p + `ahead` (x~ - p). The linear solver finds the smallest change from p that reaches the
    plane within the box: in L1 values with the largest |w| go to their edges first; in L0 those (or the pixels) that gain
    most by it, which is exact for one plane. A search ends where the point, `overshoot` farther from x, is across.

    Cost, rows a problem: 1 forward, then those of at most `searches` walks and 1 forward (see DeepFool).

    Paper: Modas, Moosavi-Dezfooli, Frossard 2019, arXiv 1811.02248, algorithms 1 and 2. Differs: on L0 sets the solver
    minimises the number of pixels, or coordinates, rather than the sum of the changes; the next round starts at the point
    with the overshoot.
    """

    searches: int = 20
    ahead: float = 3.0
    """The authors' lambda: larger needs fewer rounds and more values."""
    overshoot: float = 0.02
    walk: DeepFool = field(default_factory=DeepFool)

    norms = ("l0", "l1")
    needs = Can.GRADIENT | Can.SCORES
    from_label = True

    def __post_init__(self) -> None:
        if self.searches < 1 or not (self.ahead >= 1 and self.overshoot >= 0):
            raise UsageError(f"SparseFool searches at least once, with ahead >= 1 and overshoot >= 0; got {self}.")

    def run(self, task: Task) -> Asking:
        """Round by round, until each row is across by few values."""
        norm_among(task.region, self.norms, self)
        began = task.region.identity()
        start = yield from started(task, began, self.walk.classes)
        if start is None:
            return
        front = start[0]
        for _ in range(self.searches):
            arrived: list[Arrival] = []
            yield from self.walk.walk(task, "l2", front, arrived)
            onward = [self._crossed(task, began, some) for some in arrived if some.walked]
            if not onward:
                return
            front = Front.joined(onward)
            began = began.index_copy(0, front.row, front.p)
        yield Ask(front.p, owner=front.row)

    def _crossed(self, task: Task, began: Tensor, arrived: Arrival) -> Front:
        """The sparse points across the planes where a walk has ended."""
        front, w, region = arrived.front, arrived.w, task.region
        box, x, p = inner_box(region.box, began.dtype), flat(region.x[front.row]), flat(began[front.row])
        gap = self.ahead * ((flat(front.p) - p) * w).sum(1).double()
        if region.norm == "l1" or not math.isfinite(box[1] - box[0]):  # without a box one value is enough
            change = Planes("l1", w, *box).nearest(p, gap.clamp_min(0))[0]
        else:
            change = fewest(p, w, gap, region.channels, box)
        p = (x + (1 + self.overshoot) * (p + change - x)).clamp_(*box)
        front = replace(front, p=p.view_as(front.p), step=length("l2", p - flat(front.p)))
        return front.take((change != 0).any(1).nonzero()[:, 0])


def fewest(
    p: Float[Tensor, "n d"], w: Float[Tensor, "n d"], gap: Float[Tensor, " n"], channels: int, box: tuple[float, float]
) -> Float[Tensor, "n d"]:
    """The change of as few pixels of `channels` values as can be with <w, change> = gap, p + change in the box.

    Where the whole box is not enough, every value goes to its edge.
    """
    room = torch.where(w > 0, box[1] - p, torch.where(w < 0, p - box[0], 0.0))
    gain = (w.abs() * room).double().view(len(p), channels, -1).sum(1)
    most, order = gain.sort(dim=1, descending=True, stable=True)
    before = pad(most.cumsum(1)[:, :-1], (1, 0))
    share = torch.where(most > 0, (gap[:, None] - before) / most, 0.0).clamp(0, 1)
    share = torch.zeros_like(share).scatter_(1, order, share)
    return (share[:, None].expand(-1, channels, -1).reshape(p.shape) * room).to(p.dtype) * w.sign()
