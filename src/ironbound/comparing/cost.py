"""What a model costs when clean: the share that another model, mostly the one its training began with, has more right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.gate.paired import Drop
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
    """Of all samples, the share right in the baseline alone minus the share right in this model alone, with a paired interval.

    It is the interval of the gate's drops (auditing/gate/paired.py). Nothing is said of a model against itself.
    """
    if baseline is None or baseline.model == one.model:
        return None
    mine, theirs = (_right(each) for each in (one, baseline))
    common = mine.keys() & theirs.keys()
    lost = sum(theirs[number] and not mine[number] for number in common)
    gained = sum(mine[number] and not theirs[number] for number in common)
    drop = Drop.of(lost, gained, len(common))
    return {
        "against": baseline.name, "lost": lost, "gained": gained, "total": drop.total,
        "difference": drop.fraction, "low": drop.low, "high": drop.high,
    }  # fmt: skip


def _right(one: Found) -> dict[int, bool]:
    details = one.audit.details
    return dict(zip(details.index.tolist(), (details.verdict != "wrong").tolist(), strict=True))
