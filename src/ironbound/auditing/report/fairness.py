"""The fairness gap in words: which group holds least, which most, and how far apart they are beyond chance."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Extreme, GapFacts

WAY = (
    "Fairness gap: the best group's share minus the worst one's. The 95% interval of the gap is exact and knows that the two "
    "were picked among all groups (exact binomial tests of each pair, Bonferroni below); those of the two groups hold for all "
    "groups at once."
)
WORDS = {"clean": "when clean", "attacked": "under attack"}


def gaps(audit: Audit, column: str | None = None) -> list[str]:
    """A sentence for each gap of one table: by class (None) or by a column; the one under attack first.

    Where no attack was run, only the clean one: the other would be the same figure under another name.
    """
    found = [gap for gap in audit.get("gaps", []) if gap["column"] == column]
    shown = [gap for gap in found if gap["share"] == "clean" or wording.was_attacked(audit)]
    return [sentence(gap, wording.doubted(audit)) for gap in sorted(shown, key=lambda gap: gap["share"])]


def sentence(gap: GapFacts, doubted: bool = False) -> str:
    """One gap: both groups with their counts and intervals, and the gap with its own."""
    when = WORDS[gap["share"]] + (", so far" if doubted and gap["share"] == "attacked" else "")
    if gap["worst"]["name"] == gap["best"]["name"]:
        return (
            f"Right {when}: all {gap['groups']:,} hold alike, such as {_named(gap['worst'])}. Fairness gap {size(gap)} "
            f"(95% interval {ends(gap)})."
        )
    words = (
        f"Right {when}: the worst of {gap['groups']:,} is {_named(gap['worst'])}, the best {_named(gap['best'])}. Fairness gap "
        f"{size(gap)} (95% interval {ends(gap)})"
    )
    return f"{words}: chance alone may explain it." if gap["low"] == 0 else f"{words}."


def size(found: Any) -> str:
    """A difference of shares alone: "47.0 points"."""
    return f"{100 * found['difference']:.1f} points"


def ends(found: Any) -> str:
    """The ends of its interval in points of 100, rounded outwards: "24.1 to 66.2"."""
    low, high = floor(1000 * found["low"] + 1e-9), ceil(1000 * found["high"] - 1e-9)
    return f"{low / 10:.1f} to {high / 10:.1f}"


def _named(group: Extreme) -> str:
    return (
        f"{group['name']} ({group['count']:,} of {group['total']:,}, {wording.percent(group['fraction'])}, 95% interval "
        f"{wording.span(group['low'], group['high'])})"
    )
