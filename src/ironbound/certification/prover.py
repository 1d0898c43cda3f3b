"""What `prove` does with a chunk of inputs: a forward pass, a screen in float32, the proof in float64, and radii."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ironbound.certification.graph import Graph, evaluate
from ironbound.certification.margins import Margins, only
from ironbound.certification.radius import Bracket, confirmed, narrowed
from ironbound.certification.regions import inside, region_of, scales, widened
from ironbound.core.errors import UsageError
from ironbound.core.judge import TAU
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rows import flat, of_rows
from ironbound.models.model import Model

SLACK = 1e-3
"""Rows whose float32 margin is within this share of the scale of being proved go to float64, so that the screen loses none."""
STEPS = 12
"""Halvings that a radius is worth: to 1/4096 of the set's own; twice as many where that is infinite."""


@dataclass(frozen=True, eq=False)
class Pass:
    """The least margin and the logits' scale of each row, both float64, and what the method learned."""

    margin: Tensor
    scale: Tensor
    cost: Tensor
    """Forward passes that each row was worth, float64."""
    learned: Any = None

    @property
    def gap(self) -> Tensor:
        """By how much the margin exceeds the tolerance: proved where > 0 in float64. -inf for NaN."""
        return (self.margin - TAU * self.scale).nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)

    def take(self, rows: Tensor) -> Pass:
        """Of some rows."""
        return Pass(self.margin[rows], self.scale[rows], self.cost[rows], _taken(self.learned, rows))


@dataclass(frozen=True, eq=False)
class Labels:
    """What is asked of each row: that y wins over all other classes, or over those of `against` alone."""

    y: Tensor
    against: Tensor | None = None
    """Bool (n, classes)."""

    def __getitem__(self, rows: Tensor) -> Labels:
        return Labels(self.y[rows], None if self.against is None else self.against[rows])

    @property
    def only(self) -> dict[str, Tensor]:
        """What a method is told beyond the label: nothing where all other classes count."""
        return {} if self.against is None else {"against": self.against}

    def to(self, device: torch.device) -> Labels:
        """The same on another device."""
        return Labels(self.y.to(device), None if self.against is None else self.against.to(device))


