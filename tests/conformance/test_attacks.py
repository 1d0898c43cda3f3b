"""Every recipe of the catalogue keeps the promises of attacks; a new one is tested without being named here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor

from ironbound import L1, L2, Budget, Can, Finite, Linf, recipes, testing

SMALL = {"steps": 5, "queries": 40, "draws": 12, "rounds": 2, "restarts": 1}
"""What recipes' parameters of these names are set to: runs are many."""
ROWS = 40
"""Model rows a problem in each stage of a cascade."""


def small(make: Callable[..., Any]) -> Callable[[], Any]:
    """The recipe with few steps; the stages of a cascade with few rows each."""
    known = inspect.signature(make).parameters

    def made() -> Any:
        attack = make(**{name: value for name, value in SMALL.items() if name in known})
        return attack.replace(budget=Budget(ROWS, ROWS)) if hasattr(attack, "stages") else attack

    made.__name__ = make.__name__
    return made


def needs(make: Callable[..., Any]) -> Can:
    """What the searches of a recipe need."""
    attack = make()
    parts = [stage.attack for stage in getattr(attack, "stages", ())] or [attack]
    return reduce(or_, (part.search.needs for part in parts))


RECIPES = [small(entry.make) for entry in recipes.ENTRIES if entry.verb == "attack"]
FINITE = [make for make in RECIPES if Can.FINITE in needs(make)]
DECISIONS = [make for make in RECIPES if needs(make) == Can.DECISIONS]
OTHERS = [make for make in RECIPES if make not in FINITE + DECISIONS]


def dimmed(x: Tensor) -> Tensor:
    return x * 0.6


def shifted(x: Tensor) -> Tensor:
    return x.roll(1, -1)


class TestRecipes(testing.SearchConformance):
    attacks = OTHERS
    threats = (Linf(0.15), L2(0.6), L1(2.0))


class TestDecisions(testing.SearchConformance):
    attacks = DECISIONS
    threats = (L2(1.2),)


class TestExhaustive(testing.SearchConformance):
    attacks = FINITE
    threats = (Finite((dimmed, shifted, torch.full((1, 4, 4), 0.2))),)
