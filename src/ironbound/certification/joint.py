"""Margins whose free slopes are climbed together, and leave when they are proved or hopeless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.backward import pulled
from ironbound.certification.bounder import Bounder, trusted
from ironbound.certification.coefficients import Coefficients, Dense, Spots
from ironbound.certification.estimates import STEP
from ironbound.certification.extremes import least
from ironbound.certification.functionals import Known, Rows
from ironbound.certification.graph import Graph, Ref
from ironbound.certification.interval import Propagation
from ironbound.certification.intervals import Interval
from ironbound.certification.margins import before_softmax, differences
from ironbound.certification.slopes import Slopes

RECENT = 3
"""Steps whose mean gain says how far a bound can come in the steps that are left."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What was found for some margins of one sample."""

    others: Int[Tensor, " rows"]
    """The classes j of the margins z_y - z_j."""
    least: Float[Tensor, " rows"]
    proved: bool
    places: tuple[Tensor, ...] = ()
    """The entries of each layer in between that were bounded anew."""
    slopes: Slopes | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """The solutions of each row that proved something."""

    solved: Sequence[Sequence[Solution]]

    def take(self, index: Int[Tensor, " r"]) -> Learned:
        """Those of some rows."""
        return Learned([self.solved[i] for i in index.tolist()])


Layer = tuple[Ref, Tensor]
"""A value in between, and which of its entries to bound anew, bool (n, entries)."""
Problem = tuple[int, Tensor, Solution | None]
"""A row, the classes to win against, and slopes to evaluate instead of looking for some."""


@dataclass(frozen=True, eq=False)
class Ends:
    """The rows by which a layer in between is bounded: of each problem its lower ends, then its upper ends."""

    ref: Ref
    owner: Int[Tensor, " rows"]
    place: Int[Tensor, " rows"]
    lower: Bool[Tensor, " rows"]

    @staticmethod
    def of(ref: Ref, places: Sequence[Tensor]) -> Ends:
        """Both ends of these entries, problem by problem."""
        counts = torch.tensor([len(place) for place in places], device=places[0].device)
        owner, place = (
            torch.arange(len(places), device=counts.device).repeat_interleave(counts),
            torch.cat(list(places)),
        )
        lower = torch.ones_like(owner, dtype=torch.bool)
        order = torch.cat([owner, owner]).argsort(stable=True)
        return Ends(ref, *(torch.cat(pair)[order] for pair in ((owner, owner), (place, place), (lower, ~lower))))

    def take(self, rows: Tensor, numbers: Tensor) -> Ends:
        """Some rows, with their owners' new numbers."""
        return Ends(self.ref, numbers[self.owner[rows]], self.place[rows], self.lower[rows])


