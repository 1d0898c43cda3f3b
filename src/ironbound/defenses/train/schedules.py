"""Learning rates over a training, as factors of the highest one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

Schedule = Literal["constant", "cosine", "cyclic", "step"]
OwnSchedule = Callable[[float], float]
"""The share of all updates that is done, in [0, 1] -> the factor of the rate, >= 0."""


def factor(schedule: Schedule | OwnSchedule, share: float, milestones: Sequence[float], drop: float) -> float:
    """The factor after this share of all updates, in [0, 1].

    >>> [factor("step", share, (0.5, 0.75), 0.5) for share in (0.4, 0.5, 0.9)]
    [1.0, 0.5, 0.25]
    """
    if callable(schedule):
        return float(schedule(share))
    if schedule == "cosine":
        return (1 + math.cos(math.pi * share)) / 2
    if schedule == "cyclic":
        return min(share / 0.4, (1 - share) / 0.6)
    if schedule == "step":
        return float(drop ** sum(share >= milestone for milestone in milestones))
    return 1.0
