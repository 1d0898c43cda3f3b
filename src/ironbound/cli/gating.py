"""`ironbound gate`: one line that says whether a run passes and why, and the same in the forms that pipelines read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ironbound.cli.settings import GateSettings
from ironbound.cli.terminal import Terminal

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


def _write_forms(found: Any, settings: GateSettings) -> None:
    """The files that were asked for, whatever the gate said."""
    from ironbound.auditing.audit import Audit
    from ironbound.auditing.forms.junit import junit
    from ironbound.auditing.forms.markdown import markdown
    from ironbound.auditing.forms.sarif import sarif
    from ironbound.auditing.forms.source import place_of
    from ironbound.core.store import write_bytes

    if not (settings.junit or settings.sarif or settings.markdown):
        return
    folder = Path(found.facts["run"])
    facts: Any = Audit.load(folder).facts
    if settings.junit:
        write_bytes(Path(settings.junit).expanduser(), junit(facts, found.facts).encode())
    if settings.sarif:
        source, line = place_of(folder)
        text = sarif(facts, found.facts, source=source, line=line)
        write_bytes(Path(settings.sarif).expanduser(), text.encode())
    if settings.markdown:
        write_bytes(Path(settings.markdown).expanduser(), markdown(facts, found.facts).encode())
