"""An audit, and what a gate said of it, as JUnit XML: what Jenkins and GitLab read."""

from __future__ import annotations

from ironbound.auditing.report.schema import Audit, GateFacts


def junit(audit: Audit, gate: GateFacts | None = None) -> str:
    """One XML document: a test suite for the checks, and one for the gate's conditions where there is a gate."""
    raise NotImplementedError
