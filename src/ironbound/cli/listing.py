"""`ironbound list`: what has a name, with what it sees, on which sets it runs and what it costs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ironbound.cli.terminal import Terminal
from ironbound.core.errors import UsageError
from ironbound.core.text import shown

if TYPE_CHECKING:
    from ironbound.probing.facts import Fact

ROOMY = 110
"""Columns from which on a table has room for what an attack is for."""
IMAGES = ("rotation", "translation", "spatial", "flow", "color", "brightness", "blur")
LEGEND = {
    "attacks": "Passes: forward/backward rows of a sample that does not break, at default settings, counted with ten classes. "
    "Empty where that hangs on the set or the data. "
    "white-box: needs gradients; scores: the numbers behind the answer; decisions: the answer alone.",
    "bounds": "Worth: what they do for a sample, as forward rows, on a small net; more where more values are undecided.",
    "defenses": "Passes: forward rows a sample and epoch, counted; empty where that hangs on what the training is given.",
}
"""What the numbers of a table mean."""


def run_list(kind: str | None, norm: str | None, access: str | None, terminal: Terminal) -> int:
    """The tables that were asked for."""
    from ironbound.probing.facts import KINDS, facts

    chosen = _kind(kind, dict(KINDS))
    _known("--norm", norm, ("linf", "l2", "l1", "l0", *IMAGES, "corruption", "finite", "patch"))
    _known("--access", access, ("white-box", "scores", "decisions"))
    found = [
        fact
        for fact in facts(chosen)
        if (norm is None or norm in fact.sets or (fact.verb == "set" and fact.name == norm))
        and access in (None, fact.access)
    ]
    if terminal.json:
        terminal.data([fact.as_dict() for fact in found])
        return 0
    if not found:
        terminal.say(f"Nothing fits{_asked(norm, access)}.")
        return 0
    tables = [(name, [fact for fact in found if fact.verb == verb]) for name, verb in KINDS.items()]
    for name, mine in ((name, mine) for name, mine in tables if mine):
        if chosen is None:
            terminal.say(name.capitalize(), style="bold")
        terminal.out.print(_table(name, mine, terminal.out.width))
        if name in LEGEND:
            terminal.say(LEGEND[name], style="dim")
        terminal.say()
    return 0


def _kind(kind: str | None, kinds: dict[str, str]) -> str | None:
    """The kind that is meant: by its own name, or by the verb that it is for."""
    if kind is None or kind in kinds:
        return kind
    for name, verb in kinds.items():
        if kind == verb:
            return name
    _known("", kind, (*kinds, *kinds.values()))
    return None


def _known(flag: str, given: str | None, names: Sequence[str]) -> None:
    """Raise UsageError for a word that is none of these."""
    if given is None or given in names:
        return
    near = difflib.get_close_matches(given, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if not flag:
        raise UsageError(f"there is no kind and no verb {given!r}.{hint} There are {', '.join(names)}.")
    raise UsageError(f"{flag} is one of {', '.join(names)}; got {given!r}.{hint}")


def _asked(norm: str | None, access: str | None) -> str:
    said = [f"--{name} {value}" for name, value in (("norm", norm), ("access", access)) if value is not None]
    return f" {' '.join(said)}" if said else ""


def _table(kind: str, found: Sequence[Fact], width: int) -> Any:
    """The facts of a kind; where there is no room for what an attack is for, its paper alone."""
    from rich.table import Table
    from rich.text import Text

    table, last = Table(show_edge=False, pad_edge=False, header_style="dim"), "what for, and where from"
    columns = {
        "attacks": ("name", "access", "threats", "passes", last if width >= ROOMY else "paper"),
        "bounds": ("name", "threats", "worth", last),
        "defenses": ("name", "passes", last),
        "sets": ("name", "example", "what for"),
        "plans": ("name", "what for"),
    }[kind]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "access", "passes", "worth"))
    cells = {"name": _name, "access": lambda fact: fact.access or "", "threats": _threats, "passes": _passes,
             "worth": _passes,
             "example": lambda fact: fact.example, "paper": lambda fact: fact.paper or "", "what for": lambda fact: fact.summary,
             "what for, and where from": lambda fact: f"{fact.summary} {fact.paper or ''}".strip()}  # fmt: skip
    for fact in found:
        table.add_row(*(Text("\n".join(map(shown, cells[column](fact).split("\n")))) for column in columns))
    return table


def _name(fact: Fact) -> str:
    return "\n".join((fact.name, *(f" or {alias}" for alias in fact.aliases)))


def _threats(fact: Fact) -> str:
    """The sets; changes of images as one where all of them go."""
    names = [name for name in fact.sets if name not in IMAGES or not set(IMAGES) <= set(fact.sets)]
    said = [*names, *(["images"] if set(IMAGES) <= set(fact.sets) else [])]
    return (", one for all: " if fact.one_for_all else "").lstrip(", ") + " ".join(said)


def _passes(fact: Fact) -> str:
    if fact.forward is None:
        return ""
    return f"{fact.forward:,.0f}" if fact.backward is None else f"{fact.forward:,.0f}/{fact.backward:,.0f}"
