"""`ironbound cite`: the papers behind names, or behind all that a run used, as BibTeX."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ironbound.cli.terminal import Terminal
from ironbound.core.catalogue import normal
from ironbound.core.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from ironbound.core.catalogue import Entry, Paper

VERBS = ("attack", "certify", "audit", "harden")


OWN = {
    "pma_corners": "pma", "margin_vertices": "apgd", "apgd_dlr": "apgd", "fab": "fab_targeted", "grid": "rotation",
    "search": "exhaustive", "greedy_slow": "greedy_l0", "square on all": "square",
}  # fmt: skip
"""Stages of the house's plans whose name is no name of the catalogue, or of another attack there."""


def run_cite(names: list[str], terminal: Terminal) -> int:
    """BibTeX of the papers behind names, or behind all parts that runs used, each once."""
    cited = Cited()
    for name in names:
        if _is_place(name):
            for folder in _runs(name):
                cited.add_run(folder)
        else:
            cited.add(_paper(name), name)
    if terminal.json:
        terminal.data({key: entry for key, (entry, _) in cited.entries.items()})
        return 0
    for entry, uses in cited.entries.values():
        if any(_is_place(name) for name in names):
            terminal.say(f"% {', '.join(uses)}")
        for line in entry.splitlines():
            terminal.say(line)
    for note in cited.notes:
        terminal.say(f"% {note}")
    return 0


def _is_place(name: str) -> bool:
    """Whether a folder is meant: a name of the catalogue has no slash, and goes before a folder of its name."""
    from ironbound.names import catalogue

    if "/" in name or name in (".", ".."):
        return True
    if not name:
        return False
    named = {normal(each) for entry in catalogue() for each in (entry.name, *entry.aliases)}
    return normal(name.partition(":")[2] or name) not in named and Path(name).expanduser().is_dir()


def _runs(place: str) -> list[Path]:
    from ironbound.cli.checking import runs_in
    from ironbound.core.errors import RunError

    path = Path(place).expanduser()
    if not path.is_dir():
        raise RunError(f"{path} is no folder. Give the folder that was --out of a run, or a name: `ironbound list`.")
    return runs_in(place)


class Cited:
    """Entries of a bibliography by key, each with what it was used for."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, list[str]]] = {}
        self.notes: list[str] = []

    def add(self, paper: Paper, use: str) -> None:
        """A paper, once. Two papers of one key are told apart by a letter."""
        for suffix in ("", *"bcdefg"):
            key = _key(paper) + suffix
            entry = paper.bibtex(key)
            if key not in self.entries:
                self.entries[key] = (entry, [])
            if self.entries[key][0] == entry:
                self._used(key, use)
                return

    def add_text(self, key: str, entry: str, use: str) -> None:
        """What is no paper of the catalogue."""
        self.entries.setdefault(key, (entry, []))
        self._used(key, use)

    def _used(self, key: str, use: str) -> None:
        uses = self.entries[key][1]
        if use not in uses:
            uses.append(use)

    def add_run(self, folder: Path) -> None:
        """Ironbound, the intervals, the data, and every stage that ran on a sample; the training before it, if there was one."""
        from ironbound.auditing.audit import Audit

        facts = Audit.load(folder).facts
        self.add_text("ironbound", ironbound_entry(), "the run itself")
        self.add_text(*CLOPPER, "the intervals")
        if str(facts["data"]["name"]).partition(":")[0] == "digits":
            self.add_text(*DIGITS, "the data")
        bounds = {stage["name"]: stage for stage in facts["stages"] if stage["kind"] == "bound"}
        for stage in (one for one in facts["stages"] if one["kind"] != "clean" and one["entered"]):
            self._stage("certify" if stage["name"] in bounds else "attack", str(stage["name"]))
        if folder.name == "after":
            self._training(folder.resolve().parent)

    def _stage(self, verb: str, stage: str) -> None:
        """The paper of a stage, by its name: "autoattack: fab_targeted (linf)" is FAB-T within AutoAttack."""
        bare = stage.partition(" (")[0]
        parts = [part.strip() for part in bare.split(": ")]
        found = [paper for part in parts if (paper := _of_stage(verb, part)) is not None]
        for paper in found:
            self.add(paper, stage)
        if not found:
            self.notes.append(f"{stage}: its name is none of the catalogue. Cite what your plan makes of it.")

    def _training(self, folder: Path) -> None:
        """What a hardening was trained by: the run is its audit before or after."""
        from ironbound.core.store import read_json
        from ironbound.hardening.record import RECORD

        if not (folder / RECORD).is_file():
            return
        method = str(read_json(folder / RECORD).get("method"))
        paper = _of_stage("harden", method)
        if paper is not None:
            self.add(paper, f"the training ({method})")
        else:
            self.notes.append(f"{method}: the training has no paper of its own in the catalogue.")


CLOPPER = (
    "clopper1934use",
    "@article{clopper1934use,\n  title = {The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial},\n"
    "  author = {Clopper, Charles J. and Pearson, Egon S.},\n  journal = {Biometrika},\n  volume = {26},\n"
    "  number = {4},\n  pages = {404--413},\n  year = {1934}\n}",
)
DIGITS = (
    "alpaydin1998optical",
    "@misc{alpaydin1998optical,\n  title = {Optical Recognition of Handwritten Digits},\n"
    "  author = {Alpaydin, Ethem and Kaynak, Cenk},\n  year = {1998},\n  note = {UCI Machine Learning Repository}\n}",
)


def ironbound_entry() -> str:
    """Ironbound itself, as CITATION.cff has it."""
    from ironbound.core.version import __version__

    return (
        "@software{ironbound,\n  title = {Ironbound: attack, certify, audit and harden machine-learning models},\n"
        f"  author = {{{{The Ironbound authors}}}},\n  year = {{2026}},\n  version = {{{__version__}}}\n}}"
    )


def _of_stage(verb: str, name: str) -> Paper | None:
    from ironbound.core.catalogue import find
    from ironbound.names import catalogue

    try:
        return find(catalogue(), verb, OWN.get(name, name) if verb == "attack" else name).paper
    except UnknownName:
        return None


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
    from ironbound.core.catalogue import find
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
