"""SparseFool: DeepFool finds where the boundary is, a linear solver crosses it with as few values as it can."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

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

    Each round walks from the point of the last one, p, to the boundary, at x~, and takes the plane with the normal w (class
    met less the label) through p + `ahead` (x~ - p). The linear solver finds the smallest change in L1 from p that reaches
    this plane within the box: values with the largest |w| go to their edges, one after the other, and the last one part
    of the way. The search ends where the point, `overshoot` farther from x, is across.

    On L0 sets, of pixels or of coordinates, L1 stands in for the count, as published; on linear models whose values have
    equal ways to their edges it is the fewest there can be. (Values that gain most by going to their edges would be fewest on
    every linear model. On nets this takes twice the passes for no fewer pixels: it jumps where |w| is small.)

    Cost, rows a problem: 1 forward, then those of at most `searches` walks and 1 forward (see DeepFool).

    Paper: Modas, Moosavi-Dezfooli, Frossard 2019, arXiv 1811.02248, algorithms 1 and 2. Differs: `ahead` is 1.5, where the
    authors have 3 for small images and 1 for large ones; the next round starts at the point with the overshoot.
    """

    searches: int = 20
    ahead: float = 1.5
    """The authors' lambda: a larger one needs fewer rounds and more values."""
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
        change = Planes("l1", w, *box).nearest(p, gap.clamp_min(0))[0]
        p = (x + (1 + self.overshoot) * (p + change - x)).clamp_(*box)
        front = replace(front, p=p.view_as(front.p), step=length("l2", p - flat(front.p)))
        return front.take((change != 0).any(1).nonzero()[:, 0])
