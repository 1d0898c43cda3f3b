"""`ironbound compare` at the prompt: a table for each scope, and what stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.auditing.report import wording
from ironbound.cli.runs import place_of
from ironbound.cli.settings import CompareSettings
from ironbound.cli.terminal import Terminal
from ironbound.cli.text import shown

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
            out=folder, resume=settings.resume, progress=display.listener(),
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
    if found.folder is not None:
        terminal.say(f"As JSON: {found.folder}/compare.json")


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
    table = new_table("model", "clean", "certified <=", "true <= attacked", "checks", "front")
    for model in models:
        shares = [share_words(model[kind]) for kind in ("clean", "certified", "attacked")]
        so_far = "attacked so far; " if model["doubted"] else ""
        front = {True: "yes", False: "no", None: "not known"}[model["front"]]
        add_row(table, model["name"], *shares, so_far + model["checks"]["state"], front)
    return table


def _further(models: Sequence[dict[str, Any]]) -> Table:
    """Fairness, attacks that were not trained on, and what the training took."""
    table = new_table(
        "model", "worst class clean", "worst class attacked", "held out from training", "training", "per minute"
    )
    for model in models:
        worst = [_worst(model["worst_class"][kind]) for kind in ("clean", "attacked")]
        add_row(table, model["name"], *worst, _held_out(model), _training(model), _per_minute(model))
    return table


def _worst(share: dict[str, Any] | None) -> str:
    if share is None:
        return "one class only"
    return f"{share['class']}: {share_words(share)}"


def _held_out(model: dict[str, Any]) -> str:
    """What is new to the model in this audit: the threat, and what attacks of other kinds found beyond the trained ones."""
    met, share = model["threat_trained_on"], model["held_out"]["broken"]
    if met is None:
        return "not known"
    threat = "" if met == "same" else f"{met}\n"
    if met == "none":
        return "all: trained on no threat"
    if not model["held_out"]["kinds_trained_on"]:
        return f"{threat}all attacks"
    kinds = {stage["kind"] for stage in model["held_out"]["stages"] if stage["trained_on"] is False}
    if not kinds:
        return f"{threat}no other attacks"
    return (
        f"{threat}{', '.join(sorted(kinds))}: {wording.percent(share['fraction'])} broken\n"
        f"{wording.span(share['low'], share['high'])}"
    )


def _training(model: dict[str, Any]) -> str:
    training = model["training"]
    if training is None:
        return "none here" if model["role"] == "start" else "not known"
    took = training["took"]
    return f"{training['method']}, {wording.plural(took['epochs'], 'epoch')}\n{wording.duration(took['seconds'])}"


def _per_minute(model: dict[str, Any]) -> str:
    found = model["robust_per_minute"]["clock"]
    if found is None:
        return ""
    middle, low, high = (
        f"{found[end]:,.0f}" if found["low"] >= 100 else f"{found[end]:.3g}" for end in ("fraction", "low", "high")
    )
    return f"{middle}\n{low} to {high}"


def _transfer(matrix: dict[str, Any]) -> Table:
    table = new_table("found against \\ tried on", *matrix["to"])
    for name, row in zip(matrix["from"], matrix["cells"], strict=True):
        add_row(table, name, *(share_words(cell["of_right"]) for cell in row))
    return table


def share_words(share: dict[str, Any]) -> str:
    """A share with its count and its 95% interval."""
    return f"{wording.percent(share['fraction'])} of {share['total']:,}\n{wording.span(share['low'], share['high'])}"


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
