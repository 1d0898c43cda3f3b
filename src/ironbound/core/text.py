"""Words that others chose (names of data, classes, models, files), made harmless wherever they are written."""

from __future__ import annotations

import json
from typing import Any


def shown(words: Any, keep: str = "") -> str:
    """The text in one line, with everything that could steer a terminal, or that XML and UTF-8 cannot hold, as an escape.

    keep: characters that stay as they are all the same, such as line ends.

    >>> shown("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    text = str(words)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def brief(words: Any, most: int) -> str:
    """The same, cut after so many characters."""
    text = shown(str(words)[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def encoded(text: str) -> bytes:
    """UTF-8. Halves of characters, which stand in names that the file system could not decode, become their escapes.

    >>> encoded("a\\udcff")
    b'a\\\\udcff'
    """
    return text.encode("utf-8", "backslashreplace")


def json_text(content: Any) -> str:
    """JSON that people can read, with whatever steers a terminal, and halves of characters, as escapes of JSON.

    What is read from it is what was written.

    >>> json_text(["\\x9b1m", "\\udcff"])
    '[\\n  "\\\\u009b1m",\\n  "\\\\udcff"\\n]'
    """
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
