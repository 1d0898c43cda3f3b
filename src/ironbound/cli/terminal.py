"""Where a command's words go: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ironbound.cli.progress import Display, display
from ironbound.core.text import encoded, shown

WIDE = 120
"""Columns where no terminal says how many there are."""


@dataclass(frozen=True)
class Terminal:
    """How a command was told to speak."""

    json: bool = False
    quiet: bool = False

    @cached_property
    def out(self) -> Any:
        """Results."""
        return console()

    @cached_property
    def err(self) -> Any:
        """Progress, notes and errors."""
        return console(stderr=True)

    def progress(self) -> Display:
        """A display, to be opened by `with`."""
        return display(self.err, self.quiet)

    def data(self, content: Any) -> None:
        """The result as JSON."""
        self.out.print(json.dumps(content, indent=2, ensure_ascii=True), soft_wrap=True)

    def text(self, content: str) -> None:
        """The result as it is, byte by byte: for a file or the next program, by `>` or `|`."""
        binary = getattr(self.out.file, "buffer", None)
        if binary is None:  # a stream of characters alone, as notebooks have
            self.out.file.write(content)
            return
        self.out.file.flush()
        binary.write(encoded(content))
        binary.flush()

    def say(self, words: str = "", style: str | None = None) -> None:
        """A line of the result; what steers terminals is written out."""
        self.out.print(shown(words), style=style, soft_wrap=True)

    def note(self, words: str, style: str | None = "dim") -> None:
        """A line beside the result."""
        if not self.quiet:
            self.err.print(shown(words), style=style, soft_wrap=True)


def console(stderr: bool = False) -> Any:
    """A console that takes every text literally."""
    from rich.console import Console

    options: dict[str, Any] = {"stderr": stderr, "markup": False, "emoji": False, "highlight": False}
    made = Console(**options)
    return made if made.is_terminal or "COLUMNS" in os.environ else Console(**options, width=WIDE)
