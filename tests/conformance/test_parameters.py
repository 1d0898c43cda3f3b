"""Sets whose points are parameters of a change, and the common corruptions, keep the promises of sets."""

from __future__ import annotations

import torch

from ironbound import Blur, Brightness, ColorShift, Corruptions, Flow, Rotation, Spatial, Translation, recipes, testing


class TestParameters(testing.SetConformance):
    sets = [
        Rotation(30), Rotation(0), Rotation(400), Translation(2), Translation(0.2, of="side"), Spatial(30, 3),
        Spatial(0, 1, outside="edge"), Flow(0.7), Flow(), Brightness(0.2),
    ]  # fmt: skip
    shapes = [(1, 5, 6), (3, 8, 7)]


class TestColors(testing.SetConformance):
    sets = [ColorShift(0.1), ColorShift(3.0)]
    shapes = [(3, 5, 6)]
    boxes = ((0.0, 1.0), (-1.7, 2.3), (0.0, 255.0))


class TestBlurs(testing.SetConformance):
    sets = [Blur(1.5), Blur(0)]
    shapes = [(1, 5, 6), (3, 8, 7)]
    but = {"steepest_and_support_agree": "a blur has no negative width: the set lies on one side of x"}


class TestCorruptions(testing.SetConformance):
    sets = [Corruptions("all", 3), Corruptions.all(5, extra=True)]
    shapes = [(1, 9, 8), (3, 12, 12)]
    boxes = ((0.0, 1.0), (-1.7, 2.3))
    dtypes = (torch.float64, torch.float32)


class TestSearches(testing.SearchConformance):
    """Attacks on single parameters; recipes that fit other sets, too, are tried in test_attacks.py."""

    attacks = [
        recipes.rotation("random", draws=12).replace(set=Spatial(60, 1)),
        recipes.rotation("gradient", steps=5).replace(set=Spatial(60, 1)),
        recipes.pgd(steps=5).replace(set=Flow(0.8)),
        recipes.apgd(steps=5).replace(set=Translation(1.5)),
        recipes.malt(steps=5, targets=2).replace(set=Rotation(60)),
    ]


class TestColorShift(testing.SearchConformance):
    attacks = [recipes.color_shift(values=4), recipes.color_shift("gradient", steps=5)]
    threats = (ColorShift(0.4),)
    shape = (3, 4, 4)
