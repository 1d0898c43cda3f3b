"""An audit, and what a gate said of it, as a section of a model card in Markdown."""

from __future__ import annotations

from ironbound.auditing.report.schema import Audit, GateFacts


def markdown(audit: Audit, gate: GateFacts | None = None) -> str:
    """A section to be put into a model card, or a comment of a pull request."""
    raise NotImplementedError
