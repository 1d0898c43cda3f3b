"""Which audits may stand side by side: of the same samples, under the same threat, by the same plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit

APART = "Figures of different tables are of other samples, threats or plans, and cannot be compared."


def scope_of(audit: Audit) -> tuple[Any, ...]:
    """What must be equal for two figures to stand side by side."""
    prints = audit["fingerprints"]
    data, threat = prints.get("data", audit["data"]["fingerprint"]), prints.get("threat", audit["threat"]["spec"])
    return data, threat, audit["plan"]["name"], str(audit.get("shard", ""))


def titled(audit: Audit) -> str:
    """A scope in a few words."""
    data = audit["data"]
    return f"{data['name']}, {wording.plural(data['samples'], 'sample')}, {wording.threat(audit)}, plan {audit['plan']['name']}"


def grouped(audits: Sequence[Audit]) -> list[list[int]]:
    """The places of the audits of each scope, in order of the first."""
    scopes: dict[Any, list[int]] = {}
    for place, audit in enumerate(audits):
        scopes.setdefault(scope_of(audit), []).append(place)
    return list(scopes.values())
