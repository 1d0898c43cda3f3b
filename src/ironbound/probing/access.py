"""What an attack has to see of the model, and on which sets it runs: told by its own parts."""

from __future__ import annotations

from functools import cache
from typing import Any

from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Can
from ironbound.names import collective, fits

ACCESS = ("white-box", "scores", "decisions")
"""What an attacker sees: gradients and all else; the numbers behind the answer; the answer alone."""


@cache
def examples() -> dict[str, Any]:
    """One set of each kind, small enough that no radius is unusual."""
    from ironbound import sets
    from ironbound.sets import parse_threat

    return {
        "linf": sets.Linf(0.01), "l2": sets.L2(0.1), "l1": sets.L1(0.5), "l0": sets.L0(1), "rotation": sets.Rotation(5),
        "translation": sets.Translation(1), "spatial": sets.Spatial(5, 1), "flow": sets.Flow(0.1),
        "color": sets.ColorShift(0.05), "brightness": sets.Brightness(0.05), "blur": sets.Blur(0.5),
        "corruption": parse_threat("corruption:all:3"), "finite": sets.Finite((lambda x: x.flip(-1),), names=("mirrored",)),
        "patch": sets.Patch(0.1),
    }  # fmt: skip


def access_of(attack: Attack | Cascade) -> str:
    """The least access with which an attack runs, as its searches declare what they need.

    >>> from ironbound import recipes
    >>> [access_of(attack) for attack in (recipes.pgd(), recipes.square(), recipes.hopskipjump())]
    ['white-box', 'scores', 'decisions']
    """
    needs = Can(0)
    for one in [stage.attack for stage in attack.stages] if isinstance(attack, Cascade) else [attack]:
        needs |= one.search.needs
    return ACCESS[0] if Can.GRADIENT in needs else ACCESS[1] if Can.SCORES in needs else ACCESS[2]


def sets_of(attack: Attack | Cascade) -> tuple[str, ...]:
    """The kinds of sets, by the words of --threat, on which an attack finds a change for each sample or, lifted, for all."""
    return tuple(name for name, threat in examples().items() if fits(attack, threat) or _lifted(attack, threat))


def one_for_all(attack: Attack | Cascade) -> bool:
    """Whether it looks for one change for many samples."""
    return hasattr(getattr(attack, "search", None), "lifts")


def _lifted(attack: Attack | Cascade, threat: Any) -> bool:
    if not one_for_all(attack) or collective(threat):
        return False
    try:
        attack.against(threat)
    except (CompositionError, UsageError):
        return False
    return True
