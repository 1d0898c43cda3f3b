"""An audit, and what a gate said of it, as SARIF 2.1.0: what code scanning reads."""

from __future__ import annotations

from ironbound.auditing.report.schema import Audit, GateFacts


def sarif(audit: Audit, gate: GateFacts | None = None, *, source: str | None = None, line: int = 1) -> str:
    """One log with one run. source: the model's file, relative to the repository, where findings are shown, at `line`."""
    raise NotImplementedError
