"""Every set of the house keeps the promises of sets."""

from __future__ import annotations

import math

import torch

from ironbound import L0, L1, L2, Finite, Linf, Union, testing

PIXELS = torch.arange(24).remainder(5).view(2, 3, 4) < 3
RADII = torch.tensor([0.0, 1e-3, 0.3, 7.0])
EACH = torch.stack([PIXELS, ~PIXELS, torch.zeros_like(PIXELS), torch.ones_like(PIXELS)])


def darker(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5


def mirrored(x: torch.Tensor) -> torch.Tensor:
    return x.flip(-1)


class TestBalls(testing.SetConformance):
    sets = [norm(eps) for norm in (Linf, L2, L1) for eps in (8 / 255, 0.7)]


class TestWideBalls(testing.SetConformance):
    sets = [norm(eps) for norm in (Linf, L2, L1) for eps in (0.0, 40.0, math.inf)]
    boxes = ((0.0, 1.0), (0.0, 255.0))
    shapes = [(2, 3, 4)]
    dtypes = (torch.float32,)


class TestRadiiOfTheirOwn(testing.SetConformance):
    sets = [Linf(RADII), L2(RADII), L1(RADII), L0(RADII.ceil())]
    boxes = ((-1.7, 2.3),)


class TestMasks(testing.SetConformance):
    sets = [Linf(0.3, mask=PIXELS), L2(0.7, mask=PIXELS), L1(1.2, mask=EACH), L0(2, mask=EACH), Linf(RADII, mask=EACH)]
    shapes = [(2, 3, 4)]
    boxes = ((0.0, 1.0), (-1.7, 2.3))


class TestFewPixels(testing.SetConformance):
    sets = [L0(0), L0(2), L0(3, of="coordinates"), L0(1000)]
    boxes = ((0.0, 1.0), (-1.7, 2.3), (0.0, 255.0))


class TestUnions(testing.SetConformance):
    sets = [Linf(0.1) | L2(0.5), L1(1.0) | L2(0.4) | Linf(0.05), Union((Linf(RADII), L2(RADII)))]
    boxes = ((0.0, 1.0), None)


class TestFiniteSets(testing.SetConformance):
    sets = [Finite((darker, mirrored), names=("darker", "mirrored")), Finite(())]
    boxes = ((0.0, 1.0), None)
