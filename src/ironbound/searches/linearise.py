"""DeepFool and what grew out of it: the model as planes between classes, and steps onto the nearest one."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.judge import TAU, convincing, scale_of
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import column, flat
from ironbound.searches.guided import MOST, likeliest
from ironbound.searches.hyperplane import Planes
from ironbound.searches.norms import norm_among
from ironbound.searches.smallest import ENOUGH
from ironbound.sets.bounds import inner_box

Asking = Generator[Ask, Answer, Any]


@dataclass
class Front:
    """The problems of a walk that are still on their way, a row each. Walks keep it between asks, so they do not compact."""

    row: Int[Tensor, " r"]
    """Their numbers in the task."""
    p: Tensor
    """Where they are, shape (r, ...)."""
    scale: Float[Tensor, " r"]
    """The largest logit heard so far, float64: what the judge measures by."""
    classes: Int[Tensor, "r c"]
    """The classes whose planes count, without the label."""
    steep: Float[Tensor, "r c"]
    """How steeply each class rises over the label, in the dual norm, as last heard; float64."""
    distance: Float[Tensor, "r c"]
    """To each plane, at the last point; 0 for those passed, inf for those without a slope; float64."""
    step: Float[Tensor, " r"]
    """The length of the step that led here, float64; inf before the first."""

    @staticmethod
    def at(row: Tensor, p: Tensor, scale: Tensor, classes: Tensor) -> Front:
        """Before the first step: of no plane anything is known."""
        unknown = torch.zeros(classes.shape, dtype=torch.float64, device=p.device)
        return Front(row, p, scale, classes, unknown, unknown, torch.full_like(scale, math.inf))

    @staticmethod
    def joined(parts: list[Front]) -> Front:
        """The rows of all parts, of which there is one at least."""
        if len(parts) == 1:
            return parts[0]
        return Front(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Front)))

    def take(self, index: Int[Tensor, " s"]) -> Front:
        """Some of the rows, ascending; itself where that is all."""
        if len(index) == len(self.row):
            return self
        return Front(*(getattr(self, f.name).index_select(0, index) for f in fields(Front)))

    def groups(self, reach: float) -> list[tuple[Front, int]]:
        """Rows that ask for as many classes: 1, 2, 4 and so on, or all; no more at a time than memory should hold."""
        most = self.classes.shape[1]
        near = (self.distance <= ((1 + reach) * self.step)[:, None]).sum(1).clamp_min(1)
        groups, below = [], 0
        while below < most:
            count = min(max(1, 2 * below), most)
            index = ((near > below) & (near <= count)).nonzero()[:, 0]
            at_once = max(1, MOST // max(1, count * flat(self.p).shape[1]))
            groups += [(self.take(some), count) for some in index.split(at_once) if len(some)]
            below = count
        return groups


@dataclass(frozen=True)
class View:
    """What was heard of a front with gradients: a row each, of the classes in `asked`."""

    front: Front
    asked: Int[Tensor, "r k"]
    """Columns of the front's classes."""
    w: Float[Tensor, "r k d"]
    """The gradients of their logits less the label's, 0 where a mask forbids to change."""
    f: Float[Tensor, "r k"]
    """Those differences, float64; above 0 where a class has overtaken the label."""
    gap: Float[Tensor, "r k"]
    """What is missing for the judge, float64."""
    value: Float[Tensor, " r"]
    won: Bool[Tensor, " r"]
    """Whether the judge would accept the point."""
    granted: Bool[Tensor, " r"]

    def nearest(self) -> tuple[Int[Tensor, " r"], Float[Tensor, " r"]]:
        """The plane to walk to, a column of `asked`, and how far it is; inf where there is none."""
        ahead = torch.where(self.gap > 0, self.front.distance.gather(1, self.asked), math.inf)
        distance, column_ = ahead.min(1)
        return column_, distance


def started(task: Task, x: Tensor, classes: int) -> Generator[Ask, Answer, tuple[Front, Answer] | None]:
    """Hear x: the rows that the judge would not accept there, and the answer for all; None where nothing was heard."""
    answer = yield Ask(x)
    if answer.outputs is None:  # nobody could pay even this
        return None
    scale = scale_of(answer.outputs)
    assert scale is not None
    likely = likeliest(answer.outputs.nan_to_num(), task.y, classes - 1)
    row = (answer.granted & ~_accepted(answer, scale)).nonzero()[:, 0]
    return Front.at(torch.arange(task.n, device=x.device), x, scale, likely).take(row), answer


def viewed(task: Task, norm: str, front: Front, count: int) -> Generator[Ask, Answer, View]:
    """Hear a front with the gradients of the `count` classes whose planes were nearest."""
    asked = front.distance.topk(count, dim=1, largest=False).indices
    y = task.y.index_select(0, front.row)
    answer = yield Ask(front.p, owner=front.row, jac=front.classes.gather(1, asked), less=y)
    w = answer.jac.flatten(2)
    if task.region.mask is not None:
        w = w * flat(task.region.mask.index_select(0, front.row))[:, None]
    largest = scale_of(answer.outputs)
    assert largest is not None
    scale = torch.maximum(front.scale, largest)
    f = (answer.outputs.gather(1, front.classes) - answer.outputs.gather(1, y[:, None])).double()
    gap = (ENOUGH * TAU * scale)[:, None] - f
    steep = front.steep.scatter(1, asked, _dual(norm, w))
    distance = torch.where(steep > 0, gap.clamp_min(0) / steep, math.inf).nan_to_num(nan=math.inf)
    front = replace(front, scale=scale, steep=steep, distance=distance)
    f, gap = f.gather(1, asked), gap.gather(1, asked)
    return View(front, asked, w, f, gap, answer.value, _accepted(answer, scale), answer.granted)


