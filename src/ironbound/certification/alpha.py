"""Linear bounds with their free slopes optimised: those of the last pass, or those of the layers in between as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.backward import pulled
from ironbound.certification.bounder import Bounder, has_width, swept, trusted
from ironbound.certification.coefficients import Coefficients, Dense, Spots
from ironbound.certification.crown import ENOUGH, bounded_margins, linear_scale
from ironbound.certification.estimates import STEP, TWICE, cost_of
from ironbound.certification.extremes import least
from ironbound.certification.functionals import Known, Rows
from ironbound.certification.graph import Graph, Ref
from ironbound.certification.interval import Propagation
from ironbound.certification.intervals import Interval
from ironbound.certification.margins import Margins, before_softmax
from ironbound.certification.operations import OPERATIONS
from ironbound.certification.slopes import Slopes
from ironbound.core.errors import UsageError

GRADIENT = 3.0
"""Passes that one with its gradient is worth."""
RECENT = 3
"""Steps whose mean gain says how far a bound can come in the steps that are left."""


@dataclass(frozen=True)
class AlphaCrown:
    """CROWN with the lower line of every undecided ReLU (and the tangents of smooth functions) chosen to prove the most.

    Any slope in [0, 1] below a ReLU is sound, so the bound may be climbed by its gradient with respect to them. Each
    functional has slopes of its own. With layers="last" those of the margins are optimised, over fixed intervals of the
    layers in between; with "all" also those by which these intervals are bounded, for the margins that they lead to.
    Samples leave as soon as they are proved, or when their last gains, kept up to the end, would not be enough.

    >>> AlphaCrown(layers="last").name
    'alpha-crown'

    Paper: Xu, Zhang, Wang, Wang, Jana, Lin, Hsieh 2021, "Fast and Complete: Enabling Complete Verification with Rapid and
    Massively Parallel Incomplete Verifiers" (arXiv 2011.13824), section 3.2. Differs: only undecided neurons and margins
    have rows, samples leave early, and margins that are proved pull no further.
    """

    layers: str = "all"
    """ "all" or "last"."""
    steps: int = 20
    rate: float = 0.5
    """Of Adam's first step; each further one is `decay` times as long."""
    decay: float = 0.98

    name = "alpha-crown"
    rows: ClassVar[int] = 32
    """As of Crown."""

    def __post_init__(self) -> None:
        if self.layers not in ("all", "last"):
            raise UsageError(f'layers is "all" or "last"; got {self.layers!r}.')
        if self.steps < 1 or not self.rate > 0 or not 0 < self.decay <= 1:
            raise UsageError("alpha-crown: steps >= 1, rate > 0, 0 < decay <= 1.")

    def margins(
        self, graph: Graph, region: Any, y: Int[Tensor, " n"], dtype: torch.dtype, learned: Any = None
    ) -> Margins:
        """Lower bounds of z_y - z_j, each the best of the interval's, CROWN's and the optimised one."""
        passed, bounder = swept(graph, region, dtype)
        found = bounded_margins(passed, bounder, y)
        open_ = (found.least.amin(1) <= ENOUGH * found.scale).nonzero()[:, 0]
        found = replace(found, scale=linear_scale(passed, bounder, found.scale, open_))
        layers = _layers(passed, bounder) if self.layers == "all" else []
        solved: list[list[Solution]] = [[] for _ in y]
        if learned is None:
            wanted = ~(found.least > ENOUGH * found.scale[:, None])
            problems = _problems(wanted, apart=self.layers == "last")
        else:
            problems = [(i, part.others, part) for i, row in enumerate(learned.solved) for part in row]
        for group in _groups(problems, bounder, layers):
            ascent = Joint.of(bounder, passed, y, group, layers, found.scale * ENOUGH)
            self._climb(ascent) if learned is None else ascent.look()
            bounder.cost.index_add_(0, torch.tensor([i for i, _, _ in group], device=y.device), ascent.cost)
            for number, (i, others, _) in enumerate(group):
                solution = ascent.solutions[number]
                at = (torch.full_like(others, i), others)
                found.least.index_put_(at, torch.maximum(found.least[at], solution.least.to(found.least.dtype)))
                if solution.proved:
                    solved[i].append(solution)
        return replace(found, cost=bounder.rows, learned=Learned(solved))

    def estimate(self, graph: Graph, region: Any) -> Tensor:
        """At most so many forward rows the margins over the region are worth, (n,) float64: of one interval pass."""
        climbed = TWICE + 1 + STEP * self.steps  # CROWN, its float64, that of what was learned, and the steps
        return cost_of(graph, region, climbed if self.layers == "all" else TWICE, climbed)

    def _climb(self, ascent: Joint) -> None:
        rate = self.rate
        for left in reversed(range(self.steps)):
            with torch.enable_grad():
                value = ascent.look(left + 1)
                if value is None:
                    return
                ascent.climb(value, rate)
            rate *= self.decay
        ascent.look()


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


