"""From audits and pictures to one self-contained HTML document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from ironbound.auditing.gaps import weakness
from ironbound.auditing.report import fairness, pictures, wording
from ironbound.auditing.report.closing import closing
from ironbound.auditing.report.evidence import ABOUT, evidence
from ironbound.auditing.report.schema import Audit, Check, GroupFacts, Part
from ironbound.auditing.report.scopes import APART, grouped, titled
from ironbound.showing.attributions import Attributed, panels, signed, title
from ironbound.showing.images import Picture, figures, tables
from ironbound.showing.page import IMAGE_BYTES, environment

FEW_CLASSES = 20  # above that, the worst ones stand first and the full table can be opened

ATTRIBUTED = 4  # a quarter of the bytes for pictures, at most, is for attributions
OPEN, OPEN_VECTORS = 4, 2  # samples whose attributions stand open, as pictures or as tables; the others unfold

RESULTS = ("fail", "cannot tell", "pass", "not applicable")
GALLERY: tuple[Part, ...] = ("broken", "undecided", "certified", "wrong")
SEVERITIES = ("red", "amber", "info")
MEANINGS = {
    "certified": "proven to stay right for every change that the threat allows",
    "undecided": "no attack that was run breaks it, and no proof was found",
    "broken": "right when clean, wrong for a change that was found and can be checked again",
    "wrong": "wrong before any change",
}
UNTRIED = {
    (False, True): {"undecided": "no proof was found, and no attack was run"},
    (True, False): {"undecided": "no attack that was run breaks it, and no bound was run"},
    (False, False): {"undecided": "right when clean; neither attacks nor bounds were run"},
}
"""What it means otherwise where there were no attacks or no bounds: (attacked, bounded)."""


def meanings_of(audit: Audit) -> dict[str, str]:
    """What the verdicts mean in this audit."""
    return {**MEANINGS, **UNTRIED.get((wording.was_attacked(audit), wording.was_bounded(audit)), {})}


def render(audit: Audit, gallery: Sequence[Picture], attributed: Sequence[Attributed] = ()) -> str:
    """One audit as one HTML document: inline style, inline SVG, images inside, no network, no script."""
    return render_many(audit["title"], [(audit["model"]["name"], audit, gallery)], [attributed])


def render_many(
    title: str,
    audits: Sequence[tuple[str, Audit, Sequence[Picture]]],
    attributed: Sequence[Sequence[Attributed]] = (),
) -> str:
    """Several audits as one HTML document: their brackets side by side first, then a section for each.

    attributed: the attributions of each, where there are any.
    """
    if not audits:
        raise ValueError("Got no audit, expected at least one: render_many(title, [(name, audit, pictures)]).")
    room = IMAGE_BYTES // len(audits)
    explained = attributed or [()] * len(audits)
    views = [
        view_of(f"a{i}", name, audit, shown, room, mine)
        for i, ((name, audit, shown), mine) in enumerate(zip(audits, explained, strict=True), start=1)
    ]
    alone = len(views) == 1
    first = audits[0][1]
    tables = tables_of(views)
    lead = wording.sentence(first) if alone else wording.comparison([(name, audit) for name, audit, _ in audits])
    if len(tables) > 1:
        lead = f"{wording.plural(len(views), 'audit')} in {wording.plural(len(tables), 'table')}. {APART}"
    template = page_environment().get_template("report.html.j2")
    choices = max(len(view["gallery"]["classes"]) for view in views)
    return template.render(
        title=title, lead=lead, views=views, tables=tables, alone=alone, first=first, choices=choices
    )


def tables_of(views: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The views by scope, so that unlike figures never stand in one table."""
    scopes = grouped([view["audit"] for view in views])
    if len(scopes) == 1:
        return [{"id": "compare", "title": "Side by side", "text": "", "views": list(views)}]
    tables = []
    for number, places in enumerate(scopes, start=1):
        mine = [views[place] for place in places]
        text = wording.comparison([(view["name"], view["audit"]) for view in mine])
        title = f"Table {number}: {titled(mine[0]['audit'])}"
        tables.append({"id": f"compare-{number}", "title": title, "text": text, "views": mine})
    return tables


@cache
def page_environment() -> Environment:
    """The house's, with what only reports need; only our own SVG is marked as safe."""
    made = environment("ironbound.auditing.report")
    made.filters.update(duration=wording.duration, moment=wording.moment)
    made.globals.update(meanings=MEANINGS, meter=pictures.meter, span=wording.span, strip=pictures.strip)
    made.globals.update(swatch=pictures.swatch, within=within, likeness=wording.likeness, title_of=title, signed=signed)
    return made


