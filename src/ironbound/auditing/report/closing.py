"""How the bracket closed: after each stage, the samples by what had been decided of them, as a strip over the bracket's scale."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ironbound.auditing.report.schema import Audit, Kind, Part

GIVES: dict[Kind, Part] = {"clean": "wrong", "bound": "certified", "attack": "broken"}
"""The verdict that a stage of each kind gives."""
TALL = 22


def closing(audit: Audit, prefix: str) -> list[dict[str, Any]]:
    """For each stage: its facts, the verdict it gives, how many samples it left open, and the strip after it."""
    total = audit["attacked"]["total"]
    so_far: dict[str, int] = dict.fromkeys(("certified", "broken", "wrong"), 0)
    made = []
    for stage in audit["stages"]:
        before, gives = dict(so_far), GIVES[stage["kind"]]
        so_far[gives] = min(so_far[gives] + stage["decided"], total - sum(so_far.values()) + so_far[gives])
        left = total - sum(so_far.values())
        drawn = _strip(before, so_far, left, total, prefix) if total else Markup("")
        made.append({"stage": stage, "gives": gives, "left": left, "strip": drawn})
    return made


def _strip(before: dict[str, int], after: dict[str, int], left: int, total: int, prefix: str) -> Markup:
    """Pale: decided before; strong: by this stage. Certified grows from the left, the rest from the right."""
    pieces = [
        ("certified", before["certified"], "old"),
        ("certified", after["certified"] - before["certified"], "new"),
        ("open", left, "open"),
        ("broken", after["broken"] - before["broken"], "new"),
        ("broken", before["broken"], "old"),
        ("wrong", after["wrong"] - before["wrong"], "new"),
        ("wrong", before["wrong"], "old"),
    ]
    drawn, start = Markup(""), 0.0
    for part, count, age in pieces:
        width = 100 * count / total
        if count:
            fill = Markup("") if part == "open" else Markup(' fill="url(#{}-{})"').format(prefix, part)
            drawn += Markup('<rect x="{}%" width="{}%" height="{}" class="{}"{}/>').format(
                f"{start:.3f}", f"{width:.3f}", TALL, age, fill
            )
        start += width
    return Markup('<svg class="closing" width="100%" height="{}" aria-hidden="true" focusable="false">{}</svg>').format(
        TALL, drawn
    )
