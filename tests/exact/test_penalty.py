"""The penalty attacks where the smallest change is known: linear models, a curved one in two dimensions; L-BFGS beside SciPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

from exact.test_hyperplane import smallest
from exact.test_linear import Two, problem
from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Want
from ironbound.goals import Confident, Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy
from ironbound.oracles import Direct
from ironbound.recipes import convex_surrogate, cw, ead, lbfgs, pgd
from ironbound.searches.lbfgs import Lbfgs
from ironbound.searches.penalty import Bisect, Penalty
from ironbound.sets import L0, L1, L2, Linf
from parity.hearing import Overheard

CLOSE = 1.025


def fewest(x: Tensor, w: Tensor, gap: float) -> float:
    """How many values have to change until <w, change> = gap within [0, 1]."""
    room = torch.where(w * gap > 0, 1 - x, x) * w.abs()
    reach = room.sort(descending=True).values.cumsum(0)
    return float((reach < abs(gap)).sum()) + 1 if float(reach[-1]) >= abs(gap) else float("inf")


# ------------------------------------------------------------------------------------------------- linear models
@pytest.mark.parametrize(
    ("attack", "norm"),
    [
        (cw(200, c=0.1), L2), (cw(200), Linf), (ead(200, c=0.1, beta=1e-3), L1), (ead(200, c=0.1, beta=0.0), L2),
        (lbfgs(60), L2),
    ],
)  # fmt: skip
def test_the_distance_to_a_hyperplane_is_reached(attack: Attack, norm: Any) -> None:
    model, x, y, w, b = problem(Two)
    result = attack.replace(set=norm())(model, x, y)
    for i in range(len(x)):
        best = smallest(norm.norm, x[i], w, -float(x[i] @ w + b), 0.0, 1.0)
        assert bool(result.success[i]) == (best < float("inf"))
        if result.success[i]:
            assert best * (1 - 1e-9) <= float(result.size[i]) <= CLOSE * best
