"""What a comparison says of one model, in words: for the page and for the prompt. Lines of a cell are parted by a newline."""

from __future__ import annotations

from typing import Any

from ironbound.auditing.report import fairness, wording


def share(found: dict[str, Any]) -> str:
    """A share with its count and its 95% interval."""
    return f"{wording.percent(found['fraction'])} of {found['total']:,}\n{wording.span(found['low'], found['high'])}"


def clean_cost(model: dict[str, Any]) -> str:
    """Points of clean accuracy lost against the baseline; what stands there without one."""
    cost = model["clean_cost"]
    if cost is None:
        return "none here" if model["role"] == "start" else "nothing to hold it against"
    return f"{fairness.size(cost)}\n{fairness.ends(cost)}\nof {cost['total']:,}, against {cost['against']}"


def worst(model: dict[str, Any], kind: str) -> str:
    """The class of which least is right, clean or attacked."""
    found = model["worst_class"][kind]
    if found is None:
        return "one class only"
    if kind == "attacked" and not model["ran"]["attacks"]:
        return "no attack was run"
    return f"{found['class']}: {share(found)}"


def gap(model: dict[str, Any]) -> str:
    """The fairness gap by class with its interval: under attack, or clean where there was no attack."""
    kind = "attacked" if model["ran"]["attacks"] else "clean"
    found = model["gap"][kind]
    return (
        "one class only" if found is None else f"{fairness.size(found)}\n{fairness.ends(found)}\n{fairness.WORDS[kind]}"
    )


def held_out(model: dict[str, Any]) -> str:
    """What is new to the model in this audit: the threat, and what attacks of other kinds found beyond the trained ones."""
    met, found = model["threat_trained_on"], model["held_out"]["broken"]
    if met is None:
        return "not known"
    threat = "" if met == "same" else f"{met}\n"
    if met == "none":
        return "all: trained on no threat"
    if not model["held_out"]["kinds_trained_on"]:
        return f"{threat}all attacks"
    kinds = {stage["kind"] for stage in model["held_out"]["stages"] if stage["trained_on"] is False}
    if not kinds:
        return f"{threat}no other attacks"
    return (
        f"{threat}{', '.join(sorted(kinds))}: {wording.percent(found['fraction'])} broken\n"
        f"{wording.span(found['low'], found['high'])}"
    )


def training(model: dict[str, Any]) -> str:
    """The method, its epochs and its time by the clock."""
    record = model["training"]
    if record is None:
        return "none here" if model["role"] == "start" else "not known"
    took = record["took"]
    return f"{record['method']}, {wording.plural(took['epochs'], 'epoch')}\n{wording.duration(took['seconds'])}"


def per_minute(model: dict[str, Any]) -> str:
    """Points under attack per minute of training; nothing where there was none."""
    found = model["robust_per_minute"]["clock"]
    if found is None:
        return ""
    middle, low, high = (
        f"{found[end]:,.0f}" if found["low"] >= 100 else f"{found[end]:.3g}" for end in ("fraction", "low", "high")
    )
    return f"{middle}\n{low} to {high}"
