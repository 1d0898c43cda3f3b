"""Names as every tracker takes them."""

from __future__ import annotations

import hashlib
import re
from typing import TypeVar

LONGEST = 250
"""Characters of a name in MLflow (mlflow/utils/validation.py, MAX_ENTITY_KEY_LENGTH)."""
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_\-. /]+")
_DOTS = re.compile(r"^\.+")
T = TypeVar("T")


def clean(name: str) -> str:
    """A name of letters, digits, "_", "-", ".", " " and "/", which is no path that leads elsewhere, and not too long.

    >>> clean("stages/apgd: <b>/../../x"), clean("")
    ('stages/apgd_ _b/_/_/x', '_')
    """
    parts = [_DOTS.sub("_", _FORBIDDEN.sub("_", part).strip(" ")) for part in name.split("/")]
    text = "/".join(part for part in parts if part) or "_"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 9]}-{_digest(name)}"


def named(table: dict[str, T]) -> dict[str, T]:
    """The same under clean names; where two become alike, all but the first end in a digest of what they were."""
    found: dict[str, T] = {}
    for name, value in table.items():
        text = clean(name)
        if text in found:
            text = f"{text[: LONGEST - 9]}-{_digest(name)}"
        found[text] = value
    return found


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
