"""The figures of one model in one audit, and which models of a scope are worth having."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.gaps import KINDS, gap_of, weakness
from ironbound.auditing.report import wording
from ironbound.comparing.cost import clean_cost
from ironbound.comparing.found import Found
from ironbound.comparing.kinds import held_out, threat_met

PER_MINUTE = "points of attacked accuracy (of 100) per minute of training"


def figures(one: Found, baseline: Found | None = None) -> dict[str, Any]:
    """What there is to say of a model, as JSON data; every fraction with its count, its total and its 95% interval.

    baseline: the model that its clean accuracy is held against.
    """
    facts: Any = one.audit.facts
    seconds = seconds_of(one)
    took = None if one.training is None else one.training["took"]
    return {
        "name": one.name,
        "role": one.role,
        "folder": str(one.audit.folder),
        "model": {key: facts["model"][key] for key in ("name", "fingerprint", "parameters")},
        **{kind: facts[kind] for kind in ("clean", "attacked", "certified", "bracket")},
        "checks": {"state": wording.checks_state(facts), "grade": facts["confidence"]["grade"]},
        "doubted": wording.doubted(facts),
        "ran": {"attacks": wording.was_attacked(facts), "bounds": wording.was_bounded(facts)},
        "clean_cost": clean_cost(one, baseline),
        "worst_class": {kind: worst_class(facts, kind) for kind in ("clean", "attacked")},
        "gap": {kind: _gap(facts, kind) for kind in KINDS},
        "threat_trained_on": threat_met(facts, one.training),
        "held_out": held_out(facts, one.training),
        "training": None if one.training is None else _training(one.training),
        "seconds": seconds,
        "robust_per_minute": {
            "unit": PER_MINUTE,
            "clock": _per_minute(facts["attacked"], seconds),
            "cpu": _per_minute(facts["attacked"], None if took is None else took["cpu"]),
        },
    }


def worst_class(facts: Any, kind: str) -> dict[str, Any] | None:
    """The class of which least is right, clean or attacked, with its own 95% interval; None where there is but one class."""
    groups = facts["classes"]
    if len(groups) < 2:
        return None
    worst = min(groups, key=lambda group: weakness(group, kind))
    return {"class": worst["name"], "classes": len(groups), **worst[kind]}


def _gap(facts: Any, kind: str) -> dict[str, Any] | None:
    """The fairness gap by class; None where there is but one."""
    return gap_of([(group["name"], group[kind]["count"], group["total"]) for group in facts["classes"]])


def seconds_of(one: Found) -> float | None:
    """What the model's training took by the clock; 0 for one that a training begins with, None where it is not known."""
    if one.training is not None:
        return float(one.training["took"]["seconds"])
    return 0.0 if one.role == "start" else None


def _training(record: dict[str, Any]) -> dict[str, Any]:
    met = record["trained_on"]
    return {
        "method": record["method"],
        "settings": record["training"],
        "threat": met["threat"]["spec"],
        "rows": met["data"]["rows"],
        "took": record["took"],
        "device": record["device"],
        "processes": record["processes"],
        "threads": record["environment"]["threads"],
        "torch": record["environment"]["torch"],
    }


def _per_minute(share: Any, seconds: float | None) -> dict[str, float] | None:
    """The share in points, and the ends of its interval, by the minutes; None where there are none."""
    if not seconds:
        return None
    return {end: 100 * share[end] * 60 / seconds for end in ("fraction", "low", "high")}


def front(models: Sequence[dict[str, Any]]) -> list[bool | None]:
    """Which models no other one is at least as good as in clean accuracy, attacked accuracy and time, and better in one.

    By the fractions as they are, without regard to their intervals. None: the time is not known, and the model is left out.
    """
    points = [_point(model) for model in models]
    known = [point for point in points if point is not None]
    return [None if point is None else not any(dominates(other, point) for other in known) for point in points]


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether the first is nowhere smaller and somewhere larger.

    >>> dominates((0.9, 0.5), (0.9, 0.4)), dominates((0.9, 0.5), (0.9, 0.5)), dominates((0.9, 0.5), (0.8, 0.6))
    (True, False, False)
    """
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def _point(model: dict[str, Any]) -> tuple[float, ...] | None:
    if model["seconds"] is None:
        return None
    return model["clean"]["fraction"], model["attacked"]["fraction"], -model["seconds"]
