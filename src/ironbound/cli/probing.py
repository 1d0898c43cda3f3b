"""`ironbound probe` at the prompt."""

from __future__ import annotations

from typing import Any

from ironbound.cli.opening import open_data, open_model
from ironbound.cli.settings import ProbeSettings
from ironbound.cli.terminal import Terminal
from ironbound.core.text import shown


def run_probe(settings: ProbeSettings, terminal: Terminal) -> int:
    """What is seen, as a table; 1 where something has to be mended."""
    from ironbound.names import set_of
    from ironbound.probing.verb import probe

    threat = None if settings.threat is None else set_of(settings.threat)
    model = open_model(settings)
    data = open_data(settings.model_copy(update={"samples": None}))
    found = probe(model, data, threat=threat, samples=settings.samples, seed=settings.seed, rows=settings.rows)
    if terminal.json:
        terminal.data(found.as_dict())
        return 0 if found else 1
    terminal.say(f"{found.model} on {found.samples:,} samples of {found.data}", style="bold")
    terminal.out.print(_table(found))
    mend = [finding for finding in found.findings if finding.mend]
    if mend:
        terminal.say(
            f"To mend before figures are believed: {', '.join(dict.fromkeys(one.subject for one in mend))}.", "bold red"
        )
    else:
        better = sum(bool(finding.fix) for finding in found.findings)
        further = f"; {better} {'thing' if better == 1 else 'things'} could be better" if better else ""
        terminal.say(f"Nothing has to be mended{further}.", "green")
    if threat is None:
        terminal.say(
            "Add --threat, such as linf:8/255, to hear which attacks and bounds go with it, and how long an audit takes."
        )
    return 0 if found else 1


def _table(found: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found.findings:
        style = "bold red" if finding.mend else "bold"
        table.add_row(Text(shown(finding.subject), style=style), Text(shown(finding.seen)))
        if finding.fix:
            table.add_row(
                Text("  mend" if finding.mend else "  better", style="cyan"), Text(shown(finding.fix), style="cyan")
            )
    return table
