"""Trainings by name, with settings that do for small problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from ironbound.core.errors import UnknownName, UsageError
from ironbound.defenses.train.objectives import Ibp, Pgd, Standard
from ironbound.defenses.train.training import Training


def standard(epochs: int = 10) -> Training:
    """Plain training: no defense, and what defenses are compared with."""
    return Training(Standard(), epochs, rate=3e-3)


def pgd(epochs: int = 20) -> Training:
    """Adversarial training with seven steps from a random start (Madry et al. 2018, arXiv 1706.06083)."""
    return Training(Pgd(steps=7), epochs, rate=3e-3)


def ibp(epochs: int = 40) -> Training:
    """Certified training by interval bounds; the ramp is over after six tenths of the epochs (Gowal et al. 2018).

    Weights are drawn anew (Shi et al. 2021): interval bounds of a net trained otherwise say nothing at first.
    """
    return Training(Ibp(warmup=0.05 * epochs, ramp=0.55 * epochs, init="ibp"), epochs, rate=3e-3, clip=10.0)


TRAININGS: dict[str, Callable[..., Training]] = {"standard": standard, "pgd": pgd, "ibp": ibp}


def training_named(name: str, *, epochs: int | None = None, **settings: Any) -> Training:
    """The training of that name ("-" equals "_"), with some settings replaced: fields of Training or of its objective.

    Raises UnknownName for a name there is not, UsageError for a setting there is not.

    >>> training_named("pgd", epochs=5, steps=10, rate=5e-4).objective
    Pgd(steps=10, step=None, start='random', cheap=False)
    """
    known = name.strip().lower().replace("-", "_") if isinstance(name, str) else name
    if known not in TRAININGS:
        raise UnknownName(f"no training is called {name!r}; there are {', '.join(sorted(TRAININGS))}.")
    training = TRAININGS[known]() if epochs is None else TRAININGS[known](epochs)
    own = {field.name for field in fields(Training)} - {"objective"}
    parts = {field.name for field in fields(training.objective)}  # type: ignore[arg-type]
    unknown = sorted(set(settings) - own - parts)
    if unknown:
        raise UsageError(f"{known} has no setting {unknown[0]!r}; there are {', '.join(sorted(own | parts))}.")
    objective = replace(training.objective, **{k: v for k, v in settings.items() if k in parts})  # type: ignore[type-var]
    return training.replace(objective=objective, **{k: v for k, v in settings.items() if k not in parts})
