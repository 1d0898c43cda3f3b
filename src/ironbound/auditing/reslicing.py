"""Other slices of a finished run: the results keep the data's columns, so that model and data are not needed."""

from __future__ import annotations

from collections.abc import Sequence

from ironbound.auditing.audit import Audit
from ironbound.auditing.facts import groups_facts
from ironbound.auditing.folder import RunFolder, locked
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.errors import RunError
from ironbound.core.store import write_text


def sliced_by(audit: Audit, columns: Sequence[str]) -> Audit:
    """The same audit with slices by these columns. Nothing is written. Raises UsageError for a column that there is not."""
    verdicts = Verdicts.of(RunFolder.open(audit.folder))
    again = groups_facts(verdicts, audit.facts["data"]["classes"], list(columns))
    return Audit(audit.folder, {**audit.facts, **again})


def keep(audit: Audit) -> None:
    """Write an audit with other slices into its run: audit.json and report.html say the same, and `verify` holds.

    Raises RunError where a file of the run is not what it was when the run was finished: that must not become its new state.
    """
    run = RunFolder.open(audit.folder)
    with locked(run.path):
        if not run.sealed or run.altered():
            raise RunError(
                f"{run.path} was altered since it was finished, or is not finished; its slices are not written into it. See "
                "what is the matter by ironbound verify, or write a page of its own with --out."
            )
        run.replace("audit.json", audit.to_json() + "\n")
        write_text(run.path / "report.html", audit.to_html())
