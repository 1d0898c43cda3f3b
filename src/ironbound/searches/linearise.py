"""DeepFool and what grew out of it: the model as planes between classes, and steps onto the nearest one."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

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
from ironbound.searches.smallest import ENOUGH, final, length, put, tables
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
    """To each plane, at the last point, float64; inf for those without a slope and those passed, 0 for those at the end."""
    step: Float[Tensor, " r"]
    """The length of the step that led here, float64; inf before the first."""

    @staticmethod
    def at(row: Tensor, p: Tensor, scale: Tensor, classes: Tensor) -> Front:
        """Before the first step: of no plane anything is known."""
        unknown = torch.zeros(classes.shape, dtype=torch.float64, device=p.device)
        return Front(row, p, scale, classes, unknown, unknown, torch.full_like(scale, math.inf))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """The rows of all parts, of which there is one at least."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def take(self, index: Int[Tensor, " s"]) -> Self:
        """Some of the rows, ascending; itself where that is all."""
        if len(index) == len(self.row):
            return self
        return type(self)(*(getattr(self, f.name).index_select(0, index) for f in fields(self)))

    def groups(self, reach: float) -> list[tuple[Self, int]]:
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
        distance, place = self.front.distance.gather(1, self.asked).min(1)
        return place, distance


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
    won, distance = _accepted(answer, scale), gap / steep
    distance = torch.where((steep > 0) & (gap > 0) & torch.isfinite(distance), distance, math.inf)
    distance = torch.where((gap <= 0) & won[:, None], 0.0, distance)
    front = replace(front, scale=scale, steep=steep, distance=distance)
    f, gap = f.gather(1, asked), gap.gather(1, asked)
    return View(front, asked, w, f, gap, answer.value, won, answer.granted)


@dataclass(frozen=True)
class Arrival:
    """Rows that a walk has brought across, with the gradients of the classes they met there."""

    front: Front
    value: Float[Tensor, " r"]
    w: Float[Tensor, "r d"]
    walked: bool
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
        place, far = view.nearest()
        onward = view.granted & ~view.won
        at = (onward & torch.isfinite(far)).nonzero()[:, 0]
        front, place, far = view.front.take(at), place[at], far[at]
        box, gap = inner_box(task.region.box, front.p.dtype), view.gap[at, place]
        d, far = onto(norm, flat(front.p), view.w[at, place], gap, far, box)
        p = (flat(front.p) + d.mul_(1 + self.overshoot)).clamp_(*box).view_as(front.p)
        front = replace(front, p=p, step=far * (1 + self.overshoot)).take((far > 0).nonzero()[:, 0])
        if len(at) == len(onward):
            return front
        # top-k goals want more classes passed than those asked: such a row stays, and asks for the next ones
        others = onward & torch.isinf(view.nearest()[1]) & torch.isfinite(view.front.distance.amin(1))
        return Front.joined([front, view.front.take(others.nonzero()[:, 0])]) if bool(others.any()) else front


def _arrival(view: View, walked: bool) -> Arrival:
    at = view.won.nonzero()[:, 0]
    w = view.w[at, view.f[at].argmax(1)]
    front = view.front.take(at)
    return Arrival(front, view.value[at], w, walked)


def _accepted(answer: Answer, scale: Float[Tensor, " m"]) -> Bool[Tensor, " m"]:
    """Whether the judge would accept the points, as far as the search has heard; the objective is taken for the margin."""
    return answer.success & convincing(answer.value, scale)


