"""The fixed table of costs by which a pilot, the checks and the curve decide what is worth it: counted rows, never a clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

BACKWARD = 2
"""Forward rows that a backward row counts for."""
CHEAP = 0.6
"""Share of its cost that a gradient row has in bfloat16."""
LINEAR = 4.0
"""Forward rows that take as long as the multiply-adds of one, where linear bounds make them: in passes of few rows, between
gathers, a part of them in float64. On the nets of benchmarks/cascade.py 4 to 15."""
BOUND = 100.0
"""Forward rows that a bound counts for which does not say its own cost."""

Count = TypeVar("Count", float, Tensor)


def counted(forward: Count, backward: Count) -> Count:
    """Rows in the unit of a forward row."""
    return forward + BACKWARD * backward


def bounding(proof: Any, method: Any) -> Tensor:
    """What a proof cost each sample, in forward rows, float64 (n,): as it counted itself, or by the fixed table."""
    cost = getattr(proof, "cost", None)
    if cost is not None:
        return torch.as_tensor(cost).double().cpu() * (LINEAR if hasattr(method, "estimate") else 1.0)
    return torch.full((len(proof),), float(getattr(method, "cost", BOUND)), dtype=torch.float64)


def worth(costs: dict[str, Any]) -> float:
    """What a stage ran, in forward rows: of its costs, model rows and bounds together."""
    return float(counted(costs["forward"], costs["backward"]) + costs.get("bounding", 0.0))


def spent(pools: Iterable[dict[str, Any]]) -> float:
    """The same of all stages of all pools; of each pool the costs of its stages by name."""
    return sum(worth(costs) for pool in pools for costs in pool.values())
