"""One point for many inputs: ascent on minibatches of them, and DeepFool on one after the other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task, Terms
from ironbound.core.rows import choose, column, flat
from ironbound.searches.moves.move import Move
from ironbound.searches.starts import Clean, Start
from ironbound.sets.ball import Ball
from ironbound.sets.universal import Universal

OVERSHOOT = 1e-4
"""Added to the gap to a plane, as in the authors' code of DeepFool."""


class Sharing:
    """A search whose points are each for many inputs: a ball is taken for that of one perturbation for all of them."""

    lifted: bool = True

    def lifts(self, threat: Any) -> Any:
        """Universal(ball) of a ball; a set that is collective itself as it is. Raises CompositionError for others."""
        if getattr(threat, "collective", False):
            return threat
        if self.lifted and isinstance(threat, Ball):
            return Universal(threat)
        wanted = "a ball or Universal(ball)" if self.lifted else "a collective set, such as Patch(area=0.1)"
        raise CompositionError(
            f"{type(self).__name__} looks for one point for many inputs and needs {wanted}; got {threat!r}."
        )


@dataclass(frozen=True)
class Minibatches(Sharing):
    """`steps` moves along the mean gradient over `batch` inputs each, with `looks` at all inputs on the way.

    The inputs of a problem are gone through in random order, which is drawn anew each time round. Only a look at all of them
    can be a claim. Of a set with given colours the walk is among all colours, the looks are at the nearest given ones, and
    `printable` is the weight of the non-printability score, which is taken off the objective.

    Cost, rows a problem: steps * batch forward and backward, and looks * (its inputs) forward.
    """

    steps: int
    move: Move
    batch: int = 64
    looks: int = 5
    start: Start = field(default_factory=Clean)
    printable: float = 0.0
    lifted: bool = True

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.looks) < 1 or self.printable < 0:
            raise UsageError(f"steps, batch and looks are at least 1, printable at least 0; got {self}.")

    @property
    def needs(self) -> Can:
        """Gradients, a projection, and what move and start need of the set."""
        return Can.GRADIENT | Can.PROJECT | self.move.needs | getattr(self.start, "needs", Can(0))

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Ask for the gradient on the next inputs, move, and look at all of them from time to time."""
        s = task.state(p=self.start(task))
        walk: Any = Relaxed(task)
        move = self.move.on(walk.region)
        move.prepare(walk, s, self.steps)
        loss = printed if self.printable and getattr(task.region, "colours", None) is not None else None
        for t in range(self.steps):
            task.compact()
            args = () if loss is None else (s.p.new_full((task.n,), self.printable),)
            answer = yield Ask(s.p, items=next_items(task, t, self.batch), grad=True, loss=loss, args=args)
            move(walk, s, answer, t)
            if (t + 1) * self.looks // self.steps > t * self.looks // self.steps:
                task.compact()
                yield Ask(task.region.project(s.p))


@dataclass(frozen=True)
class Relaxed:
    """A task as moves see it that walk among all colours, where the set has only some."""

    task: Task

    @property
    def region(self) -> Any:
        """The task's, now."""
        region = self.task.region
        return getattr(region, "relaxed", region)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def printed(terms: Terms, weight: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The objective less the weighted non-printability score."""
    score: Tensor = terms.region.unprintable(terms.points)
    return terms.objective - weight * score


def next_items(task: Task, t: int, batch: int) -> Int[Tensor, "n batch"]:
    """The inputs number t * batch and on of each problem, in an order that is drawn anew each time they are through."""
    return torch.stack([_items(task, row, t * batch, batch) for row in range(task.n)])


def _items(task: Task, row: int, first: int, count: int) -> Int[Tensor, " count"]:
    members = task.members(row)
    place = torch.arange(first, first + count, device=members.device)
    turn, at = place // len(members), place % len(members)
    own = task.rng.fold("order").take(torch.tensor([row], device=members.device))
    orders = {number: own.fold(number).permutation(len(members))[0] for number in turn.unique().tolist()}
    return members[torch.stack([orders[number] for number in orders]).to(members.device)[turn - int(turn[0]), at]]


@dataclass(frozen=True)
class DeepFoolInTurn(Sharing):
    """Go through the inputs: where the perturbation does not fool one yet, add the smallest change that does, and project.

    The change is DeepFool's: the point x + v + r is linearised, and r steps to the nearest of the planes between the label
    and another class, in the norm of the ball, until the answer changes; what is added is a little more (`overshoot`).
    Ends after `passes` over the inputs, or when a look at all of them finds `share` fooled.

    Cost, rows a problem: a pass looks at each input twice (alone, and with all), and where that does not fool, at most
    2 steps forward and (classes - 1) steps + steps backward for it.

    Paper: Moosavi-Dezfooli, Fawzi, Fawzi, Frossard 2017, Universal adversarial perturbations, arXiv 1610.08401, algorithm 1;
    DeepFool: Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv 1511.04599, algorithm 2. It is sequential by nature.
    """

    passes: int = 5
    share: float = 0.8
    steps: int = 10
    overshoot: float = 0.02
    classes: int = 10

    from_label = True
    needs = Can.GRADIENT | Can.SCORES | Can.PROJECT | Can.STEER

    def __post_init__(self) -> None:
        if min(self.passes, self.steps) < 1 or self.classes < 2 or not 0 < self.share <= 1 or self.overshoot < 0:
            raise UsageError(
                f"passes and steps are at least 1, classes at least 2, share lies in (0, 1], overshoot >= 0; got {self}."
            )

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Pass after pass, each in another order, with a look at all inputs behind it."""
        s = task.state(p=task.region.identity(), open=torch.ones(task.n, dtype=torch.bool))
        for turn in range(self.passes):
            task.compact()
            orders = [_items(task, row, turn * len(task.members(row)), len(task.members(row))) for row in range(task.n)]
            for place in range(max(map(len, orders))):
                at = [row for row in range(task.n) if place < len(orders[row]) and bool(s.open[row])]
                if at:
                    item = torch.stack([orders[row][place] for row in at])
                    yield from self._push(task, s, torch.tensor(at, device=item.device), item)
            task.compact()
            at = s.open.nonzero()[:, 0].to(s.p.device)
            answer = yield Ask(s.p.index_select(0, at), owner=at)
            assert answer.rate is not None  # the problems are collective
            s.open = s.open.index_put((at.cpu(),), answer.rate.cpu() < self.share)
            if not bool(s.open.any()):
                return

    def _push(self, task: Task, s: Any, row: Tensor, item: Tensor) -> Generator[Ask, Answer, None]:
        """The perturbations of these problems, moved so far that they fool one input each, where they do not yet."""
        label = task.y[item]
        start, added = s.p.index_select(0, row), torch.zeros_like(s.p.index_select(0, row))
        fooled = torch.zeros(len(row), dtype=torch.bool, device=row.device)
        for step in range(self.steps + 1):
            point = start + (1 + self.overshoot) * added
            left = (~fooled).nonzero()[:, 0]
            answer = yield Ask(point[left], owner=row[left], items=item[left, None])
            if answer.outputs is None:
                return
            fooled[left] = answer.success | ~answer.granted
            left = left[~(answer.success | ~answer.granted)]
            if step == self.steps or len(left) == 0:
                break
            scores = answer.outputs[~(answer.success | ~answer.granted), 0]
            others = scores.scatter(1, label[left, None], torch.inf).topk(min(self.classes, scores.shape[1]), dim=1)
            heard = yield Ask(point[left], owner=row[left], items=item[left, None], jac=others.indices)
            if heard.outputs is None:
                return
            scores = heard.outputs[:, 0].gather(1, others.indices)
            added[left] += _nearest(task.region.take(row[left]), scores, heard.jac) * column(heard.granted, point[left])
        moved = task.region.take(row).project(start + (1 + self.overshoot) * added)
        s.p = s.p.index_copy(0, row, choose(fooled, moved, start))


def _nearest(region: Any, scores: Float[Tensor, "m k"], jac: Float[Tensor, "m k ..."]) -> Tensor:
    """The smallest step, in the ball's own norm, onto the nearest plane between the first class and one of the others."""
    rows, many = len(scores), scores.shape[1] - 1
    w = (jac[:, 1:] - jac[:, :1]).flatten(0, 1)
    gap = (scores[:, :1] - scores[:, 1:]).abs() + OVERSHOOT
    way = region.take(torch.arange(rows, device=w.device).repeat_interleave(many)).steepest(w)
    gain = flat(w.double() * way.double()).sum(1).view(rows, many)
    length = torch.where(gain > 0, gap / gain, torch.inf).nan_to_num(nan=torch.inf)
    best = length.argmin(1)
    pick = torch.arange(rows, device=w.device) * many + best
    shortest = length.gather(1, best[:, None])[:, 0]
    return column(torch.where(torch.isfinite(shortest), shortest, 0.0), way) * way.index_select(0, pick)
