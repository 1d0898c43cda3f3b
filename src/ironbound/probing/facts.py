"""Everything that has a name, as plain facts: access, sets, cost, paper. What parts say of themselves, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ironbound.core.catalogue import Entry
from ironbound.names import catalogue
from ironbound.probing import costs
from ironbound.probing.access import access_of, examples, one_for_all, sets_of

KINDS = {"attacks": "attack", "sets": "set", "bounds": "certify", "defenses": "harden", "plans": "audit"}
"""What can be listed, with the verb that each is for."""
BALLS = ("linf", "l2", "l1", "l0")
BOUNDED = {
    "ibp": BALLS, "crown-ibp": BALLS, "crown": BALLS, "alpha-crown": BALLS, "milp": ("linf", "l1"),
    "exhaustive": ("corruption", "finite"),
}  # fmt: skip
"""The sets of each bound, of those below. Only a trace of a model tells, which takes seconds; a test tries all of them."""


@dataclass(frozen=True)
class Fact:
    """One thing that has a name."""

    verb: str
    """attack, certify, harden, audit; or set."""
    name: str
    aliases: tuple[str, ...]
    summary: str
    paper: str | None
    access: str | None = None
    """What an attack has to see: white-box, scores or decisions. None of what does not attack."""
    sets: tuple[str, ...] = ()
    """The kinds of sets that it goes with, by the words of --threat."""
    one_for_all: bool = False
    """Whether it looks for one change for many samples."""
    forward: float | None = None
    """Model rows a sample at default settings, counted as costs.py says; None where that hangs on more than the method."""
    backward: float | None = None
    example: str = ""
    """Of a set: how it is written."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "verb": self.verb, "name": self.name, "aliases": list(self.aliases), "summary": self.summary,
            "paper": self.paper, "access": self.access, "sets": list(self.sets), "one_for_all": self.one_for_all,
            "forward": self.forward, "backward": self.backward, "example": self.example or None,
        }  # fmt: skip


def facts(kind: str | None = None) -> list[Fact]:
    """All facts, or those of one of KINDS."""
    verbs = [verb for name, verb in KINDS.items() if kind in (None, name)]
    found = [_of(entry) for entry in catalogue() if entry.verb in verbs]
    return [*found, *(_sets() if "set" in verbs else [])]


def _of(entry: Entry) -> Fact:
    common = (entry.verb, entry.name, entry.aliases, entry.summary, entry.paper.short if entry.paper else None)
    if entry.verb == "attack":
        attack, (forward, backward) = entry.make(), costs.ATTACKS.get(entry.name, (None, None))
        return Fact(*common, access_of(attack), sets_of(attack), one_for_all(attack), forward, backward)
    if entry.verb == "certify":
        return Fact(*common, sets=BOUNDED.get(entry.name, ()), forward=costs.BOUNDS.get(entry.name))
    if entry.verb == "harden":
        return Fact(*common, forward=costs.TRAININGS.get(entry.name))
    return Fact(*common)


def _sets() -> list[Fact]:
    from ironbound.sets.threat import EXAMPLES

    first = lambda text: " ".join((text or "").split("\n\n")[0].split()).partition(". ")[0].removesuffix(".") + "."
    return [
        Fact("set", name, (), first(type(threat).__doc__ or ""), None, example=EXAMPLES.get(name, "in Python: ironbound.Finite"))
        for name, threat in examples().items()
    ]  # fmt: skip
