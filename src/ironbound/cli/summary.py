"""An audit at the prompt: its sentence, the bracket as text, verdicts, checks and cost, each figure with its context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.intervals import Share
from ironbound.auditing.report import fairness, wording
from ironbound.auditing.report.render import SEVERITIES, meanings_of
from ironbound.cli.terminal import Terminal
from ironbound.core.text import shown

PARTS = ("certified", "undecided", "broken", "wrong")
STYLES = {"certified": "green", "undecided": "yellow", "broken": "red", "wrong": "dim"}
SIGNS = {"certified": "█", "undecided": "▒", "broken": "░", "wrong": "·"}
PLAIN = {"certified": "#", "undecided": "=", "broken": "-", "wrong": "."}
WIDTH = 60
ROOMY = 105
"""Columns from which on a table has room for bars."""
SHOWN = 7
"""Radii of the curve that fit into 80 columns."""
CHECKS = {"fail": "failed", "cannot tell": "could not tell"}
RED = {"red": "bold red", "amber": "yellow", "info": "cyan"}


def summarise(terminal: Terminal, facts: Any, folder: Any) -> None:
    """Everything of one audit."""
    terminal.say(facts["title"], style="bold")
    terminal.say(wording.sentence(facts))
    for note in facts["notes"]:
        terminal.say(f"Note: {note}", style="yellow")
    terminal.say()
    terminal.out.print(bar(terminal, facts))
    terminal.say(bracket(facts))
    terminal.out.print(_verdicts(facts))
    if proofs := wording.proofs(facts):
        terminal.say(proofs)
    for line in weakest(facts):
        terminal.say(line)
    _curve(terminal, facts)
    _checks(terminal, facts)
    for skipped in wording.not_run(facts):
        terminal.say(skipped)
    cost = facts["cost"]
    bounds = f", bounds worth {wording.count(cost['bounding'])} forward rows" if cost.get("bounding") else ""
    terminal.say(
        f"Cost: {wording.count(cost['forward'])} forward and {wording.count(cost['backward'])} backward rows{bounds}, "
        f"{wording.duration(cost['seconds'])}, {wording.duration(cost['cpu'])} of CPU."
    )
    for name, forward, backward, cpu in wording.apart(facts):
        if forward or backward:
            took = "" if cpu is None else f", {wording.duration(cpu)} of CPU"
            terminal.say(f"{name}: {wording.count(forward)} forward and {wording.count(backward)} backward rows{took}.")
    terminal.say(f"Report: {folder}/report.html")


def bracket(facts: Any) -> str:
    """certified <= true <= attacked, with threat, n, interval and the state of the checks."""
    low, high = (wording.percent(facts["bracket"][end]) for end in ("low", "high"))
    upper = f"{high} attacked so far" if wording.doubted(facts) else f"{high} attacked"
    if not wording.was_attacked(facts):
        upper = f"{high} right when clean, no attack was run"
    return f"certified {low} <= true robust accuracy <= {upper}   ({wording.context(facts)})"


def weakest(facts: Any) -> list[str]:
    """By class and by each further column: the worst and the best group and the gap, under attack where there was one."""
    tables = [("class", None), *((found["column"], found["column"]) for found in facts["slices"])]
    said = ((of, fairness.gaps(facts, column)) for of, column in tables)
    return [f"By {shown(of)}. {shown(found[0])}" for of, found in said if found]


def bar(terminal: Terminal, facts: Any, width: int = WIDTH) -> Any:
    """The bracket as one line of signs."""
    from rich.text import Text

    signs = SIGNS if (terminal.out.encoding or "").lower().startswith("utf") else PLAIN
    line = Text()
    for part, length in zip(PARTS, lengths([facts["verdicts"][part] for part in PARTS], width), strict=True):
        line.append(signs[part] * length, style=STYLES[part])
    return line


def lengths(counts: Sequence[int], width: int) -> list[int]:
    """Whole lengths in proportion to the counts, `width` in all; what is there at all has at least one.

    >>> lengths([998, 1, 0, 1], 10)
    [8, 1, 0, 1]
    """
    total = sum(counts)
    if total == 0:
        return [0] * len(counts)
    found = [max(1, count * width // total) if count else 0 for count in counts]
    found[max(range(len(counts)), key=lambda i: counts[i])] += width - sum(found)
    return found


def _verdicts(facts: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    total, means = sum(facts["verdicts"].values()), meanings_of(facts)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for part in PARTS:
        share = Share.of(facts["verdicts"][part], total)
        interval = f"95% interval {wording.span(share.low, share.high)}"
        table.add_row(
            Text(part, style=STYLES[part]), Text(f"{share.count:,} of {total:,}"), Text(wording.percent(share.fraction)),
            Text(interval), Text(means[part], style="dim"),
        )  # fmt: skip
    return table


def _curve(terminal: Terminal, facts: Any) -> None:
    """Both ends of the bracket at some radii, where the audit has a curve; the report has all of them."""
    from rich.table import Table
    from rich.text import Text

    curve = facts.get("curve", {})
    if "radii" not in curve:
        return
    table, own = Table(box=None, show_header=False, padding=(0, 2, 0, 0)), curve["own"]
    shown_ = [k for k in range(len(curve["radii"])) if (k - own) % 2 == 0 or k > own][-SHOWN:]
    table.add_row(Text("radius"), *(Text(f"{curve['radii'][k]:.3g}", style="bold" if k == own else "") for k in shown_))
    for kind in ("attacked", "certified"):
        table.add_row(Text(kind), *(Text(wording.percent(curve[kind][k]["fraction"])) for k in shown_))
    terminal.say()
    widest = max((c["high"] - c["low"]) / 2 for kind in ("attacked", "certified") for c in curve[kind])
    terminal.say(
        f"Against radius ({facts['threat']['norm']}), on {curve['samples']:,} of {curve['total']:,} samples, 95% intervals of "
        f"{100 * widest:.1f} points either way at most, {wording.checks_state(facts)}:"
    )
    terminal.out.print(table)


def _checks(terminal: Terminal, facts: Any) -> None:
    """What failed or could not tell with the next step; of the others their names."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    terminal.say()
    terminal.say(f"Confidence {facts['confidence']['grade']}: {facts['confidence']['text']}", style="bold")
    order = [c for result in CHECKS for c in facts["checks"] if c["result"] == result]
    order.sort(key=lambda c: (list(CHECKS).index(c["result"]), SEVERITIES.index(c["severity"])))
    if terminal.out.width < ROOMY:  # four columns would be one word wide each
        for c in order:
            style = RED[c["severity"]] if c["result"] == "fail" else None
            terminal.say(f"{c['number']} {c['name']}: {CHECKS[c['result']]}", style=style or "bold")
            for word in (c["evidence"], f"Next: {c['next']}" if c["next"] else ""):
                if word:
                    terminal.out.print(Padding(Text(shown(word)), (0, 0, 0, 2)))
    elif order:
        table = Table(show_edge=False, pad_edge=False, header_style="dim")
        for column in ("check", "result", "what was seen", "next"):
            table.add_column(column, overflow="fold")
        for c in order:
            style = RED[c["severity"]] if c["result"] == "fail" else None
            words = (f"{c['number']} {c['name']}", CHECKS[c["result"]], c["evidence"], c["next"])
            table.add_row(
                *(Text(shown(word), style=style or "") if i < 2 else Text(shown(word)) for i, word in enumerate(words))
            )
        terminal.out.print(table)
    for result, word in (("pass", "passed"), ("not applicable", "not applicable")):
        names = [c["name"] for c in facts["checks"] if c["result"] == result]
        if names:
            terminal.say(f"{word} ({len(names)}): {', '.join(names)}", style="dim")