@dataclass(frozen=True)
class SuperDeepFool:
    """DeepFool to the boundary, then along the boundary's normal there, until that alone is across.

    With w the gradient (class met less the label) at the end x~ of DeepFool's walk: the next walk starts where the one before
    started, moved by the part of x~ - x along w, <x~ - x, w> w / |w|^2 (of other norms: by the smallest change that is worth
    as much). After one round that is the point of the boundary's plane nearest to x; where it is not across, the change of
    the second round is about twice as long as need be, in a direction made of both normals, and the final search comes back
    along it as near to x as the judge lets it.

    Cost, rows a problem: 1 forward, then those of `searches` walks at most, which go on where the last ended (a forward and
    mostly one backward a step), and `looks` forward.

    Paper: Abdolahpourrostam, Abroshan, Moosavi-Dezfooli 2023, arXiv 2303.12481, algorithm 2, SDF(inf, 1), as in the
    authors' code, which adds up the rounds; the paper starts each at x plus its own part, which ends 4% farther away.
    Differs: the move stays within the box; the final search interpolates, where the authors bisect.
    """

    searches: int = 10
    walk: DeepFool = DeepFool()
    looks: int = 6

    norms = ("linf", "l2", "l1")
    needs = Can.GRADIENT | Can.SCORES
    from_label = True

    def __post_init__(self) -> None:
        if self.searches < 1 or self.looks < 0:
            raise UsageError(f"SuperDeepFool walks at least once and looks at least 0 times; got {self}.")

    def run(self, task: Task) -> Asking:
        """Walks from one projection to the next; then the final search."""
        norm, x = norm_among(task.region, self.norms, self), task.region.identity()
        start = yield from started(task, x, self.walk.classes)
        if start is None:
            return
        front, clean = start
        s, began = task.state(**tables(x, clean)), x
        for _ in range(self.searches):
            arrived: list[Arrival] = []
            yield from self.walk.walk(task, norm, front, arrived)
            for some in arrived:
                row, p = some.front.row, some.front.p
                size = length(norm, flat(p - task.region.x.index_select(0, row)))
                put(s, row, p, size, some.value, some.front.scale)
            onward = [_along_normal(task, norm, began, some) for some in arrived if some.walked]
            if not onward:
                break
            front = Front.joined(onward)
            began = began.index_copy(0, front.row, front.p)
        yield from final(task, s, norm, self.looks)


def _along_normal(task: Task, norm: str, began: Tensor, arrived: Arrival) -> Front:
    """Where the walk began, moved along the normal at its end by as much as that end is along it from x."""
    front, w, box = arrived.front, arrived.w, inner_box(task.region.box, began.dtype)
    gap = ((flat(front.p) - flat(task.region.x.index_select(0, front.row))) * w).sum(1).double()
    steep = _dual(norm, w[:, None])[:, 0]
    at = ((gap > 0) & (steep > 0) & torch.isfinite(gap / steep)).nonzero()[:, 0]
    front, w, gap, steep = front.take(at), w[at], gap[at], steep[at]
    p = flat(began.index_select(0, front.row))
    p = (p + onto(norm, p, w, gap, gap / steep, box)[0]).clamp_(*box)
    return replace(front, p=p.view_as(front.p), step=length(norm, p - flat(front.p)))


def onto(
    norm: str, p: Float[Tensor, "n d"], w: Float[Tensor, "n d"], gap: Float[Tensor, " n"], far: Float[Tensor, " n"],
    box: tuple[float, float],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:  # fmt: skip
    """The smallest change that brings p to the plane <w, change> = gap > 0 in the box, and its length; `far` without a box."""
    if norm == "l1":
        return Planes(norm, w, *box).nearest(p, gap)
    d = w.sign() * column(far, w) if norm == "linf" else w * column(far * far / gap, w)
    low, high = box
    if math.isfinite(high - low):
        q = p + d
        at = ((q.amin(1) < low) | (q.amax(1) > high)).nonzero()[:, 0]
        if len(at):
            d[at], nearest = Planes(norm, w[at], low, high).nearest(p[at], gap[at])
            far = far.index_copy(0, at, nearest)
    return d, far


def _dual(norm: str, w: Float[Tensor, "n k d"]) -> Float[Tensor, "n k"]:
    """The length of each normal in the dual norm, float64."""
    if norm == "l2":
        return torch.linalg.vector_norm(w, dim=2).double()
    size = w.abs()  # linalg's other norms are ten times slower
    return (size.sum(2) if norm == "linf" else size.amax(2)).double()
