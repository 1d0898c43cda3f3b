"""`ironbound gate`: one line that says whether a run passes and why, and the same in the forms that pipelines read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ironbound.cli.settings import GateSettings
from ironbound.cli.terminal import Terminal

if TYPE_CHECKING:
    from ironbound.auditing.gate import Gate

STYLES = {"pass": "green", "cannot tell": "yellow"}


def run_gate(run: str, settings: GateSettings, terminal: Terminal) -> int:
    """0 where the run passes, 1 where it does not. What cannot be read or compared raises, which is 2."""
    from ironbound.auditing.gate import gate

    found = gate(run, **settings.asked())
    _write_forms(found, settings)
    if terminal.json:
        terminal.data(found.facts)
        return 0 if found else 1
    terminal.say(found.reason, style="green" if found else "bold red")
    for condition in found.conditions if len(found.conditions) > 1 else ():
        terminal.note(f"  {condition['outcome']}: {condition['reason']}", style=STYLES.get(condition["outcome"], "red"))
    return 0 if found else 1


def _write_forms(found: Gate, settings: GateSettings) -> None:
    """The files that were asked for, whatever the gate said."""
    from ironbound.auditing.audit import Audit
    from ironbound.core.store import write_text

    if not (settings.junit or settings.sarif or settings.markdown):
        return
    audit = Audit.load(found.facts["run"])
    forms = (
        (settings.junit, lambda: audit.to_junit(found)),
        (settings.sarif, lambda: audit.to_sarif(found, source=settings.source)),
        (settings.markdown, lambda: audit.to_markdown(found)),
    )
    for path, make in forms:
        if path is not None:
            write_text(Path(path).expanduser(), make())
