"""Projections against those of AutoAttack's authors, adv-lib and ART, in float64.

Ours aims at the radius less 1e-12 of it, so that no rounding leaves the ball: that share of the radius is the tolerance.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ironbound.searches.hyperplane import Planes
from ironbound.sets import L1
from parity.hearing import golden

SLACK = 2e-12


def cases(size: int, kind: str) -> dict[str, Tensor]:
    return {n.split(".")[2]: t for n, t in golden("l1_projection").items() if n.startswith(f"{kind}.{size}.")}


@pytest.mark.parametrize("size", [7, 64, 400])
@pytest.mark.parametrize("peer", ["official", "adv_lib"])
def test_l1_projections_in_the_box_are_the_peers(size: int, peer: str) -> None:
    """Where there are few values the peers' bisection can end a step early and leave the ball: those rows say nothing.

    (Of one or two values that is each row where the ball holds, so that there is nothing to compare with.)
    """
    g = cases(size, "box")
    ours = L1(1.0).at(g["x"], (0.0, 1.0)).scaled(g["eps"]).project(g["x"] + g["change"])
    length = lambda p: (p - g["x"]).abs().sum(1)
    sound, radius = length(g[peer]) <= g["eps"] * (1 + SLACK), g["eps"][:, None].clamp_min(1)
    torch.testing.assert_close((ours / radius)[sound], (g[peer] / radius)[sound], rtol=0, atol=SLACK)
    assert bool((length(ours) <= g["eps"]).all())
    assert int((~sound).sum()) <= (1 if size == 7 else 0)

    ball_holds = sound & (length((g["x"] + g["change"]).clamp(0, 1)) > g["eps"])
    at_the_end = ((ours < 1e-9) | (ours > 1 - 1e-9)) & ((ours - g["x"]).abs() > 0.01)
    assert int(ball_holds.sum()) >= 2
    assert bool(at_the_end[ball_holds].any())  # in the same rows the box holds too


@pytest.mark.parametrize("size", [1, 2, 7, 64, 400])
@pytest.mark.parametrize("peer", ["adv_lib", "art"])
def test_l1_projections_without_a_box_are_the_peers(size: int, peer: str) -> None:
    change, eps, theirs = cases(size, "box")["change"], cases(size, "box")["eps"], cases(size, "ball")[peer]
    ours = L1(1.0).at(torch.zeros_like(change), None).scaled(eps).project(change)
    radius = eps[:, None].clamp_min(1)
    torch.testing.assert_close(ours / radius, theirs / radius, rtol=0, atol=SLACK)


@pytest.mark.parametrize("size", [5, 48])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("peer", ["", "adv_lib_"])
def test_the_nearest_points_of_planes_are_the_peers(size: int, norm: str, peer: str) -> None:
    """FAB's projections, planes out of reach and values without slope among them: the same points, to rounding errors."""
    g = golden("hyperplane")
    x, w, b = (g[f"{name}.{size}"] for name in "xwb")
    change, _ = Planes(norm, w, 0.0, 1.0).nearest(x, b - (w * x).sum(1))
    torch.testing.assert_close(change, g[f"{peer}{norm}.{size}"], rtol=0, atol=1e-13)