def view_of(
    prefix: str, name: str, audit: Audit, gallery: Sequence[Picture], room: int, attributed: Sequence[Attributed] = (),
) -> dict[str, Any]:  # fmt: skip
    """All that the template shows of one audit."""
    explained = list(panels(attributed, room // ATTRIBUTED))
    open_ = OPEN if explained and "sides" in explained[0] else OPEN_VECTORS
    rows = _rows(audit["classes"])
    ranked = sorted(rows, key=weakness)
    return {
        "id": prefix,
        "proofs": wording.proofs(audit),
        "href": f"#{prefix}",
        "name": name,
        "audit": audit,
        "sentence": wording.sentence(audit),
        "found": wording.found(audit),
        "threat": wording.threat(audit),
        "context": wording.context(audit),
        "accuracy": wording.accuracy(audit),
        "upper": wording.upper(audit),
        "lower": wording.lower(audit),
        "attacked": wording.was_attacked(audit),
        "bounded": wording.was_bounded(audit),
        "not_tried": wording.not_tried(audit),
        "meanings": meanings_of(audit),
        "gaps": fairness.gaps(audit),
        "gap_way": fairness.WAY,
        "doubted": wording.doubted(audit),
        "decided": audit["verdicts"]["undecided"] == 0,
        "state": wording.checks_state(audit),
        "bracket": pictures.bracket(audit, prefix),
        "summary": pictures.bracket(audit, f"{prefix}s"),
        "curve": pictures.curve(audit, prefix),
        "against_radius": wording.against_radius(audit),
        "remarks": wording.remarks(audit),
        "closing": closing(audit, prefix),
        "apart": wording.apart(audit),
        "parts": pictures.PARTS,
        "total": sum(audit["verdicts"][part] for part in pictures.PARTS),
        "gallery": gallery_of(audit, gallery, room - sum(panel.get("bytes", 0) for panel in explained)),
        "attributions": wording.attributions(audit),
        "panels": explained[:open_],
        "more_panels": explained[open_:],
        "panels_left_out": len(attributed) - len(explained),
        "classes": rows if len(rows) <= FEW_CLASSES else ranked[:FEW_CLASSES],
        "more_classes": ranked[FEW_CLASSES:],
        "slices": [
            {**found, "rows": _rows(found["groups"]), "gaps": fairness.gaps(audit, found["column"])}
            for found in audit["slices"]
        ],
        "checks": _grouped(audit["checks"]),
        "evidence": evidence(audit),
        "evidence_about": ABOUT,
    }


def gallery_of(audit: Audit, gallery: Sequence[Picture], room: int) -> dict[str, Any]:
    """The samples that are shown, and by what they can be chosen: verdicts and classes that occur, with how many there are."""
    drawn = bool(gallery) and gallery[0].clean.ndim == 3
    made = figures(gallery, room) if drawn else list(tables(gallery, None))
    verdicts = Counter(one["picture"].verdict for one in made)
    labels = Counter(one["picture"].label for one in made)
    known = [name for name in dict.fromkeys(audit["data"]["classes"]) if name in labels]
    names = [*known, *sorted(set(labels) - set(known))]
    number = {name: k for k, name in enumerate(names)}
    samples = [
        {**one, "size": wording.size(audit, one["picture"].size), "choice": number[one["picture"].label]}
        for one in made
    ]
    return {
        "samples": samples,
        "drawn": drawn,
        "left_out": len(gallery) - len(made),
        "verdicts": [(part, verdicts[part], audit["verdicts"][part]) for part in GALLERY if verdicts[part]],
        "classes": [(name, labels[name]) for name in names],
    }


def within(name: str, body: Markup) -> Markup:
    """The sections of one audit among several: each is named after the audit too, so that no two have one name."""
    return Markup(re.sub(r'(<section(?: class="[^"]*")? aria-labelledby=")', rf"\g<1>{name} ", str(body)))


def _rows(groups: Sequence[GroupFacts]) -> list[dict[str, Any]]:
    """Every class or slice; the worst one is marked where there are several."""
    rows = [{**facts, "worst": False} for facts in groups]
    filled = [row for row in rows if row["total"]]
    if len(filled) > 1:
        min(filled, key=weakness)["worst"] = True
    return rows


def _grouped(checks: Sequence[Check]) -> dict[str, list[Check]]:
    """The checks by result, failed ones first, and the more severe ones first within each."""
    ordered = sorted(checks, key=lambda check: (SEVERITIES.index(check["severity"]), check["number"]))
    return {result: [check for check in ordered if check["result"] == result] for result in RESULTS}
