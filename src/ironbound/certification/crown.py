"""Linear bounds by a backward pass, with the layers in between bounded the same way where intervals leave them undecided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.certification.bounder import Bounder, swept
from ironbound.certification.coefficients import Dense
from ironbound.certification.estimates import TWICE, cost_of
from ironbound.certification.graph import Graph
from ironbound.certification.interval import Propagation
from ironbound.certification.margins import Margins, before_softmax, differences, margins_of, only, scale_of
from ironbound.core.judge import TAU

ENOUGH = 2 * TAU
"""Of the logits' scale: a margin that is proved, with room for the tolerance that certificates ask for."""


@dataclass(frozen=True)
class Crown:
    """CROWN: every margin as a linear function of the input, below it on the whole set.

    The functions between the layers are replaced by lines; these need intervals of the values that go into them. With
    intermediate="crown" these are bounded backwards too: where interval bounds leave a value undecided (a ReLU whose
    sign is open), and the better of both is kept. With "ibp" they are the interval bounds' own.

    >>> Crown().name
    'crown'

    Paper: Zhang, Weng, Chen, Hsieh, Daniel 2018, "Efficient Neural Network Robustness Certification with General
    Activation Functions" (arXiv 1811.00866), theorem 3.2; Xu et al. 2020 (arXiv 2002.12920), algorithm 1, on graphs.
    Differs: bounds of the layers in between are intersected with interval bounds, and skipped where those decide.
    """

    intermediate: str = "crown"

    rows: ClassVar[int] = 32
    """Inputs a pass on a CPU, which gains nothing by more; so one hears of it often."""

    @property
    def name(self) -> str:
        """What certificates name as their proof."""
        return "crown" if self.intermediate == "crown" else "crown-ibp"

    def margins(
        self,
        graph: Graph,
        region: Any,
        y: Int[Tensor, " n"],
        dtype: torch.dtype,
        learned: Any = None,
        against: Bool[Tensor, "n classes"] | None = None,
    ) -> Margins:
        """Lower bounds of z_y - z_j over the region, each the better of the interval's and the linear bound."""
        passed, bounder = swept(graph, region, dtype, self.intermediate == "crown")
        return bounded_margins(passed, bounder, y, against)

    def estimate(self, graph: Graph, region: Any) -> Tensor:
        """At most so many forward rows the margins over the region are worth, (n,) float64: of one interval pass."""
        return cost_of(graph, region, TWICE if self.intermediate == "crown" else 0.0, TWICE)


def bounded_margins(passed: Propagation, bounder: Bounder, y: Tensor, against: Tensor | None = None) -> Margins:
    """Margins by intervals, and where these prove nothing by the backward pass as well."""
    found = only(margins_of(passed, y), against)
    scale = scale_of(passed)
    owner, other = (~(found > ENOUGH * scale[:, None])).nonzero().unbind(1)
    if len(owner):
        a = differences(y[owner], other, found.shape[1], bounder.dtype)
        linear = bounder.lower(before_softmax(passed.graph), Dense(a), owner)
        better = torch.maximum(found[owner, other], linear)
        found = found.index_put((owner, other), better)
    close = ((found.amin(1) > 0) & (found.amin(1) <= ENOUGH * scale)).nonzero()[:, 0]
    return Margins(found, linear_scale(passed, bounder, scale, close), bounder.rows)


def linear_scale(passed: Propagation, bounder: Bounder, scale: Tensor, rows: Tensor) -> Float[Tensor, " n"]:
    """The scale with some rows by linear bounds of the logits: intervals of deep nets are larger by orders."""
    if not len(rows) or before_softmax(passed.graph) != passed.graph.output:
        return scale
    classes = passed.graph.out_shape[0]
    both = torch.eye(classes, dtype=bounder.dtype, device=rows.device)
    a = torch.cat([both, -both]).repeat(len(rows), 1)
    low = bounder.lower(passed.graph.output, Dense(a), rows.repeat_interleave(2 * classes))
    return scale.index_copy(0, rows, torch.minimum(scale[rows], (-low).view(len(rows), -1).amax(1)))
