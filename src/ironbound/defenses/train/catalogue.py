"""Trainings by name, and their settings."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from ironbound.core.catalogue import find
from ironbound.core.errors import UsageError
from ironbound.defenses.train.schemes import ENTRIES
from ironbound.defenses.train.training import Training


def training_named(name: str, *, epochs: int | None = None, **settings: Any) -> Training:
    """The training of that name ("-" equals "_"), with some settings replaced: fields of Training, of its objective or of
    the objective's own parts. `base` names the training whose objective another one is around: base="trades".

    Raises UnknownName for a name there is not, UsageError for a setting there is not.

    >>> training_named("pgd", epochs=5, steps=10, rate=5e-4).objective.inner.steps
    10
    """
    entry = find(ENTRIES, "harden", name)
    training = entry.make() if epochs is None else entry.make(epochs)
    if isinstance(settings.get("base"), str) and hasattr(training.objective, "base"):
        base = find(ENTRIES, "harden", settings.pop("base")).make().objective
        training = training.replace(objective=replace(training.objective, base=base))
    own = settings_of(training)
    unknown = sorted(set(settings) - own)
    if unknown:
        raise UsageError(f"{entry.name} has no setting {unknown[0]!r}; there are {', '.join(sorted(own))}.")
    return with_settings(training, {"name": entry.name, **settings})


def settings_of(part: Any) -> set[str]:
    """The names that `with_settings` takes: fields of a dataclass and of the dataclasses in it, but not these themselves."""
    names = set()
    for field in fields(part):
        value = getattr(part, field.name)
        names |= settings_of(value) if _composed(value) else {field.name}
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
    return replace(part, **changed)


def _composed(value: Any) -> bool:
    """A part whose fields are settings: objectives and inner attacks, not attacks of the engine."""
    return (
        is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("ironbound.defenses")
    )
