"""What a model costs when clean: the share that another model, mostly the one its training began with, has more right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ironbound.auditing.intervals import CONFIDENCE, clopper_pearson
from ironbound.comparing.found import Found
from ironbound.core.errors import UsageError


def baseline_of(one: Found, scope: Sequence[Found], named: str | None) -> Found | None:
    """What a model is held against: the one that is named, else the one that its training began with; None: nothing."""
    if named is not None:
        chosen = next((other for other in scope if other.name == named), None)
        return None if chosen is one else chosen
    starts = [other for other in scope if other.role == "start" and other.model == one.start]
    return starts[0] if starts and one.role != "start" else None


def must_be_among(named: str | None, found: Sequence[Found]) -> None:
    """Raise UsageError, with the names there are, where the baseline is none of the models."""
    names = list(dict.fromkeys(one.name for one in found))
    if named is not None and named not in names:
        raise UsageError(f"there is no model {named!r} to compare with. There are: {', '.join(names)}.")


def clean_cost(one: Found, baseline: Found | None) -> dict[str, Any] | None:
    """Of all samples, the share right in the baseline alone minus the share right in this model alone, sample by sample."""
    if baseline is None:
        return None
    mine, theirs = (_right(each) for each in (one, baseline))
    common = mine.keys() & theirs.keys()
    lost = sum(theirs[number] and not mine[number] for number in common)
    gained = sum(mine[number] and not theirs[number] for number in common)
    low, high = paired(lost, gained, len(common))
    return {
        "against": baseline.name, "lost": lost, "gained": gained, "total": len(common),
        "difference": (lost - gained) / len(common), "low": low, "high": high,
    }  # fmt: skip


def _right(one: Found) -> dict[int, bool]:
    details = one.audit.details
    return dict(zip(details.index.tolist(), (details.verdict != "wrong").tolist(), strict=True))


def paired(lost: int, gained: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the difference of paired shares: exact ends of each, four at a quarter of the error (Bonferroni).

    It holds with the stated confidence or more at any size, and has a width even where no sample differs.

    >>> [round(end, 3) for end in paired(0, 0, 100)]
    [-0.043, 0.043]
    """
    each = 1 - (1 - confidence) / 2
    (lost_low, lost_high), (gained_low, gained_high) = (clopper_pearson(count, total, each) for count in (lost, gained))
    return float(np.clip(lost_low - gained_high, -1, 1)), float(np.clip(lost_high - gained_low, -1, 1))