@dataclass(frozen=True)
class Arrival:
    """Rows for which a walk has ended: whether they won, the objective, and the gradient towards the class they met."""

    front: Front
    won: Bool[Tensor, " r"]
    value: Float[Tensor, " r"]
    w: Float[Tensor, "r d"]
    walked: Bool[Tensor, " r"]
    """Whether a step was taken at all."""


@dataclass(frozen=True)
class DeepFool:
    """Linearise the classes, step onto the nearest of the planes between them and the label, and a little beyond.

    With f_k the logit of class k less that of the label and w_k its gradient, plane k is |f_k| / |w_k| away (dual norm).
    The step leads to the nearest point of the nearest plane that is in the model's box, times 1 + `overshoot`; the walk
    ends at the first point that the judge will accept. Needs a ball of Linf, L2 or L1; it may walk beyond its radius.

    Classes are the label and the `classes` - 1 likeliest others. A class is left out of a step where its plane was more than
    1 + `reach` times the last step away: a step of length t brings no plane of a linear model nearer than by t, and `reach`
    is what is left for the bend. With `reach` = inf every class is asked at each step, as published.

    Cost, rows a problem: 1 forward, then for each step 1 forward and a backward a class that counts: `classes` - 1 at the
    first, mostly one later; 1 forward for the last point.

    Paper: Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv 1511.04599, algorithm 2 and equations 10 to 13. Differs: each step
    aims at the margin that the judge wants rather than at 0 (the authors add 1e-4 in input units); steps go to the nearest
    point of the plane within the box, rather than to be clipped there; far planes are left out.
    """

    steps: int = 50
    overshoot: float = 0.02
    classes: int = 10
    reach: float = 0.5

    norms = ("linf", "l2", "l1")
    needs = Can.GRADIENT | Can.SCORES
    from_label = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.classes < 2 or not (self.overshoot >= 0 and self.reach >= 0):
            raise UsageError(
                f"DeepFool takes a step at least, between two classes at least, with overshoot and reach >= 0; got {self}."
            )

    def run(self, task: Task) -> Asking:
        """Hear x, then walk from there."""
        norm = norm_among(task.region, self.norms, self)
        start = yield from started(task, task.region.identity(), self.classes)
        if start is None:
            return
        front = yield from self.walk(task, norm, start[0])
        if len(front.row):
            yield Ask(front.p, owner=front.row)

    def walk(
        self, task: Task, norm: str, front: Front, arrived: list[Arrival] | None = None
    ) -> Generator[Ask, Answer, Front]:
        """`steps` steps, or until each row is across; returns those that are not, at points that were not asked yet.

        `arrived` is told of those that are across.
        """
        for t in range(self.steps):
            parts = []
            for group, count in front.groups(self.reach):
                view = yield from viewed(task, norm, group, count)
                if arrived is not None and bool(view.won.any()):
                    arrived.append(_arrival(view, t > 0))
                parts.append(self._stepped(task, norm, view))
            front = Front.joined(parts) if parts else front
            if len(front.row) == 0:
                break
        return front

    def _stepped(self, task: Task, norm: str, view: View) -> Front:
        """Those that are not across, a step further; without those that cannot go anywhere."""
        chosen, far = view.nearest()
        at = (view.granted & ~view.won & torch.isfinite(far)).nonzero()[:, 0]
        front, chosen, far = view.front.take(at), chosen[at], far[at]
        if len(at) == 0:
            return front
        box, gap = inner_box(task.region.box, front.p.dtype), view.gap[at, chosen]
        d, length = onto(norm, flat(front.p), view.w[at, chosen], gap, far, box)
        p = (flat(front.p) + d.mul_(1 + self.overshoot)).clamp_(*box).view_as(front.p)
        front = replace(front, p=p, step=length * (1 + self.overshoot))
        return front.take((length > 0).nonzero()[:, 0])


def _arrival(view: View, walked: bool) -> Arrival:
    at = view.won.nonzero()[:, 0]
    w = view.w[at, view.f[at].argmax(1)]
    front = view.front.take(at)
    return Arrival(front, view.won[at], view.value[at], w, torch.full_like(view.won[at], walked))


def _accepted(answer: Answer, scale: Float[Tensor, " m"]) -> Bool[Tensor, " m"]:
    """Whether the judge would accept the points, as far as the search has heard; the objective is taken for the margin."""
    return answer.success & convincing(answer.value, scale)


def onto(
    norm: str, p: Float[Tensor, "n d"], w: Float[Tensor, "n d"], gap: Float[Tensor, " n"], far: Float[Tensor, " n"],
    box: tuple[float, float],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:  # fmt: skip
    """The smallest change that brings p to the plane <w, change> = gap > 0 in the box, and its length; `far` without a box."""
    if norm == "l1":
        return Planes(norm, w, *box).nearest(p, gap)
    d = w.sign() * column(far, w) if norm == "linf" else w * column(far * far / gap, w)
    length, low, high = far, *box
    if math.isfinite(high - low):
        q = p + d
        at = ((q.amin(1) < low) | (q.amax(1) > high)).nonzero()[:, 0]
        if len(at):
            d[at], nearest = Planes(norm, w[at], low, high).nearest(p[at], gap[at])
            length = length.index_copy(0, at, nearest)
    return d, length


def _dual(norm: str, w: Float[Tensor, "n k d"]) -> Float[Tensor, "n k"]:
    """The length of each normal in the dual norm, float64."""
    if norm == "l2":
        return torch.linalg.vector_norm(w, dim=2).double()
    size = w.abs()  # linalg's other norms are ten times slower
    return (size.sum(2) if norm == "linf" else size.amax(2)).double()
