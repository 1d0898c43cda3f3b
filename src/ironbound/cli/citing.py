"""`ironbound cite`: the papers behind names, as BibTeX."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from ironbound.cli.terminal import Terminal
from ironbound.core.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from ironbound.core.catalogue import Entry, Paper

VERBS = ("attack", "certify", "audit", "harden")


def run_cite(names: list[str], terminal: Terminal) -> int:
    """BibTeX of the papers behind some names, each once."""
    papers = dict.fromkeys(_paper(name) for name in names)
    if terminal.json:
        terminal.data({_key(paper): paper.bibtex(_key(paper)) for paper in papers})
        return 0
    for paper in papers:
        for line in paper.bibtex(_key(paper)).splitlines():
            terminal.say(line)
    return 0


def _paper(name: str) -> Paper:
    """The one paper that a name stands for."""
    found = _entries(name)
    papers = list(dict.fromkeys(entry.paper for entry in found if entry.paper is not None))
    if not papers:
        raise UsageError(f"{name} has no paper of its own: {found[0].summary}")
    if len(papers) > 1:
        said = ", ".join(f"{e.full_name} ({e.paper.short if e.paper else 'no paper'})" for e in found)
        raise UsageError(f"{name} stands for several: {said}. Say which one.")
    return papers[0]


def _entries(name: str) -> list[Entry]:
    """All entries of that name: of one verb where it is "verb:name"."""
    from ironbound.core.catalogue import find, normal
    from ironbound.names import catalogue

    entries = catalogue()
    verb, colon, rest = name.partition(":")
    if colon:
        if verb not in VERBS:
            raise UsageError(f"there is no verb {verb!r}; there are {', '.join(VERBS)}.")
        return [find(entries, verb, rest)]
    known = {normal(each): e for e in entries for each in (e.name, *e.aliases)}
    found = [e for e in entries if normal(name) in {normal(each) for each in (e.name, *e.aliases)}]
    if not found:
        near = difflib.get_close_matches(normal(name), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownName(f"nothing is called {name!r}.{hint} `ironbound list` shows all names.")
    return found


def _key(paper: Paper) -> str:
    """The usual key: first author, year, first word of weight."""
    words = [word for word in re.findall(r"[a-z]+", paper.title.lower()) if word not in ("a", "an", "the", "on", "of")]
    author = re.sub(r"[^a-z]", "", paper.authors[0].split(",")[0].lower())
    return f"{author}{paper.year}{words[0] if words else ''}"