@dataclass(frozen=True, eq=False)
class Prover:
    """What all chunks share; `exact` is the graph with float64 weights."""

    method: Any
    model: Model
    graph: Graph
    exact: Graph

    def chunk(self, x: Tensor, y: Labels, set_: PerturbationSet, radii: bool) -> dict[str, Tensor]:
        """Columns of `Certificates`: certified, radius, margin, cost. Of inputs that are wrong already nothing is bounded."""
        x, y = x.to(self.model.device, self.model.dtype), y.to(self.model.device)
        clean = self._clean(x, y)
        certified, radius = torch.zeros_like(clean.margin, dtype=torch.bool), torch.zeros_like(clean.margin)
        right = (clean.margin > 0).nonzero()[:, 0]
        if not len(right):
            region_of(of_rows(set_, torch.tensor([0])), x[:1], self.model.box)  # may refuse the set
            return {"certified": certified, "radius": radius, "margin": clean.margin, "cost": clean.cost}
        rows = _Rows(self, of_rows(set_, right.cpu()), x[right], y[right], clean.take(right))
        proof = rows.proved()
        reached = torch.where(proof.gap > 0, rows.wide.radius, 0.0)
        if radii and scales(rows.wide):
            rest = ((proof.gap <= 0) & (rows.clean.gap > 0)).nonzero()[:, 0]
            reached[rest] = rows.reach(rest, proof.gap[rest])
        return {
            "certified": certified.index_copy(0, right, proof.gap > 0),
            "radius": radius.index_copy(0, right, reached),
            "margin": clean.margin.index_copy(0, right, proof.margin.nan_to_num(nan=-math.inf, posinf=math.inf)),
            "cost": clean.cost.index_add(0, right, proof.cost),
        }

    def _clean(self, x: Tensor, labels: Labels) -> Pass:
        """At the inputs themselves; -inf where they are not finite or not in the model's range, and for NaN."""
        with torch.autocast(x.device.type, enabled=False):
            out = evaluate(self.graph, x)
        y = labels.y[:, None]
        margins = only(out.gather(1, y) - out, labels.against).scatter(1, y, math.inf)
        margin = margins.amin(1).double().nan_to_num(nan=-math.inf)
        margin = margin.masked_fill(~inside(x, self.model.box), -math.inf)
        return Pass(margin, out.abs().amax(1).double(), torch.ones_like(margin))

    def bounded(self, region: Any, asked: Labels, dtype: torch.dtype, learned: Any = None) -> Pass:
        """One pass of the method; -inf where the region is empty."""
        graph = self.exact if dtype == torch.float64 else self.graph
        answer: Margins = self.method.margins(graph, region, asked.y, dtype, learned, **asked.only)
        empty = flat(region.lo > region.hi).any(1)
        margin = answer.least.amin(1).double().masked_fill(empty, -math.inf)
        cost = torch.as_tensor(answer.cost, dtype=torch.float64, device=margin.device).expand_as(margin)
        return Pass(margin, answer.scale.double(), cost, answer.learned)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Inputs that the model gets right."""

    prover: Prover
    set_: PerturbationSet
    x: Tensor
    y: Labels
    clean: Pass

    @cached_property
    def wide(self) -> Any:
        """The regions in float64, which is what is proved."""
        return region_of(self.set_, self.x.double(), self.prover.model.box)

    @cached_property
    def narrow(self) -> Any:
        """The regions in float32, by which is screened."""
        return region_of(self.set_, self.x, self.prover.model.box)

    @property
    def screens(self) -> bool:
        """Whether float32 is of use: not for models of higher precision, nor where the method does not want it."""
        return self.prover.model.dtype != torch.float64 and getattr(self.prover.method, "screens", True)

    def proved(self) -> Pass:
        """In float64 for the rows that may be proved; with a gap > 0 only for those that are."""
        if not self.screens:
            return self.prover.bounded(widened(self.wide), self.y, torch.float64)
        screen = self.prover.bounded(self.narrow, self.y, torch.float32)
        far = screen.margin < (TAU - SLACK) * screen.scale  # which NaN is not: float64 may know
        near = (~far).nonzero()[:, 0]
        margin, scale, cost = screen.margin.clone(), screen.scale.clone(), screen.cost.clone()
        if len(near):
            learned = _taken(screen.learned, near)
            exact = self.prover.bounded(widened(self.wide.take(near)), self.y[near], torch.float64, learned)
            margin[near], scale[near] = exact.margin, exact.scale
            cost[near] += exact.cost
        return Pass(margin, scale, cost)

    def reach(self, rows: Tensor, gap: Tensor) -> Tensor:
        """The largest radius that float64 proves, of rows that are not proved; float32 looks for the place."""
        if not len(rows):
            return gap
        wide, clean = self.wide.take(rows), self.clean.gap[rows]
        most, step = self._ceiling(wide), getattr(wide, "step", 0.0)
        width = most * 2.0 ** -(STEPS if bool(wide.radius.isfinite().all()) else 2 * STEPS)
        bracket = Bracket(torch.zeros_like(most), most, clean, gap)
        if not self.screens:
            low = narrowed(Gaps(self, wide, rows, torch.float64), bracket, width, step).low
            return self._made(wide, low)
        screen = Gaps(self, self.narrow.take(rows), rows, torch.float32)
        low = narrowed(screen, bracket, width, step).low
        for some, learned in screen.found(low):
            exact = Gaps(self, wide.take(some), rows[some], torch.float64, learned)
            gaps = exact(torch.arange(len(some), device=some.device), low[some])
            below = Bracket(torch.zeros_like(gaps), low[some], clean[some], gaps)
            low[some] = confirmed(exact, below, width[some], step)
        return self._made(wide, low)

    @staticmethod
    def _made(region: Any, radius: Tensor) -> Tensor:
        made: Tensor = region.scaled(radius).radius  # of L0 a whole number
        return made

    def _ceiling(self, region: Any) -> Tensor:
        """The radius, or where that is infinite one beyond which the set does not grow."""
        radius: Tensor = region.radius.clone()
        if bool(radius.isfinite().all()):
            return radius
        box = self.prover.model.box
        if box is None:
            raise UsageError(
                "the set and the model's range are both infinite, and bounds need an end. Give the set an eps."
            )
        diagonal = (box[1] - box[0]) * math.sqrt(flat(region.lo).shape[1])
        return radius.clamp_max(getattr(region, "widest", diagonal))


@dataclass(eq=False)
class Gaps:
    """By how much the bounds of some rows exceed the tolerance, at radii that are asked for one after the other."""

    rows: _Rows
    region: Any
    index: Tensor
    """Which rows."""
    dtype: torch.dtype
    learned: Any = None
    """For all of them, to be used as it is."""
    asked: list[tuple[Tensor, Tensor, Any]] = field(default_factory=list)
    """Which, at what radius, and what was learned there."""

    def __call__(self, some: Tensor, radius: Tensor) -> Tensor:
        """Of these of the rows."""
        made = self.region.take(some).scaled(radius)
        made = widened(made) if self.dtype == torch.float64 else made
        y = self.rows.y[self.index[some]]
        found = self.rows.prover.bounded(made, y, self.dtype, _taken(self.learned, some))
        self.asked.append((some, radius, found.learned))
        return found.gap

    def found(self, radius: Tensor) -> list[tuple[Tensor, Any]]:
        """Rows with a radius above 0, and what was learned of them there: all in one where methods learn nothing."""
        if all(learned is None for _, _, learned in self.asked):
            some = (radius > 0).nonzero()[:, 0]
            return [(some, None)] if len(some) else []
        groups = []
        for some, at, learned in self.asked:
            mine = (radius[some] == at).nonzero()[:, 0]
            groups.append((some[mine], learned.take(mine)))
        return [group for group in groups if len(group[0])]


def _taken(learned: Any, rows: Tensor) -> Any:
    return None if learned is None else learned.take(rows)
