"""Words that others chose (names of data, classes, models, files), made harmless for a terminal."""

from __future__ import annotations

from typing import Any


def shown(words: Any) -> str:
    """The text in one line, with everything that could steer a terminal written out as an escape.

    >>> shown("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(words))
