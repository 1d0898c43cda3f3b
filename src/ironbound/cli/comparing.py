"""`ironbound compare` at the prompt: a table for each scope, and what stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.cli.runs import place_of
from ironbound.cli.settings import CompareSettings
from ironbound.cli.terminal import Terminal
from ironbound.core.text import shown

if TYPE_CHECKING:
    from rich.table import Table

    from ironbound.comparing import Comparison


def place_of_comparison(settings: CompareSettings) -> Path | None:
    """Where further audits go; None where there are none and no folder was named."""
    if settings.out is None and not (settings.threat or settings.method or settings.resume):
        return None
    return place_of("compare", settings.out, settings.resume)


def run_compare(runs: Sequence[str], settings: CompareSettings, terminal: Terminal, folder: Path | None) -> int:
    """The comparison as a table, or as JSON."""
    from ironbound.comparing import compare
    from ironbound.names import plan_named, set_of

    threats = [set_of(threat) for threat in settings.threat]
    with terminal.progress() as display:
        found = compare(
            runs, threats=threats, methods=settings.method, audit=plan_named(settings.audit), transfer=settings.transfer,
            baseline=settings.baseline, out=folder, resume=settings.resume, progress=display.listener(),
        )  # fmt: skip
    if terminal.json:
        terminal.data({**({} if folder is None else {"folder": str(folder)}), **found.facts})
        return 0
    say_comparison(terminal, found)
    return 0


def say_comparison(terminal: Terminal, found: Comparison) -> None:
    """Every scope by itself."""
    several = len(found.scopes) > 1
    if several:
        terminal.say(
            f"{len(found.scopes)} tables, of different samples, threats or plans. Figures of different tables are not comparable."
        )
    for number, scope in enumerate(found.scopes, 1):
        if several:
            terminal.say()
        _say_scope(terminal, scope, f"Table {number}: " if several else "")
    for left in found.facts["skipped"]:
        terminal.say(f"Left out: {left['why']}", style="yellow")
    if found.folder is not None:
        terminal.say(f"As a page: {found.folder}/compare.html; as JSON: {found.folder}/compare.json")


def _say_scope(terminal: Terminal, scope: dict[str, Any], number: str) -> None:
    terminal.say(f"{number}{scope['data']['name']}, {scope['threat']['spec']}, plan {scope['plan']}", style="bold")
    terminal.say(scope["text"])
    terminal.out.print(_brackets(scope["models"]))
    terminal.say(f"Below: under the same threat, on the same samples. Per minute: {_unit(scope)}, by the clock.")
    terminal.out.print(_further(scope["models"]))
    if scope["transfer"] is not None:
        terminal.say(f"Transfer. {scope['transfer']['way']}")
        terminal.out.print(_transfer(scope["transfer"]))
    for note in scope["notes"]:
        terminal.say(f"Note: {note}", style="dim")


def _unit(scope: dict[str, Any]) -> str:
    return str(scope["models"][0]["robust_per_minute"]["unit"])


def _brackets(models: Sequence[dict[str, Any]]) -> Table:
    """The brackets, with the state of the checks."""
    from ironbound.comparing import words

    table = new_table("model", "clean", "clean cost", "certified <=", "true <= attacked", "checks", "front")
    for model in models:
        clean, certified, attacked = (words.share(model[kind]) for kind in ("clean", "certified", "attacked"))
        attacked = attacked if model["ran"]["attacks"] else "no attack was run"
        certified = certified if model["ran"]["bounds"] else "no bound was run"
        so_far = "attacked so far; " if model["doubted"] and model["ran"]["attacks"] else ""
        front = {True: "yes", False: "no", None: "not known"}[model["front"]]
        cells = (clean, words.clean_cost(model), certified, attacked, so_far + model["checks"]["state"], front)
        add_row(table, model["name"], *cells)
    return table


def _further(models: Sequence[dict[str, Any]]) -> Table:
    """Fairness, attacks that were not trained on, and what the training took."""
    from ironbound.comparing import words

    table = new_table(
        "model", "worst class clean", "worst class attacked", "fairness gap", "held out from training", "training",
        "per minute",
    )  # fmt: skip
    for model in models:
        worst = [words.worst(model, kind) for kind in ("clean", "attacked")]
        add_row(
            table,
            model["name"],
            *worst,
            words.gap(model),
            words.held_out(model),
            words.training(model),
            words.per_minute(model),
        )
    return table


def _transfer(matrix: dict[str, Any]) -> Table:
    from ironbound.comparing import words

    table = new_table("found against \\ tried on", *matrix["to"])
    for name, row in zip(matrix["from"], matrix["cells"], strict=True):
        add_row(table, name, *(words.share(cell["of_right"]) for cell in row))
    return table


def new_table(*columns: str) -> Table:
    """A table whose cells may have several lines."""
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, header_style="dim", show_lines=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def add_row(table: Table, name: str, *cells: str) -> None:
    """A row; its first cell is its name."""
    from rich.text import Text

    table.add_row(Text(shown(name), style="bold"), *(_lines(cell) for cell in cells))


def _lines(cell: str) -> Any:
    """A cell of several lines; what steers terminals is written out in each."""
    from rich.text import Text

    return Text("\n".join(shown(line) for line in cell.split("\n")))
