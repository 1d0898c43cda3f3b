"""Progress: one event per chunk of rows. Searches and engines never print."""

from __future__ import annotations

from collections.abc import Callable
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


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listens to nothing."""
