"""What checks may cost: a share of what the verdicts did, in counted rows and never by a clock."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ironbound.auditing.prices import spent
from ironbound.auditing.report.schema import Check, ChecksCost
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.errors import UsageError

SHARE = 0.5
"""Of the cost of the stages that decided the verdicts."""
EXTENTS = ("budget", "full")


def extent_of(text: str) -> str:
    """How far checks go. Raises UsageError for what there is not."""
    if text not in EXTENTS:
        raise UsageError(f"checks are made within a 'budget' or in 'full'; got {text!r}.")
    return text


def budget_of(verdicts: Verdicts, extent: str) -> float:
    """The counted rows that all checks of a run may plan for; none are too many where they are to run in full."""
    if extent_of(extent) == "full":
        return math.inf
    return SHARE * spent(verdicts.costs)


def cost_of(checks: Iterable[Check]) -> ChecksCost:
    """What all checks together ran and took."""
    found = list(checks)
    return {
        "forward": sum(check.get("forward", 0) for check in found),
        "backward": sum(check.get("backward", 0) for check in found),
        "cpu": sum(check.get("cpu", 0.0) for check in found),
    }
