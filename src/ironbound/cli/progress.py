"""Progress at the prompt: bars where a terminal shows them, a plain line now and then where none does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from ironbound.core.progress import Event, Listener, silent
from ironbound.core.text import shown

WHOLE = ("pilot", "samples", "checks", "curve", "verify", "train", "tune", "transfer", "report")
"""Stages of a whole run, whose bars stay; the stages of a pool share one bar below them."""
EVERY = 15.0
"""Seconds between two plain lines."""
SETTLED = 5.0
"""Seconds before a guess of the time that is left is worth anything."""


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
    """The right one for where standard error goes. Logs of continuous integration are no terminal, whatever they say."""
    if quiet:
        return Hidden()
    live = console.is_terminal and not console.is_dumb_terminal and not os.environ.get("CI")
    return Bars(console) if live else Lines(console)


class Hidden:
    """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing was opened."""

    def listener(self, prefix: str = "") -> Listener:
        """Deaf."""
        return silent


def is_whole(event: Event) -> bool:
    """Whether it is about the whole run, and not about what a pool is going through."""
    return event.stage.partition(" ")[0] in WHOLE


@dataclass
class Track:
    """What is known of one stage of a run: since when it goes, how far it was then, what was found so far."""

    clock: Callable[[], float] = time.monotonic
    stage: str = ""
    start: float = 0.0
    before: int = 0
    """What was done when the first event came: parts that an earlier run had finished took no time."""
    last: Event | None = field(default=None)

    def hear(self, event: Event) -> Track:
        """Note an event; another stage begins anew."""
        if event.stage != self.stage or (self.last is not None and event.done < self.before):
            self.stage, self.start, self.before = event.stage, self.clock(), event.done
        self.last = event
        return self

    def left(self) -> float | None:
        """Seconds until the stage ends if it goes on as fast; None where nobody can tell."""
        took, event = self.clock() - self.start, self.last
        if event is None or event.done <= self.before or took < SETTLED or event.done >= event.total:
            return None
        return took * (event.total - event.done) / (event.done - self.before)

    def words(self) -> str:
        """ "400 of 1,000, 31 broken, 12 certified, about 2 min left"."""
        event = self.last
        if event is None:
            return ""
        parts = [f"{event.done:,} of {event.total:,}", *found(event)]
        return ", ".join([*parts, *([shown(event.note)] if event.note else []), *time_left(self.left())])


def found(event: Event) -> list[str]:
    """What was found so far: "31 broken"."""
    return [f"{number:,} {shown(name)}" for name, number in (event.counts or {}).items()]


def time_left(seconds: float | None) -> list[str]:
    """A guess in words; nothing where there is none.

    >>> time_left(150.0)
    ['about 3 min left']
    """
    if seconds is None:
        return []
    if seconds < 60:
        return [f"about {max(1, round(seconds))} s left"]
    return [f"about {round(seconds / 60)} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"]


class Lines(Hidden):
    """One plain line a quarter of a minute: for logs. It says what runs now and how far the whole is."""

    def __init__(self, console: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock, self.since = console, clock, clock()

    def listener(self, prefix: str = "") -> Listener:
        """Prints what is running, seldom."""
        whole = Track(self.clock)

        def heard(event: Event) -> None:
            of_all = is_whole(event)
            if of_all:
                whole.hear(event)
            now = self.clock()
            if now - self.since < EVERY:
                return
            self.since = now
            said = whole.words() if of_all else f"{event.done:,} of {event.total:,}{_within(whole)}"
            self.console.print(f"{_named(prefix, event)}: {said}", soft_wrap=True)

        return heard


def _within(whole: Track) -> str:
    """How far the whole is, behind what a pool is going through."""
    return f" ({shown(whole.stage)}: {whole.words()})" if whole.last is not None else ""


class Bars:
    """Bars: one for each stage of the whole run, one for what a pool is going through."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.bars = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[note]}", markup=False),
            console=console, refresh_per_second=8, transient=True,
        )  # fmt: skip
        self.tasks: dict[str, Any] = {}
        self.tracks: dict[str, Track] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.bars.stop()

    def listener(self, prefix: str = "") -> Listener:
        """Moves the bars."""
        state = {"pool": ""}

        def heard(event: Event) -> None:
            name, whole = _named(prefix, event), is_whole(event)
            key = name if whole else f"{prefix} pool"
            if key not in self.tasks:
                self.tasks[key] = self.bars.add_task(name, note="")
                self.tracks[key] = Track()
            if not whole and state["pool"] != name:
                state["pool"] = name
                self.bars.reset(self.tasks[key])
            note = _note(event, self.tracks[key].hear(event) if whole else None)
            self.bars.update(self.tasks[key], description=name, completed=event.done, total=event.total, note=note)
            if event.stage == "checks" and f"{prefix} pool" in self.tasks:
                self.bars.update(self.tasks[f"{prefix} pool"], visible=False)

        return heard


def _named(prefix: str, event: Event) -> str:
    return shown(f"{prefix}: {event.stage}" if prefix else event.stage)


def _note(event: Event, track: Track | None) -> str:
    """What stands behind a bar: what was found, the time that is left, what the part itself says."""
    said = [*found(event), *(time_left(track.left()) if track is not None else [])]
    if event.note:
        said.append(shown(event.note))
    elif event.rows and not said:
        said.append(f"{event.rows:,} rows")
    return ", ".join(said)
