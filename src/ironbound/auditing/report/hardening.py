"""The page of a hardening: both brackets side by side, what they cost, and how the training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ironbound.auditing.report import wording
from ironbound.auditing.report.curves import Series, chart, key
from ironbound.auditing.report.render import page_environment, view_of
from ironbound.auditing.report.schema import Audit
from ironbound.core.version import __version__

LINES = (
    ("under the inner attack, training samples", "attacked", "attacked_accuracy"),
    ("unchanged, training samples", "clean", "clean_accuracy"),
    ("certified by the training's bounds, training samples", "certified", "certified_accuracy"),
    ("under attack, validation rows", "attacked held", "validation_attacked"),
    ("unchanged, validation rows", "clean held", "validation_clean"),
)
FEW = 20
"""Epochs whose rows stand open in the table."""


def render_hardening(
    method: str,
    audits: Mapping[str, Audit],
    history: Sequence[Mapping[str, Any]],
    *,
    best: Mapping[str, Any] | None,
    stopped: str,
    recoveries: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    data: str,
) -> str:
    """One self-contained HTML document; `audits` are "before" and "after", or none. `data` says what was trained on."""
    views = [
        {**view_of(f"a{i}", name, audit, (), 0), "href": f"{name}/report.html"}
        for i, (name, audit) in enumerate(audits.items(), start=1)
    ]
    seconds = sum(row["seconds"] for row in history)
    spent = f"{wording.plural(len(history), 'epoch')}, {wording.duration(seconds)}"
    lead = (
        wording.comparison(list(audits.items()))
        if views
        else "The model was not audited: no figure on this page is evidence of robustness."
    )
    lines = [Series(name, style, [row.get(column) for row in history]) for name, style, column in LINES]
    single = lambda title, column: chart(
        title, [Series(title, "attacked", [row[column] for row in history])], column, shares=False, height=120
    )
    return (
        page_environment()
        .get_template("hardening.html.j2")
        .render(
            title=f"Hardened by {method}", lead=lead, views=views, spent=spent, data=data, best=best, stopped=stopped,
            recoveries=recoveries, settings=flat(settings), version=__version__, epochs=list(history), few=FEW,
            accuracy=chart("Accuracy by epoch", lines, "accuracy", shares=True),
            legend=[(key(one.style), one.name) for one in lines if one.there],
            loss=single("Loss, nats", "loss"), rate=single("Learning rate", "rate"),
            cost=_cost(audits), held=next((row["validation_rows"] for row in history if row.get("validation_rows")), None),
        )
    )  # fmt: skip


def flat(settings: Any, name: str = "") -> dict[str, str]:
    """Nested settings as lines "objective.inner.steps": "7"; what is not set is left out."""
    if isinstance(settings, Mapping):
        found: dict[str, str] = {f"{name}.kind".strip("."): str(settings[""])} if settings.get("") and name else {}
        for field, value in settings.items():
            found |= flat(value, f"{name}.{field}".strip(".")) if field else {}
        return found
    return {} if settings is None or settings == "" else {name: str(settings)}


def _cost(audits: Mapping[str, Audit]) -> list[tuple[str, str, str, float]]:
    """What changed between the two audits: name, before, after, difference in points."""
    if len(audits) != 2:
        return []
    before, after = audits.values()
    kinds = {"Right when clean": "clean", "Right under attack": "attacked", "Certified": "certified"}
    return [
        (
            words,
            wording.percent(before[kind]["fraction"]),  # type: ignore[literal-required]
            wording.percent(after[kind]["fraction"]),  # type: ignore[literal-required]
            100 * (after[kind]["fraction"] - before[kind]["fraction"]),  # type: ignore[literal-required]
        )
        for words, kind in kinds.items()
    ]
