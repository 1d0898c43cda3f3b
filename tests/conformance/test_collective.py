"""Attacks with one point for many inputs, and their sets, keep the promises of the kit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from ironbound import L2, Linf, Patch, Universal, recipes, testing

SMALL = {"steps": 3, "batch": 4, "passes": 1}
COLOURS = torch.tensor([[0.0, 0.25], [1.0, 0.75], [0.5, 0.5], [0.125, 1.0]], dtype=torch.float64)
MASK = torch.tensor([[True, False, True], [True, True, False]])


def small(make: Callable[..., Any], **more: Any) -> Callable[[], Any]:
    """The recipe with few steps, content with less than half of the inputs."""
    known = inspect.signature(make).parameters

    def made() -> Any:
        return make(**{name: value for name, value in SMALL.items() if name in known}, **more).replace(share=0.4)

    made.__name__ = "_".join([make.__name__, *map(str, more.values())])
    return made


COLLECTIVE = [entry.make for entry in recipes.ENTRIES if hasattr(getattr(entry.make(), "search", None), "lifts")]


class TestCollective(testing.CollectiveConformance):
    attacks = [*map(small, COLLECTIVE), small(recipes.universal, by="deepfool")]


class TestOtherSets(testing.CollectiveConformance):
    attacks = [small(recipes.universal), small(recipes.patch, printable=0.5)]
    threats = (
        Universal(L2(1.0, mask=torch.ones(4, 4).tril().bool())),
        Patch(
            shape=MASK,
            scale=(0.8, 1.2),
            rotation=(-40, 40),
            brightness=(-0.1, 0.1),
            contrast=(0.9, 1.1),
            colours=COLOURS,
        ),
    )


class TestUniversalSets(testing.SetConformance):
    sets = [
        Universal(Linf(0.1)),
        Universal(L2(0.5), groups=(3, 1, 3, 2)),
        Universal(Linf(0.2, mask=torch.arange(4) > 0)),
    ]
    shapes = ((2, 3, 4),)
    boxes = ((0.0, 1.0), (-1.7, 2.3), None)
    but = {
        "a_radius_beyond_the_box_is_the_box": "a point is a change, which has no box; inputs that it makes are clamped"
    }


class TestPatchSets(testing.SetConformance):
    sets = [Patch(area=0.2), Patch(size=(2, 3), shape="circle", groups=(0, 1, 1, 0)),
            Patch(shape=MASK, place=(1, 1), rotation=(0, 90), scale=(0.5, 1.0), contrast=(0.5, 2.0))]  # fmt: skip
    shapes = ((2, 4, 5), (3, 6, 6))
    boxes = ((0.0, 1.0), (-1.7, 2.3), (0.0, 255.0))


class TestPrintableSets(testing.SetConformance):
    sets = [Patch(size=(2, 3), colours=COLOURS)]
    shapes = ((2, 4, 5),)
    boxes = ((0.0, 1.0),)
    but = {"edges_are_exact": "between two given colours there is no point of the set, and so no edge to bisect to"}
