"""Every recipe of the catalogue keeps the promises of attacks; a new one is tested without being named here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound import L0, L1, L2, Budget, Finite, Linf, Spatial, recipes, testing
from ironbound.core.attack import TheThreat
from ironbound.names import fits
from ironbound.sets import Blur, Brightness, Flow, Rotation, Translation

SMALL = {"steps": 5, "queries": 40, "draws": 12, "rounds": 2, "restarts": 1, "searches": 2}
"""What recipes' parameters of these names are set to: runs are many."""
ROWS = 40
"""Model rows a problem in each stage of a cascade."""
SHAPE = (2, 4, 4)


def dimmed(x: Tensor) -> Tensor:
    return x * 0.6


def shifted(x: Tensor) -> Tensor:
    return x.roll(1, -1)


THREATS = (
    Linf(0.15), L2(0.6), L1(2.0), L0(3), L0(4, of="coordinates"),
    Finite((dimmed, shifted, torch.full(SHAPE, 0.2))),
)  # fmt: skip
"""Each recipe without a set of its own is tried on those of these that it fits."""
PARAMETERS = (Rotation(60), Translation(2), Spatial(60, 1), Flow(0.8), Brightness(0.4), Blur(1.2))
"""Sets of parameters: those that the recipe names are tried as well; color_shift, for three channels, elsewhere."""


def small(make: Callable[..., Any]) -> Callable[[], Any]:
    """The recipe with few steps; the stages of a cascade with few rows each."""
    known = inspect.signature(make).parameters

    def made() -> Any:
        attack = make(**{name: value for name, value in SMALL.items() if name in known})
        return attack.replace(budget=Budget(ROWS, ROWS)) if hasattr(attack, "stages") else attack

    made.__name__ = make.__name__
    return made


RECIPES = [small(entry.make) for entry in recipes.ENTRIES if entry.verb == "attack" and entry.name != "color_shift"]


def threats_of(attack: Any) -> Sequence[Any]:
    """The sets on which an attack without one can run."""
    named = getattr(getattr(attack, "search", None), "norms", ())
    return [threat for threat in THREATS if fits(attack, threat)] + [p for p in PARAMETERS if p.norm in named]


class TestRecipes(testing.SearchConformance):
    attacks = RECIPES
    shape = SHAPE

    @classmethod
    def threats_for(cls, attack: Any) -> Sequence[Any]:
        return threats_of(attack)


@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_every_recipe_is_tried_on_something(make: Callable[[], Any]) -> None:
    attack = make()
    own = getattr(attack, "set", None)
    assert not isinstance(own, TheThreat) or threats_of(attack), "it fits no set of THREATS: add one that it fits"
