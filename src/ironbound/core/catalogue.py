"""The catalogue: what can be named at the prompt, with its verb, its paper and what it is for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ironbound.core.errors import UnknownName


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    authors: tuple[str, ...]
    year: int
    title: str
    arxiv: str = ""
    venue: str = ""
    """Where there is no arXiv number, or beside it."""

    def bibtex(self, key: str) -> str:
        """An entry for a bibliography."""
        lines = [
            f"  title = {{{self.title}}}",
            f"  author = {{{' and '.join(self.authors)}}}",
            f"  year = {{{self.year}}}",
        ]
        if self.venue:
            lines.append(f"  note = {{{self.venue}}}")
        if self.arxiv:
            lines += ["  archiveprefix = {arXiv}", f"  eprint = {{{self.arxiv}}}"]
        return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"

    @property
    def short(self) -> str:
        """As one cites in running text."""
        first = [name.split(",")[0] for name in self.authors]
        who = first[0] if len(first) == 1 else " and ".join(first) if len(first) == 2 else f"{first[0]} et al."
        return f"{who} {self.year}" + (
            f", arXiv {self.arxiv}" if self.arxiv else f", {self.venue}" if self.venue else ""
        )


@dataclass(frozen=True)
class Entry:
    """One name of the catalogue. Names are unique within a verb; `-` equals `_`."""

    verb: str
    name: str
    make: Callable[..., Any]
    paper: Paper | None
    aliases: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence of the maker's docstring."""
        return (self.make.__doc__ or "").strip().splitlines()[0] if self.make.__doc__ else ""

    @property
    def full_name(self) -> str:
        """The name with its verb, which is unique in the whole catalogue."""
        return f"{self.verb}:{self.name}"


def normal(name: str) -> str:
    """The one spelling under which a name is looked up."""
    return name.strip().lower().replace("-", "_")


def find(entries: Iterable[Entry], verb: str, name: str) -> Entry:
    """The entry of a verb with this name or alias. Raises UnknownName with near names and all names."""
    mine = [entry for entry in entries if entry.verb == verb]
    names = {normal(alias): entry for entry in mine for alias in (entry.name, *entry.aliases)}
    if normal(name) in names:
        return names[normal(name)]
    near = difflib.get_close_matches(normal(name), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownName(
        f"{verb} knows no method {name!r}.{hint} There are: {', '.join(sorted(entry.name for entry in mine))}."
    )