def _layers(passed: Propagation, bounder: Bounder) -> list[Layer]:
    """What the linear rules read and the bounds leave undecided."""
    masks: dict[str, Layer] = {}
    for node in passed.graph.nodes:
        for ref in bounder.reads(node) if node.varies else []:
            undecided = OPERATIONS[node.op].undecided or has_width
            mask = undecided(node, passed.values[ref.name]).reshape(len(bounder.region.lo), -1)
            masks[ref.name] = (ref, mask | masks[ref.name][1] if ref.name in masks else mask)
    return list(masks.values())


def _problems(wanted: Tensor, apart: bool) -> list[Problem]:
    rows = wanted.any(1).nonzero()[:, 0].tolist()
    whole = [(i, wanted[i].nonzero()[:, 0]) for i in rows]
    return [(i, part, None) for i, others in whole for part in (others.split(1) if apart else [others])]


def _groups(problems: list[Problem], bounder: Bounder, layers: list[Layer]) -> list[list[Problem]]:
    """As many at a time as memory takes; on a CPU single samples that have many rows."""
    limit = bounder.room(before_softmax(bounder.graph)) // 2
    groups: list[list[Problem]] = []
    rows = limit
    for problem in problems:
        count = len(problem[1]) + 2 * sum(int(mask[problem[0]].sum()) for _, mask in layers)
        if rows + count > limit:
            groups.append([])
            rows = 0
        groups[-1].append(problem)
        rows += count
    return groups


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
        classes = torch.arange(passed.graph.out_shape[0], device=y.device)
        other = torch.cat([others for _, others, _ in group])
        a = (classes == y[rows][owner, None]).int() - (classes == other[:, None]).int()
        given = [solution for _, _, solution in group if solution is not None]
        ends = [
            Ends.of(
                ref, [given[at].places[n] if given else mask[i].nonzero()[:, 0] for at, i in enumerate(rows.tolist())]
            )
            for n, (ref, mask) in enumerate(layers)
        ]
        dtype = passed.output.lower.dtype
        slopes = Slopes.joined(s.slopes.to(dtype) for s in given if s.slopes is not None) if given else Slopes()
        values = {
            name: _rows_of(value, rows, len(y))
            for name, value in passed.values.items()
            if name in bounder.read or not isinstance(value, (Interval, tuple))
        }
        return Joint(
            passed.graph, bounder.region.take(rows), values, ends, owner, a.to(dtype), enough[rows].to(dtype), slopes,
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

    @property
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
        spent = torch.full_like(owner, work * GRADIENT, dtype=torch.float64)
        self.cost.index_add_(0, self.number[owner], spent)
        return trusted(least(self.region, inside, rows) + bias)


def _rows_of(value: Any, rows: Tensor, n: int) -> Any:
    """Some rows of an interval (k n, ...), or of a tuple of them."""
    if isinstance(value, tuple):
        return tuple(_rows_of(part, rows, n) for part in value)
    if not isinstance(value, Interval):
        return value
    ends = (end.view(n, -1, *end.shape[1:])[rows].flatten(0, 1) for end in (value.lower, value.upper))
    return Interval(*ends)
