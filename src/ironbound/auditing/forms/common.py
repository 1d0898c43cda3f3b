"""What the forms say alike: shares with their intervals, what stands beside every figure, times."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from ironbound.auditing.intervals import CONFIDENCE
from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Condition, GateFacts
from ironbound.core.text import shown

NAME = 200
"""Characters of a name that others chose, at most, where it stands in a line."""


def share_words(share: Any, confidence: float = CONFIDENCE) -> str:
    """A share with its count and its interval: "70.1% (701 of 1,000; 95% interval 67.1% to 73.0%)"."""
    interval = wording.span(share["low"], share["high"])
    return (
        f"{wording.percent(share['fraction'])} ({share['count']:,} of {share['total']:,}; {_of(confidence)} {interval})"
    )


def drop_words(drop: list[float], confidence: float = CONFIDENCE) -> str:
    """A paired drop with its interval, in points of a hundred; the ends are rounded outwards."""
    middle, low, high = drop
    down, up = math.floor(1e4 * low + 1e-6) / 100, math.ceil(1e4 * high - 1e-6) / 100
    return f"{100 * middle:.2f} points ({_of(confidence)} {down:.2f} to {up:.2f})"


def _of(confidence: float) -> str:
    return f"{100 * confidence:.6g}% interval"


def _tried(audit: Audit, kind: str) -> str:
    """A fraction, or that nothing was run that could find it."""
    if kind == "attacked" and not wording.was_attacked(audit):
        return "no attack was run"
    if kind == "certified" and not wording.was_bounded(audit):
        return "no bound was run"
    return share_words(audit[kind])  # type: ignore[literal-required]


def beside(audit: Audit) -> dict[str, str]:
    """The figures, and what stands beside every one of them, as words."""
    return {
        "model": audit["model"]["name"],
        "data": audit["data"]["name"],
        "threat": wording.threat(audit),
        "samples": wording.count(audit["attacked"]["total"]),
        "plan": audit["plan"]["name"],
        "seed": str(audit["seed"]),
        **{f"{kind} accuracy": _tried(audit, kind) for kind in ("clean", "attacked", "certified")},
        "checks": wording.checks_state(audit),
        "confidence": audit["confidence"]["grade"],
        **{f"fingerprint of {name}": value for name, value in audit["fingerprints"].items()},
        "ironbound": audit["ironbound"],
    }


def missed(gate: GateFacts) -> list[Condition]:
    """The conditions that are not met; where all are and the gate fails all the same, one that says why."""
    found = [condition for condition in gate["conditions"] if condition["outcome"] != "pass"]
    if found or gate["passed"]:
        return found
    return [{"name": "the gate", "kind": "checks", "outcome": "fail", "reason": gate["reason"]}]


def utc(created: str) -> str:
    """When a run began, as "2026-11-02T09:30:00" in UTC; nothing where that cannot be read."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return ""
    if when.tzinfo is not None:
        when = when.astimezone(UTC)
    return when.replace(tzinfo=None).isoformat(timespec="seconds")


def cleaned(value: Any) -> Any:
    """Plain data with every text in one line and without what steers a terminal; numbers that JSON cannot hold are None."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {shown(key): cleaned(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
