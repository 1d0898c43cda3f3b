"""Where an assertion is made: nowhere in particular, or in a test that pytest runs, which says where pages go.

Imports nothing heavy: the plugin reads it at the start of every session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIDENCE = 0.95


@dataclass
class Session:
    """What holds for assertions while one test runs."""

    confidence: float = CONFIDENCE
    seed: int = 0
    samples: int | None = None
    folder: Callable[[], Path | None] = lambda: None
    """The folder for pages, made when it is first asked for; None where pages go nowhere."""
    record: Callable[[dict[str, Any]], None] = lambda facts: None
    """Hears the figures of every assertion, as plain data."""
    pages: list[Path] = field(default_factory=list)

    def page(self, given: str | Path | None) -> Path | None:
        """Where the next page goes: what the user gave, else one of the test's own folder that no other page has."""
        if given is not None:
            path = Path(given).expanduser()
            return path if path.suffix.lower() in (".html", ".htm") else path / "found.html"
        folder = self.folder()
        if folder is None:
            return None
        number = len(self.pages) + 1
        self.pages.append(folder / ("found.html" if number == 1 else f"found-{number}.html"))
        return self.pages[-1]


OUTSIDE = Session()
_current: list[Session] = []


def current() -> Session:
    """That of the test which runs now; outside of pytest one that writes nothing."""
    return _current[-1] if _current else OUTSIDE


def enter(session: Session) -> None:
    """From now on this one, until `leave`."""
    _current.append(session)


def leave() -> None:
    """Back to the one before."""
    _current.pop()