@dataclass(eq=False)
class Joint:
    """Problems that are climbed together; those that are decided leave. Row i of each table is problem i."""

    graph: Graph
    region: Any
    values: dict[str, Any]
    """Intervals that linear rules read, of each problem; and constants."""
    ends: list[Ends]
    owner: Int[Tensor, " rows"]
    """Of the margins."""
    margins: Float[Tensor, "rows classes"]
    """Their coefficients of the logits."""
    enough: Float[Tensor, " problems"]
    slopes: Slopes
    number: Int[Tensor, " problems"]
    """Which of the group each problem is."""
    others: list[Tensor]
    history: list[Tensor] = field(default_factory=list)
    """The best bound of each problem after each step."""
    matrices: dict[Any, Tensor] = field(default_factory=dict)
    cost: Tensor = field(init=False)
    """Multiplications that were spent on each problem of the group."""
    peak: Tensor | None = None
    """The best of each margin, whatever the others were then."""
    staying: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    solutions: dict[int, Solution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cost = torch.zeros(len(self.number), dtype=torch.float64, device=self.number.device)

    @staticmethod
    def of(
        bounder: Bounder,
        passed: Propagation,
        y: Tensor,
        group: Sequence[Problem],
        layers: Sequence[Layer],
        enough: Tensor,
    ) -> Joint:
        """The problems of a group, with the slopes that they bring or those of CROWN."""
        rows = torch.tensor([i for i, _, _ in group], device=y.device)
        owner = torch.cat([torch.full_like(others, at) for at, (_, others, _) in enumerate(group)])
        other = torch.cat([others for _, others, _ in group])
        given = [solution for _, _, solution in group if solution is not None]
        ends = [
            Ends.of(
                ref, [given[at].places[n] if given else mask[i].nonzero()[:, 0] for at, i in enumerate(rows.tolist())]
            )
            for n, (ref, mask) in enumerate(layers)
        ]
        dtype, read = passed.output.lower.dtype, bounder.read
        a = differences(y[rows[owner]], other, passed.graph.out_shape[0], dtype)
        slopes = Slopes.joined(s.slopes.to(dtype) for s in given if s.slopes is not None) if given else Slopes()
        values = {
            name: _rows_of(value, rows, len(y))
            for name, value in passed.values.items()
            if name in read or not isinstance(value, (Interval, tuple))
        }
        return Joint(
            passed.graph, bounder.region.take(rows), values, ends, owner, a, enough[rows].to(dtype), slopes,
            torch.arange(len(group), device=y.device), [others for _, others, _ in group],
        )  # fmt: skip

    def look(self, left: int = 0) -> Tensor | None:
        """Bound all margins; problems leave that are proved or cannot be any more in the steps left.

        What to climb; None when nothing is left.
        """
        low = self._bounds()
        now = low.detach()
        self.peak = now if self.peak is None else torch.maximum(now, self.peak)
        worst = torch.full_like(self.enough, torch.inf).scatter_reduce(0, self.owner, now, "amin")
        self.history.append(torch.maximum(worst, self.history[-1]) if self.history else worst)
        proved = worst > self.enough
        leaving = proved | self._hopeless(left) if left else torch.ones_like(proved)
        for at in leaving.nonzero()[:, 0].tolist():
            self._leave(at, bool(worst[at] > 0), now)  # whether by enough, float64 says
        self.staying = ~leaving
        if not left or bool(leaving.all()):
            return None
        rows = self.staying[self.owner]
        return low[rows].clamp(max=self.enough[self.owner[rows]]).sum()

    def climb(self, value: Tensor, rate: float) -> None:
        """A step uphill; then those that are decided leave."""
        self.slopes.climb(value, rate)
        if bool(self.staying.all()):
            return
        rows, numbers = self.staying[self.owner], self.staying.cumsum(0) - 1
        keep = {end.ref.name: self.staying[end.owner] for end in self.ends} | {self.logits: rows}
        index = self.staying.nonzero()[:, 0]
        self.slopes = self.slopes.take(keep)
        self.ends = [end.take(keep[end.ref.name], numbers) for end in self.ends]
        self.values = {name: _rows_of(value, index, len(self.staying)) for name, value in self.values.items()}
        self.region, self.enough, self.number = self.region.take(index), self.enough[index], self.number[index]
        self.history = [best[index] for best in self.history[-RECENT:]]
        self.owner, self.margins = numbers[self.owner[rows]], self.margins[rows]
        self.peak = None if self.peak is None else self.peak[rows]

    @cached_property
    def logits(self) -> str:
        """The value that margins are taken of."""
        return before_softmax(self.graph)

    def _hopeless(self, left: int) -> Tensor:
        """Gains shrink on the way, so that those of the last steps, kept up, say how far it can go at most."""
        if len(self.history) <= RECENT:
            return torch.zeros_like(self.enough, dtype=torch.bool)
        gain = (self.history[-1] - self.history[-1 - RECENT]) / RECENT
        return self.history[-1] + gain * left < 0

    def _leave(self, at: int, proved: bool, now: Tensor) -> None:
        number, rows = int(self.number[at]), self.owner == at
        if not proved:
            assert self.peak is not None
            self.solutions[number] = Solution(self.others[number], self.peak[rows], False)
            return
        mine = {end.ref.name: end.owner == at for end in self.ends}
        places = tuple(end.place[(end.owner == at) & end.lower] for end in self.ends)
        slopes = self.slopes.take(mine | {self.logits: rows})
        self.solutions[number] = Solution(self.others[number], now[rows], True, places, slopes)

    def _bounds(self) -> Tensor:
        """The margins, over the layers in between as these slopes bound them."""
        count = len(self.enough)
        dtype, device = self.margins.dtype, self.margins.device
        known = Known(self.graph, dict(self.values), dtype, device, count, matrices=self.matrices)
        for end in self.ends:
            known.values[end.ref.name] = self._narrowed(known, end)
        return self._pulled(known, self.logits, Dense(self.margins), self.owner)

    def _narrowed(self, known: Known, end: Ends) -> Interval:
        x, shape = known.values[end.ref.name], end.ref.shape
        if not len(end.place):
            return x
        assert shape is not None
        sign = torch.where(end.lower, 1.0, -1.0).to(self.margins.dtype)
        found = self._pulled(known, end.ref.name, Spots(end.place, sign, shape), end.owner) * sign
        new = []
        for old, mine in ((x.lower, end.lower), (x.upper, ~end.lower)):
            table, at = old.reshape(known.count, -1), (end.owner[mine], end.place[mine])
            bound = torch.where(found[mine].isfinite(), found[mine], table[at])
            new.append(table.index_put(at, bound).view_as(old))
        return Interval(*new)

    def _pulled(self, known: Known, start: str, a: Coefficients, owner: Tensor) -> Tensor:
        if not len(owner):  # a layer without an undecided value
            return owner.to(self.margins.dtype)
        rows = Rows(known, owner, 0 if known.count == 1 else None, self.slopes.of(start))
        inside, bias, work = pulled(start, a, rows)
        spent = torch.full_like(owner, work * STEP, dtype=torch.float64)
        self.cost.index_add_(0, self.number[owner], spent)
        return trusted(least(self.region, inside, rows) + bias)


def _rows_of(value: Any, rows: Tensor, n: int) -> Any:
    """Some rows of an interval (k n, ...), or of a tuple of them."""
    if isinstance(value, tuple):
        return tuple(_rows_of(part, rows, n) for part in value)
    if isinstance(value, Tensor):
        return value.detach()  # of weights there is no derivative to take
    if not isinstance(value, Interval):
        return value
    ends = (end.view(n, -1, *end.shape[1:])[rows].flatten(0, 1) for end in (value.lower, value.upper))
    return Interval(*ends)
