"""What becomes of Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any


class Interrupted(Exception):
    """Ctrl-C, with the folder in which things can be gone on with; None where nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(str(folder))
        self.folder = folder


def stoppable(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, which ends in Interrupted and not in KeyboardInterrupt: Typer would end without a word."""

    @wraps(command)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return command(*given, **named)
        except KeyboardInterrupt as error:
            first: BaseException | None = error  # people press it twice: what the first one said is not lost
            while first is not None and not isinstance(first, Interrupted):
                first = first.__context__
            raise Interrupted(None if first is None else first.folder) from None

    return call
