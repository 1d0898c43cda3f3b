"""Kinds of attacks: what a training has met, and what it has not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ironbound.auditing.intervals import Share
from ironbound.auditing.plan import Attacking
from ironbound.core.cascade import searches_of
from ironbound.core.errors import IronboundError
from ironbound.hardening.record import CLIMBS
from ironbound.merging import plans_called
from ironbound.sets.threat import parse_threat

SMALLEST, QUERIES, GREEDY, ALL = "smallest change", "queries without gradients", "greedy search", "trying all"
KINDS = {
    **dict.fromkeys(("Ascent", "Gama"), CLIMBS),
    **dict.fromkeys(
        ("Fab", "Closing", "CarliniWagner", "Penalty", "Surrogate", "DeepFool", "SuperDeepFool", "TrustRegion",
         "SparseFool", "SmoothFlow"), SMALLEST,
    ),
    **dict.fromkeys(("Square", "HopSkipJump"), QUERIES),
    **dict.fromkeys(("Saliency", "Voting", "Greedy"), GREEDY),
    **dict.fromkeys(("Grid", "Exhaustive"), ALL),
    "Draws": "random draws",
}  # fmt: skip
"""By the class of the search. Which loss is climbed, from where and how often makes no other kind: what was trained
against steps along a gradient has met all that do."""


def kinds_met(training: dict[str, Any] | None) -> set[str] | None:
    """The kinds of attack that a training met; None where no training is known."""
    if training is None:
        return None
    return {KINDS.get(name, name) for name in training["trained_on"]["attacks"]}


def kinds_of(facts: Any) -> dict[str, str]:
    """The kind of each stage of an audit that attacks; of one that is in no plan of a known name, its own name."""
    known: dict[str, str] = {}
    with suppress(IronboundError):
        threat = parse_threat(facts["threat"]["spec"])
        for plan in plans_called(facts["plan"]["name"]):
            with suppress(IronboundError):
                stages = [stage for stage in plan.against(threat).stages if isinstance(stage, Attacking)]
                known |= {stage.name: _kind(stage.single) for stage in stages}
    names = [stage["name"] for stage in facts["stages"] if stage["kind"] == "attack"]
    return {name: known.get(name, name) for name in names}


def _kind(attack: Any) -> str:
    """The kind of one attack."""
    name = type(searches_of(attack)[0]).__name__
    return KINDS.get(name, name)


def held_out(facts: Any, training: dict[str, Any] | None) -> dict[str, Any]:
    """What attacks of kinds that were not trained on broke of what the stages before them had left.

    `broken` is of all samples. A stage sees what those before it left, so that a kind that comes late is credited with what
    it alone found: a lower bound of what it could break by itself.
    """
    met, kinds = kinds_met(training), kinds_of(facts)
    stages = [
        {
            "name": stage["name"],
            "kind": kinds[stage["name"]],
            "trained_on": None if met is None else kinds[stage["name"]] in met,
            "broken": Share.of(stage["decided"], stage["entered"]).as_dict(),
        }
        for stage in facts["stages"]
        if stage["kind"] == "attack"
    ]
    broken = [stage["broken"]["count"] for stage in stages if stage["trained_on"] is False]
    share = None if met is None else Share.of(sum(broken), facts["attacked"]["total"]).as_dict()
    return {"kinds_trained_on": None if met is None else sorted(met), "broken": share, "stages": stages}


def threat_met(facts: Any, training: dict[str, Any] | None) -> str | None:
    """Whether an audit is under the threat that was trained on: "same", "other radius", "other norm"; None: not known.

    "none": the training looked at no threat at all.
    """
    if training is None:
        return None
    met = training["trained_on"]
    if not met["norms"]:
        return "none"
    if met["threat"]["fingerprint"] == facts["fingerprints"]["threat"] or facts["threat"]["spec"] in _parts(met):
        return "same"
    audited = {part.partition(":")[0].strip() for part in facts["threat"]["spec"].split("|")}
    return "other radius" if audited <= set(met["norms"]) else "other norm"


def _parts(met: dict[str, Any]) -> set[str]:
    """The parts of a union that was trained on."""
    return {part.strip() for part in met["threat"]["spec"].split("|")}
