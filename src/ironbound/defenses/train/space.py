"""What can be searched of a training, and between which ends: strength, step and mix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ironbound.core.errors import UsageError
from ironbound.defenses.train.catalogue import PARTS, settings_of
from ironbound.defenses.train.training import Training

WEIGHTS = ("beta", "weight", "gamma", "unlabelled_weight")
"""Settings that weigh one part of a loss against another, wherever in a training they are."""
MIXES = ("kappa_end", "alpha", "mix")
"""Weights of two parts that are 1 together."""


@dataclass(frozen=True)
class Range:
    """The values of one setting: from low to high, both included. `usual` is what the training has by itself."""

    low: float
    high: float
    usual: float
    log: bool = False
    """Whether twice as much is as far as half as much."""
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not self.low <= self.usual <= self.high or (self.log and self.low <= 0):
            raise UsageError(
                f"a range has low <= usual <= high, low < high, and low > 0 where it is logarithmic; got {self}."
            )


def space_of(training: Training, fixed: Iterable[str] = ()) -> dict[str, Range]:
    """The settings to search, by the names that `with_settings` takes; those in `fixed` are left as they are.

    The learning rate of every training; of one with an inner attack its radius (strength), its steps and their length; and
    what weighs the parts of its loss. An objective may have a method `space()` with ranges of its own, which go before these.
    """
    values, found = values_of(training), {"rate": _around(training.rate, 4)}
    if values.get("steps", 1) > 1:  # with one step it is a method of its own
        found["steps"] = Range(1, 2 * values["steps"], values["steps"], whole=True)
    if values.get("step"):
        found["step"] = _around(values["step"], 4)
    elif "share" in values:
        found["share"] = _share(values["share"], values.get("steps", 1))
    found |= {name: Range(0.05, 1.0, values[name]) for name in MIXES if _positive(values.get(name))}
    if {"steps", "share", "kappa_end"} & set(values) or training.objective.name == "noise":
        found["strength"] = Range(min(0.5, training.strength), max(1.5, training.strength), training.strength)
    found |= {name: _around(values[name], 4) for name in WEIGHTS if _positive(values.get(name))}
    own = getattr(training.objective, "space", None)
    found |= own() if callable(own) else {}
    unknown = sorted(set(found) - settings_of(training))
    if unknown:
        raise UsageError(f"{training.label}: its space names {unknown[0]!r}, which is no setting of it.")
    return {name: range_ for name, range_ in found.items() if name not in set(fixed)}


def values_of(part: Any) -> dict[str, Any]:
    """The settings of a training with their values, by the names that `with_settings` takes; of two of a name the first."""
    found: dict[str, Any] = {}
    names = settings_of(part)
    for field in fields(part):
        value = getattr(part, field.name)
        part_of_it = is_dataclass(value) and (field.name not in names or field.name in PARTS)
        inside = values_of(value) if part_of_it else {field.name: value}
        found = {**inside, **found}
    return found


def _share(share: float | None, steps: int) -> Range:
    """The length of a step in radii, or the share of a mix: both are 1 at most, but for a single step."""
    usual = share or 2.5 / steps
    return Range(min(0.05, usual / 4), max(2.0 if steps == 1 and usual >= 1 else 1.0, usual), usual, log=True)


def _around(usual: float, times: float) -> Range:
    return Range(usual / times, usual * times, usual, log=True)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
