"""The page of a comparison: a table for each scope, drawn by the views and templates of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.report import wording
from ironbound.auditing.report.render import page_environment, view_of
from ironbound.auditing.report.scopes import APART, titled
from ironbound.comparing import words

LEVELS = 10
"""Shades of the matrix; its figures are text, the shade only helps the eye."""


def render_comparison(facts: dict[str, Any], audits: Sequence[Sequence[Any]]) -> str:
    """One self-contained HTML document: no network, no script. `audits` are the facts of each model of each scope."""
    several = len(facts["scopes"]) > 1
    tables = [
        _table(number, scope, mine, several)
        for number, (scope, mine) in enumerate(zip(facts["scopes"], audits, strict=True), start=1)
    ]
    models = sum(len(scope["models"]) for scope in facts["scopes"])
    lead = f"{wording.plural(models, 'audit')} in {wording.plural(len(tables), 'table')}. {APART}"
    return (
        page_environment()
        .get_template("comparison.html.j2")
        .render(
            title="Models side by side", lead=lead if several else facts["scopes"][0]["text"], tables=tables,
            skipped=facts["skipped"], version=facts["ironbound"],
        )
    )  # fmt: skip


def _table(number: int, scope: dict[str, Any], audits: Sequence[Any], several: bool) -> dict[str, Any]:
    """All that the template shows of one scope."""
    rows = scope["models"]
    views = [
        {**view_of(f"s{number}m{place}", row["name"], audit, (), 0), "href": None}
        for place, (row, audit) in enumerate(zip(rows, audits, strict=True), start=1)
    ]
    title = titled(audits[0])
    return {
        "id": f"scope-{number}",
        "title": f"Table {number}: {title}" if several else title,
        "text": scope["text"] if several else "",
        "views": views,
        "rows": [_row(row, view) for row, view in zip(rows, views, strict=True)],
        "unit": rows[0]["robust_per_minute"]["unit"],
        "transfer": _matrix(scope["transfer"]),
        "notes": scope["notes"],
    }


def _row(row: dict[str, Any], view: dict[str, Any]) -> dict[str, Any]:
    """What a model cost and how even it is, in words."""
    gap = row["gap"]["attacked"] if view["attacked"] else row["gap"]["clean"]
    return {
        "name": row["name"],
        "clean_cost": words.clean_cost(row),
        "training": words.training(row),
        "held_out": words.held_out(row),
        "per_minute": words.per_minute(row),
        "front": {True: "yes", False: "no", None: "not known"}[row["front"]],
        "worst": None if gap is None else gap["worst"],
        "gap": words.gap(row),
        "gap_of": "under attack" if view["attacked"] else "when clean",
        "folder": row["folder"],
    }


def _matrix(transfer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The transferability matrix with a shade for each cell."""
    if transfer is None:
        return None
    shade = lambda share: min(LEVELS - 1, int(LEVELS * share["fraction"]))
    cells = [[{**cell, "shade": shade(cell["of_right"])} for cell in row] for row in transfer["cells"]]
    return {**transfer, "rows": list(zip(transfer["from"], cells, strict=True))}
