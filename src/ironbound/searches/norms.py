"""What searches that walk in one norm ask of a region: which norm it is, and where points may go whatever the radius."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Can, PerturbationSet, Search

NAMES = {
    "linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0", "rotation": "Rotation", "translation": "Translation",
    "spatial": "Spatial", "flow": "Flow", "brightness": "Brightness", "color": "ColorShift", "blur": "Blur",
}  # fmt: skip
"""The sets, as they are written, by what they call their norm."""


def norm_of(region: Any) -> str | None:
    """ "linf", "l2", "l1", "l0"; None where the set has no norm."""
    norm: str | None = getattr(region, "norm", None)
    return norm


def norm_among(region: Any, norms: tuple[str, ...], search: object) -> str:
    """The norm of a ball's region. Raises CompositionError, with the norms that go, where it is none of these."""
    norm = norm_of(region)
    if norm in norms:
        return norm
    known = ", ".join(NAMES[name] for name in norms)
    raise CompositionError(
        f"{type(search).__name__} walks in balls of {known}; got {type(region).__name__}. Use a ball in one of these "
        "norms, or another attack for this set."
    )


def norms_must_fit(searches: Iterable[Search], threat: PerturbationSet) -> None:
    """Raise CompositionError where a search is for other sets than this one, before anything is asked."""
    parts = getattr(threat, "parts", (threat,))
    no_inputs = any(Can.FINITE in part.can or getattr(part, "parametric", False) for part in parts)
    for walker in (part for search in searches for part in _walkers(search)):
        name, norms = type(walker).__name__, getattr(walker, "norms", None)
        other = [part for part in parts if norms is not None and norm_of(part) not in norms]
        if other:
            known = ", ".join(NAMES.get(norm, norm) for norm in norms or ())
            raise CompositionError(f"{name} is for threats of the kind {known}; got {other[0]!r}.")
        if no_inputs and getattr(walker, "walks", False):
            raise CompositionError(f"{name} walks through inputs, and the points of {threat!r} are no inputs.")


def _walkers(search: Any) -> Iterator[Any]:
    """A search and what it is made of, such as its move; what names its norms speaks for its parts."""
    yield search
    if is_dataclass(search) and not hasattr(search, "norms"):
        for part in fields(search):
            if is_dataclass(value := getattr(search, part.name)):
                yield from _walkers(value)


def must_hold_inputs(region: Any, search: object) -> None:
    """Raise CompositionError where a region's points are no inputs, but angles or numbers of a list.

    Searches that ask for it say `walks = True`, so that they are not proposed for such sets.
    """
    start = region.identity()
    if not (isinstance(start, Tensor) and start.is_floating_point()) or getattr(region, "parametric", False):
        raise CompositionError(
            f"{type(search).__name__} walks through inputs, and the points of this set are no inputs. Use pgd where the set "
            'has parameters such as an angle; try all points of a finite set: method="exhaustive".'
        )


def everywhere(region: Any) -> Any:
    """The ball's region without its radius: the model's range, where the mask lets values change.

    Searches for the smallest change walk there; which of their points count the ball itself says.
    """
    return region.scaled(torch.full_like(region.radius, torch.inf))
