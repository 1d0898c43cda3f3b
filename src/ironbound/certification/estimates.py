"""What backward passes over a set would cost, told before they are run: from one interval pass, and one row of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.certification.backward import pulled, supported_by
from ironbound.certification.bounder import Bounder
from ironbound.certification.coefficients import Coefficients, Dense, Spots
from ironbound.certification.functionals import Rows
from ironbound.certification.graph import Graph, Node, Ref
from ironbound.certification.ibp import Ibp
from ironbound.certification.interval import propagate
from ironbound.certification.intervals import Interval
from ironbound.certification.margins import before_softmax
from ironbound.certification.regions import region_of
from ironbound.core.protocols import PerturbationSet
from ironbound.core.rows import of_rows
from ironbound.models.model import Model

ENDS = 2
"""Rows of a value whose interval is open: of either end, where the first does not decide it."""
TWICE = 2.0
"""What is near to being certified is bounded in float32 and again in float64."""
STEP = 3.0
"""Passes that a pass with its derivative counts for."""
ROWS = 64


@torch.no_grad()
def estimate(
    method: Any, graph: Graph, model: Model, x: Float[Tensor, "n ..."], set_: PerturbationSet
) -> Float[Tensor, " n"] | None:
    """At most so many forward rows `prove` would take for each input, without radii; None where the method cannot tell.

    Raises UnsupportedOperation where a layer has no linear rule, and the method needs one.
    """
    if not hasattr(method, "estimate"):
        return None
    parts = getattr(set_, "parts", ()) or (set_,)
    found = [
        torch.stack([method.estimate(graph, region_of(of_rows(part, at), x[at], model.box)) for part in parts]).sum(0)
        for at in torch.arange(len(x)).split(ROWS)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def cost_of(graph: Graph, region: Any, between: float, last: float) -> Float[Tensor, " n"]:
    """At most so many forward rows linear bounds of all margins are worth, for each input of the region; float64.

    `between` is how often the rows of the layers in between are bounded, `last` how often those of the margins. Rows in
    between are counted where the interval pass leaves values undecided, which are more than there are once earlier layers
    have been narrowed. A row is worth the multiplications on its way down, as one row of its kind has them, over those of a
    forward pass.

    Raises UnsupportedOperation where a layer has no linear rule.
    """
    counts = _Counts(graph, region, region.lo.dtype)
    passed = propagate(graph, region.lo, region.hi, before=counts.narrow if between else counts.see)
    assert counts.known is not None
    supported_by(counts.known)
    forward = max(counts.known.forward, 1.0)
    n, logits = len(region.lo), before_softmax(graph)
    total = torch.full((n,), Ibp.cost, dtype=torch.float64, device=region.lo.device)
    for name, rows in counts.counts.items():
        shape = counts.shapes[name]
        middle = torch.tensor([prod(shape[:2]) // 2 * prod(shape[2:]) + prod(shape[2:]) // 2], device=rows.device)
        spot = Spots(middle.clamp_max(prod(shape) - 1), torch.ones_like(total[:1]).to(counts.dtype), shape)
        total += between * ENDS * rows * counts.price(name, spot) / forward
    classes = int(passed.output.lower.shape[1])
    one = Dense(torch.ones(1, classes, dtype=counts.dtype, device=region.lo.device))
    return total + last * (classes - 1) * counts.price(logits, one) / forward


@dataclass(eq=False)
class _Counts(Bounder):
    """Counts the values that would be bounded backwards, and bounds none."""

    counts: dict[str, Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def _narrow(self, node: Node, ref: Ref, undecided: Callable[..., Tensor], box: dict[str, Interval]) -> None:
        wanted = self._untried(ref, undecided(node, box[ref.name]))
        assert ref.shape is not None
        mine = wanted.reshape(len(self.region.lo), -1).sum(1)
        self.counts[ref.name], self.shapes[ref.name] = self.counts.get(ref.name, 0) + mine, ref.shape

    def price(self, start: str, a: Coefficients) -> float:
        """The multiplications of one row from here down to the input."""
        assert self.known is not None
        return pulled(start, a, Rows(self.known, torch.zeros(1, dtype=torch.int64, device=self.region.lo.device))).work
