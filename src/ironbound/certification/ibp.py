"""Interval bound propagation as a method of certification: the cheapest, two passes a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ironbound.certification.graph import Graph
from ironbound.certification.interval import propagate
from ironbound.certification.margins import Margins, margins_of, only, scale_of


@dataclass(frozen=True)
class Ibp:
    """Intervals layer by layer, with the last affine layer folded into the margins.

    Exact on linear models; tight on nets trained for it; proves next to nothing on others.

    >>> Ibp().name
    'ibp'

    Paper: Gowal et al. 2018, "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models"
    (arXiv 1810.12715), sections 3 and 3.1; Mirman et al. 2018, "Differentiable Abstract Interpretation for Provably
    Robust Neural Networks" (ICML), the box domain.
    """

    name = "ibp"
    cost = 4.0
    """Forward rows that a bound is worth: two propagations of centre and radius, the second one in float64."""

    def margins(
        self,
        graph: Graph,
        region: Any,
        y: Int[Tensor, " n"],
        dtype: torch.dtype,
        learned: Any = None,
        against: Bool[Tensor, "n classes"] | None = None,
    ) -> Margins:
        """Lower bounds of z_y - z_j over the region's box, and how large the logits can be there."""
        passed = propagate(graph, region.lo, region.hi, dtype=dtype)
        return Margins(only(margins_of(passed, y), against), scale_of(passed))
