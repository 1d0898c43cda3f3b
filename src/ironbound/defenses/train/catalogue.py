"""Trainings by name, and their settings."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.core.catalogue import find
from ironbound.core.errors import UsageError
from ironbound.defenses.train.inner import Composed
from ironbound.defenses.train.schemes import ENTRIES
from ironbound.defenses.train.training import Training

PARTS = ("base", "inner")
"""Parts that can be given whole, or by their names."""


def training_named(name: str, *, epochs: int | None = None, **settings: Any) -> Training:
    """The training of that name ("-" equals "_"), with some settings replaced: fields of Training, of its objective or of
    the objective's own parts. `base` names the training whose objective another one is around: base="trades".

    `inner` is the attack that makes the inputs trained on: an attack of the engine, its name, or a part such as Steps(10);
    settings of the attack's own (steps, restarts) go to one that is named. `base` is what a scheme goes around (awp, dro,
    multi-norm): an objective, or the name of a training.

    Raises UnknownName for a name there is not, UsageError for a setting there is not.

    >>> training_named("pgd", epochs=5, steps=10, rate=5e-4).objective.inner.steps
    10
    >>> training_named("awp", base="trades", beta=3.0).objective.base.beta
    3.0
    """
    entry = find(ENTRIES, "harden", name)
    training = entry.make() if epochs is None else entry.make(epochs)
    if isinstance(base := settings.get("base"), str):
        settings["base"] = find(ENTRIES, "harden", base).make().objective
    if "inner" in settings:
        settings["inner"] = _inner(settings)
    for part in PARTS:  # first whole parts, then what is set in them
        if part in settings:
            training = with_settings(training, {part: _known(training, entry.name, settings, (part,))[part]})
    rest = {key: value for key, value in settings.items() if key not in PARTS}
    return with_settings(training, {"name": entry.name, **_known(training, entry.name, rest, tuple(rest))})


def _known(training: Training, name: str, settings: dict[str, Any], of: tuple[str, ...]) -> dict[str, Any]:
    """Those settings, which must be there. Raises UsageError."""
    own = settings_of(training)
    unknown = sorted(set(of) - own)
    if unknown:
        raise UsageError(
            f"{name} has no setting {unknown[0]!r}.{_hint(unknown[0], own)} There are: {', '.join(sorted(own))}."
        )
    return {key: settings[key] for key in of}


def _hint(unknown: str, own: set[str]) -> str:
    """The trainings whose setting it is, or else the one that may have been meant."""
    others = [entry.name for entry in ENTRIES if unknown in settings_of(entry.make())]
    if others:
        return f" It is one of {', '.join(others)}."
    near = difflib.get_close_matches(unknown, own, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _inner(settings: dict[str, Any]) -> Any:
    """The inner attack that was given; takes the settings that a named attack has for its own."""
    inner = settings["inner"]
    if isinstance(inner, str):
        entry = find(recipes.ENTRIES, "attack", inner)
        own = inspect.signature(entry.make).parameters
        inner = entry.make(**{key: settings.pop(key) for key in list(settings) if key in own})
        if not isinstance(inner, Attack):
            raise UsageError(
                f"{entry.name} is several attacks in turn, and the inner attack is one, such as pgd or apgd."
            )
    if isinstance(inner, Attack):
        return Composed(inner)
    if not callable(getattr(inner, "inputs", None)):
        raise UsageError(f"inner is an attack, its name, or a part such as Steps(10); got {inner!r}.")
    return inner


def settings_of(part: Any) -> set[str]:
    """The names that `with_settings` takes: fields of a dataclass and of the dataclasses in it, and the parts in PARTS."""
    names = set()
    for field in fields(part):
        value = getattr(part, field.name)
        names |= (settings_of(value) | ({field.name} & set(PARTS))) if _composed(value) else {field.name}
    return names


def with_settings(part: Any, settings: dict[str, Any]) -> Any:
    """The dataclass with those fields replaced, wherever in it they are; a name that occurs twice changes both."""
    changed = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name in settings:
            changed[field.name] = settings[field.name]
        elif _composed(value) and settings_of(value) & set(settings):
            changed[field.name] = with_settings(value, settings)
    for said, other in (
        ("step", "share"),
        ("share", "step"),
    ):  # one length in two units: what is said replaces the default
        if said in changed and other not in changed and hasattr(part, other):
            changed[other] = None
    return replace(part, **changed)


def _composed(value: Any) -> bool:
    """A part whose fields are settings: objectives and inner attacks, not attacks of the engine."""
    return (
        is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("ironbound.defenses")
    )
