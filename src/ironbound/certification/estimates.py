"""What backward passes over a set would cost, told before they are run: from one interval pass, and one row of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ironbound.certification.backward import pulled, supported_by
from ironbound.certification.bounder import Bounder
from ironbound.certification.coefficients import Coefficients, Dense, Spots
from ironbound.certification.functionals import Rows
from ironbound.certification.graph import Graph, Node, Ref
from ironbound.certification.ibp import Ibp
from ironbound.certification.interval import propagate
from ironbound.certification.intervals import Interval
from ironbound.certification.margins import before_softmax
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
        torch.stack([method.estimate(graph, of_rows(part, at).at(x[at], model.box)) for part in parts]).sum(0)
        for at in torch.arange(len(x)).split(ROWS)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def cost_of(graph: Graph, region: Any, between: float, last: float) -> Float[Tensor, " n"]:
    """At most so many forward rows linear bounds of all margins are worth, for each input of the region; float64.

    `between` is how often the rows of the layers in between are bounded, `last` how often those of the margins. Rows in
    between are counted where the interval pass leaves values undecided, which are more than there are once earlier layers
    have been narrowed. A row is worth the multiply-adds on its way down, as one row of its kind has them, over those of a
    forward pass.

    Raises UnsupportedOperation where a layer has no linear rule.
    """
    counts = _Counts(graph, region, region.lo.dtype)
    passed = propagate(graph, region.lo, region.hi, before=counts.narrow if between else counts.see)
    assert counts.known is not None
    supported_by(counts.known)
    forward = _forward(graph, region.lo)
    n, logits = len(region.lo), before_softmax(graph)
    total = torch.full((n,), Ibp.cost, dtype=torch.float64, device=region.lo.device)
    for name, rows in counts.rows.items():
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

    rows: dict[str, Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def _narrow(self, node: Node, ref: Ref, undecided: Callable[..., Tensor], box: dict[str, Interval]) -> None:
        wanted = undecided(node, box[ref.name])
        if ref.name in self.done:
            wanted = wanted & ~self.done[ref.name]
        assert ref.shape is not None
        mine = wanted.reshape(len(self.region.lo), -1).sum(1)
        self.rows[ref.name], self.shapes[ref.name] = self.rows.get(ref.name, 0) + mine, ref.shape
        self.done[ref.name] = wanted | self.done.get(ref.name, wanted)

    def price(self, start: str, a: Coefficients) -> int:
        """The multiply-adds of one row from here down to the input."""
        assert self.known is not None
        rows = Rows(self.known, torch.zeros(1, dtype=torch.int64, device=self.region.lo.device))
        return _multiply_adds(lambda: pulled(start, a, rows))


def _forward(graph: Graph, x: Tensor) -> int:
    return max(1, _multiply_adds(lambda: graph.module(x[:1])))


def _multiply_adds(work: Callable[[], Any]) -> int:
    """Of matrix products and convolutions; the other operations of a net cost little beside them."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2
