"""Recipes of the catalogue with few steps, for tests that run all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ironbound import Budget

SMALL = {
    "steps": 4,
    "queries": 30,
    "draws": 8,
    "rounds": 2,
    "restarts": 1,
    "searches": 1,
    "angles": 5,
    "values": 5,
    "shifts": 3,
}
"""What recipes' parameters of these names are set to: runs are many."""
FEWER = {"cw": {"steps": 3}}
"""What is set otherwise: in Linf and L0 this one searches up to twenty times, however few searches it is told."""
ROWS = 28
"""Model rows a problem in each stage of a cascade."""


def small(make: Callable[..., Any], **chosen: Any) -> Callable[[], Any]:
    """The recipe with few steps; the stages of a cascade with few rows each."""
    known = inspect.signature(make).parameters
    few = {**SMALL, **FEWER.get(make.__name__, {})}

    def made() -> Any:
        attack = make(**{name: value for name, value in few.items() if name in known}, **chosen)
        return attack.replace(budget=Budget(ROWS, ROWS)) if hasattr(attack, "stages") else attack

    made.__name__ = "_".join([make.__name__, *map(str, chosen.values())])
    return made
