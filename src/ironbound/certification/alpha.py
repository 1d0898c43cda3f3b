"""Linear bounds with their free slopes optimised: those of the last pass, or those of the layers in between as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ironbound.certification.bounder import Bounder, has_width, swept
from ironbound.certification.crown import ENOUGH, bounded_margins, linear_scale
from ironbound.certification.estimates import STEP, TWICE, cost_of
from ironbound.certification.graph import Graph
from ironbound.certification.interval import Propagation
from ironbound.certification.joint import Joint, Layer, Learned, Problem, Solution
from ironbound.certification.margins import Margins, before_softmax
from ironbound.certification.operations import OPERATIONS
from ironbound.core.errors import UsageError


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
        self,
        graph: Graph,
        region: Any,
        y: Int[Tensor, " n"],
        dtype: torch.dtype,
        learned: Any = None,
        against: Bool[Tensor, "n classes"] | None = None,
    ) -> Margins:
        """Lower bounds of z_y - z_j, each the best of the interval's, CROWN's and the optimised one."""
        passed, bounder = swept(graph, region, dtype)
        found = bounded_margins(passed, bounder, y, against)
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


def _layers(passed: Propagation, bounder: Bounder) -> list[Layer]:
    """What the linear rules on the way to the logits read, and the bounds leave undecided."""
    masks: dict[str, Layer] = {}
    for node in reversed(passed.graph.upto(before_softmax(passed.graph))):
        for ref in bounder.reads(node):
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
