"""Docstrings of the house as Markdown, for the reference (an extension of Griffe).

They are written for `help()`: a list of parameters under a line of dashes, doctests as they stand. Here the parameters become a
list and the doctests code, and nothing else changes.
"""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any

import griffe

HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}\n((?:.+\n?)*)", re.MULTILINE)
DOCTEST = re.compile(r"^(?:>>>.*\n?)(?:.+\n?)*", re.MULTILINE)
NAMED = re.compile(r"^(?=\S)", re.MULTILINE)


class AsMarkdown(griffe.Extension):
    """Rewrites every docstring once, when its object has been read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Sections as a bold word with a list, doctests as code; the rest as it is."""
    return DOCTEST.sub(_code, HEADING.sub(_listed, text))


def _listed(section: re.Match[str]) -> str:
    rows = [" ".join(row.split()) for row in NAMED.split(dedent(section[2])) if row.strip()]
    return f"**{section[1]}**\n\n" + "\n".join(f"- {_bold(row)}" for row in rows) + "\n"


def _bold(row: str) -> str:
    """`name, other: what it is` with the names as code."""
    names, colon, said = row.partition(": ")
    if not colon or not re.fullmatch(r"[\w*]+(, [\w*]+)*", names):
        return row
    return ", ".join(f"`{name}`" for name in names.split(", ")) + f": {said}"


def _code(block: re.Match[str]) -> str:
    lines = re.sub(r"\s*# doctest:.*$", "", block[0].rstrip("\n"), flags=re.MULTILINE)
    return f"```pycon\n{lines}\n```\n"
