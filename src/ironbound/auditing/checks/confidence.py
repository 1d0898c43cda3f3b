"""How far an evaluation can be believed: one word and one sentence from all its checks."""

from __future__ import annotations

from collections.abc import Sequence

from ironbound.auditing.report.schema import Check, Confidence


def grade(checks: Sequence[Check], blur: float = 0.0) -> Confidence:
    """The grade of all checks together.

    blur: half the width of the attacked share's 95% interval, a fraction. A check that could not tell for want of samples
    alone, but would have seen any gain larger than that, does not lower the grade: what it may have missed is no more than
    what the interval leaves open already.
    """
    failed = [c for c in checks if c["result"] == "fail"]
    unsure = [c for c in checks if c["result"] == "cannot tell"]
    small = [c for c in unsure if c.get("least", 1.0) <= blur]
    red = [c for c in failed if c["severity"] == "red"]
    if red:
        text = f"A check that matters failed ({_names(red)}): the figures are attacked so far, no more."
        return {"grade": "low", "text": text}
    if failed:
        return {"grade": "moderate", "text": f"No red check failed, but these ask for a closer look: {_names(failed)}."}
    if len(unsure) > len(small):
        doubtful = [c for c in unsure if c not in small]
        text = f"Nothing speaks against the figures; some checks could not tell: {_names(doubtful)}."
        return {"grade": "moderate", "text": text}
    if small:
        least = 100 * max(c.get("least", 0.0) for c in small)
        text = (
            f"Every check that applies passed, or had too few samples for its own figure ({_names(small)}): these would have "
            f"seen any gain from {least:.1f} points on, which the interval of the figures, half {100 * blur:.1f} points wide, "
            "leaves open anyhow. That is evidence for the figures, not a proof."
        )
        return {"grade": "high", "text": text}
    return {"grade": "high", "text": "Every check that applies passed. That is evidence for the figures, not a proof."}


def _names(some: Sequence[Check]) -> str:
    return ", ".join(c["name"] for c in some)