def compared(terminal: Terminal, rows: Sequence[tuple[str, Any, str]], caption: str, last: str = "") -> None:
    """Several audits in one table: name, facts and a further column each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False, header_style="dim", show_lines=True)
    drawn = terminal.out.width >= ROOMY
    for column in ("model", "clean", "certified <=", "true <= attacked"):
        table.add_column(column, no_wrap=True)
    for column in (*([""] if drawn else []), "checks", *([last] if last else [])):
        table.add_column(column)
    for name, facts, further in rows:
        shares = [facts[kind] for kind in ("clean", "certified", "attacked")]
        cells = [f"{wording.percent(s['fraction'])}\n{wording.span(s['low'], s['high'])}" for s in shares]
        cells[-1] += "" if wording.was_attacked(facts) else "\nno attack was run"
        table.add_row(
            Text(shown(name), style="bold"), *map(Text, cells), *([bar(terminal, facts, 20)] if drawn else []),
            Text(wording.checks_state(facts)), *([Text(further)] if last else []),
        )  # fmt: skip
    terminal.say(caption)
    terminal.out.print(table)
    for name, facts, _ in rows:
        for check in facts["checks"]:
            if check["result"] == "fail":
                words = f"{name}: the check {check['name']!r} failed. {check['evidence']} {check['next']}"
                terminal.say(words, style=RED[check["severity"]])
