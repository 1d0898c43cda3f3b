"""Progress: one event per chunk of rows. Searches and engines never print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something moved on."""

    stage: str
    """What is running: an attack's name, "train", "ibp"."""
    done: int
    """Problems (or steps) that are finished."""
    total: int
    rows: int = 0
    """Model rows run since the stage began, forward, padding left out."""
    note: str = ""
    counts: Mapping[str, int] | None = None
    """What has been found so far in the whole task, by name: {"broken": 31, "certified": 12}. None where it is not known."""


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listens to nothing."""
