"""Progress at the prompt: bars where a terminal shows them, a plain line now and then where none does."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Protocol, Self

from ironbound.cli.text import shown
from ironbound.core.progress import Event, Listener, silent

WHOLE = ("pilot", "samples", "checks", "curve", "verify", "train")
"""Stages of a whole run, whose bars stay; the stages of a pool share one bar below them."""
EVERY = 15.0
"""Seconds between two plain lines."""


class Display(Protocol):
    """Something that shows progress while it is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def listener(self, prefix: str = "") -> Listener:
        """What to hand to a verb; `prefix` says which of several runs is meant."""
        ...


def display(console: Any, quiet: bool) -> Display:
    """The right one for where standard error goes."""
    if quiet:
        return Hidden()
    return Bars(console) if console.is_terminal else Lines(console)


class Hidden:
    """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing was opened."""

    def listener(self, prefix: str = "") -> Listener:
        """Deaf."""
        return silent


class Lines(Hidden):
    """One plain line per stage and a quarter of a minute: for logs."""

    def __init__(self, console: Any) -> None:
        self.console, self.since = console, time.monotonic()

    def listener(self, prefix: str = "") -> Listener:
        """Prints what is running, seldom."""

        def heard(event: Event) -> None:
            now = time.monotonic()
            if now - self.since >= EVERY:
                self.since = now
                self.console.print(f"{_named(prefix, event)}: {event.done:,} of {event.total:,}", soft_wrap=True)

        return heard


class Bars:
    """Bars: one for each stage of the whole run, one for what a pool is going through."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.bars = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[note]}", markup=False),
            console=console, refresh_per_second=8, transient=True,
        )  # fmt: skip
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.bars.stop()

    def listener(self, prefix: str = "") -> Listener:
        """Moves the bars."""
        state = {"pool": ""}

        def heard(event: Event) -> None:
            name = _named(prefix, event)
            whole = event.stage.partition(" ")[0] in WHOLE
            key = name if whole else f"{prefix} pool"
            if key not in self.tasks:
                self.tasks[key] = self.bars.add_task(name, note="")
            if not whole and state["pool"] != name:
                state["pool"] = name
                self.bars.reset(self.tasks[key])
            self.bars.update(
                self.tasks[key], description=name, completed=event.done, total=event.total, note=_note(event)
            )
            if event.stage == "checks" and f"{prefix} pool" in self.tasks:
                self.bars.update(self.tasks[f"{prefix} pool"], visible=False)

        return heard


def _named(prefix: str, event: Event) -> str:
    return shown(f"{prefix}: {event.stage}" if prefix else event.stage)


def _note(event: Event) -> str:
    return shown(event.note) if event.note else f"{event.rows:,} rows" if event.rows else ""
