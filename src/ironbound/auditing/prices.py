"""The fixed table of costs by which a pilot, the checks and the curve decide what is worth it: counted rows, never a clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import Tensor

BACKWARD = 2
"""Forward rows that a backward row counts for."""
CHEAP = 0.6
"""Share of its cost that a gradient row has in bfloat16."""
BOUND = 100.0
"""Forward rows that a bound counts for which does not say its own cost."""

Count = TypeVar("Count", float, Tensor)


def counted(forward: Count, backward: Count) -> Count:
    """Rows in the unit of a forward row."""
    return forward + BACKWARD * backward


def spent(pools: Iterable[dict[str, Any]]) -> float:
    """What all stages of all pools ran, in forward rows; of each pool the costs of its stages by name."""
    return sum(counted(costs["forward"], costs["backward"]) for pool in pools for costs in pool.values())
