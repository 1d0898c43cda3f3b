"""Every recipe of the catalogue keeps the promises of attacks; a new one is tested without being named here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from ironbound import L0, L1, L2, Finite, Linf, recipes, testing
from ironbound.core.attack import TheThreat
from ironbound.names import fits
from ironbound.sets import Blur, Brightness, ColorShift, Flow, Rotation, Spatial, Translation
from recipe_samples import small

SHAPE = (3, 4, 4)


def dimmed(x: Tensor) -> Tensor:
    return x * 0.6


def shifted(x: Tensor) -> Tensor:
    return x.roll(1, -1)


BALLS = (Linf(0.15), L2(0.6), L1(2.0), L0(3))
COORDINATES = L0(4, of="coordinates")
"""Tried in place of a change of pixels' number alone by what is made for it: what fits balls of every norm gets on without."""
CHANGES = (
    Rotation(40), Translation(1), Spatial(30, 1), Flow(0.6), ColorShift(0.4), Brightness(0.3), Blur(1.5),
    Finite((dimmed, shifted, torch.full(SHAPE, 0.2))),
)  # fmt: skip
"""For what fits no ball. Each recipe without a set of its own is tried on what it fits."""


def ways(make: Callable[..., Any]) -> Iterator[Callable[[], Any]]:
    """The recipe, in each of its modes."""
    mode = inspect.signature(make, eval_str=True).parameters.get("mode")
    for way in get_args(mode.annotation) if mode else [None]:
        yield small(make) if way is None else small(make, mode=way)


RECIPES = [
    made
    for entry in recipes.ENTRIES
    if entry.verb == "attack" and not hasattr(getattr(entry.make(), "search", None), "lifts")  # see test_collective.py
    for made in ways(entry.make)
]


def threats_of(attack: Any) -> Sequence[Any]:
    """The sets on which an attack without one can run: balls, where it fits any."""
    fitting = [s for s in BALLS if fits(attack, s)] or [s for s in (COORDINATES, *CHANGES) if fits(attack, s)]
    return [*fitting, COORDINATES] if fitting == [L0(3)] and fits(attack, COORDINATES) else fitting


class TestRecipes(testing.SearchConformance):
    attacks = RECIPES
    shape = SHAPE
    classes = (1, 2, 3, 10, 150)  # more than the hundred that are ranked where classes are many

    @classmethod
    def threats_for(cls, attack: Any) -> Sequence[Any]:
        return threats_of(attack)


@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_every_recipe_is_tried_on_something(make: Callable[[], Any]) -> None:
    attack = make()
    own = getattr(attack, "set", None)
    assert not isinstance(own, TheThreat) or threats_of(attack), (
        "it fits none of BALLS and CHANGES: add a set that it fits"
    )
