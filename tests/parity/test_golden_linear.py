"""The attacks that linearise against Foolbox, adv-lib and torchattacks: equal steps, then equal quality at fewer passes.

`deepfool_inside` has inputs far from the edges of the box, `deepfool` digits at both ends of it; see make_golden_linear.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.core.result import Result
from ironbound.models.model import Model
from ironbound.sets import L0, L1, L2, Linf
from parity.hearing import golden
from parity.small_net import with_weights

BALLS = {"l2": L2, "linf": Linf}
FILES = pytest.mark.parametrize("file", ["deepfool_inside", "deepfool"])
NORMS = pytest.mark.parametrize("norm", BALLS)


def ours(attack: Attack, g: dict[str, Tensor], norm: str) -> Result:
    return attack.replace(set=BALLS[norm]())(Model(with_weights(g)), g["x"], g["y"])


def margin(g: dict[str, Tensor], points: Tensor) -> Tensor:
    """By how much the points win, in shares of the largest logit; the judge wants 1e-4."""
    out = with_weights(g)(points).detach()
    rival = out.scatter(1, g["y"][:, None], -math.inf).amax(1)
    return (rival - out.gather(1, g["y"][:, None])[:, 0]) / out.abs().amax(1)


def median(g: dict[str, Tensor], name: str, norm: str) -> float:
    """Of the peer's changes, without those that do not win at all."""
    order = 2 if norm == "l2" else math.inf
    size = torch.linalg.vector_norm((g[name] - g["x"]).flatten(1), ord=order, dim=1)
    return float(size[margin(g, g[name]) > 0].median())


@NORMS
def test_deepfool_takes_foolboxs_steps(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To where the planes are: Foolbox without its 1e-4 in input units, ours without what the judge wants."""
    monkeypatch.setattr("ironbound.searches.linearise.ENOUGH", 0.0)
    g = golden("deepfool_inside")
    found, peer = ours(recipes.deepfool(), g, norm), g[f"bare_{norm}"]
    sure = margin(g, peer) >= 1e-4  # elsewhere the peer stops at a point that the judge does not accept
    assert int(sure.sum()) >= 19
    torch.testing.assert_close(found.points[sure], peer[sure], rtol=0, atol=1e-9)
    assert bool(found.success.all())


@FILES
@NORMS
def test_deepfool_comes_as_near_as_the_peers_and_always_wins(file: str, norm: str) -> None:
    g = golden(file)
    found = ours(recipes.deepfool(), g, norm)
    assert bool((margin(g, found.points) >= 1e-4 * (1 - 1e-9)).all())
    best = min(median(g, f"{peer}_{norm}", norm) for peer in ("foolbox", "adv_lib"))
    assert float(found.size.median()) <= 1.02 * best


def test_at_the_edges_of_the_box_the_peers_end_on_the_boundary() -> None:
    """Where a step is clipped its overshoot is lost: theirs end within rounding of the boundary, or on the wrong side."""
    g = golden("deepfool")
    assert float((margin(g, g["adv_lib_l2"]) < 1e-4).double().mean()) > 0.5
    assert float((margin(g, g["foolbox_l2"]) < 1e-4).double().mean()) > 0.5
    nothing = margin(g, g["torchattacks_l2"])  # which adds nothing at all to the last step
    assert float((nothing.abs() < 1e-6).double().mean()) > 0.5
    assert 0.2 < float((nothing <= 0).double().mean()) < 0.8
    inside = golden("deepfool_inside")
    assert float((margin(inside, inside["adv_lib_l2"]) >= 1e-4).double().mean()) == 1.0


@FILES
def test_superdeepfool_comes_as_near_as_adv_lib(file: str) -> None:
    g = golden(file)
    found = ours(recipes.superdeepfool(), g, "l2")
    assert bool((margin(g, found.points) >= 1e-4 * (1 - 1e-9)).all())
    assert float(found.size.median()) <= 1.02 * median(g, "superdeepfool_l2", "l2")
    assert bool((found.size <= ours(recipes.deepfool(), g, "l2").size).all())


@FILES
@NORMS
def test_the_trust_region_comes_as_near_as_adv_lib(file: str, norm: str) -> None:
    g = golden(file)
    found = ours(recipes.trust_region(), g, norm)
    assert bool((margin(g, found.points) >= 1e-4 * (1 - 1e-9)).all())
    assert float(found.size.median()) <= 1.02 * median(g, f"trust_region_{norm}", norm)


@FILES
def test_sparsefool_changes_no_more_values_than_torchattacks(file: str) -> None:
    g = golden(file)
    model, theirs = Model(with_weights(g)), (g["sparsefool"] - g["x"]).flatten(1)
    fewest = recipes.sparsefool().replace(set=L0(of="coordinates"))(model, g["x"], g["y"])
    least = recipes.sparsefool().replace(set=L1())(model, g["x"], g["y"])
    won = margin(g, g["sparsefool"]) > 0
    assert bool(fewest.success.all() & least.success.all())
    assert float(fewest.size.median()) <= float((theirs[won] != 0).sum(1).double().median())
    assert float(least.size.median()) <= float(theirs[won].abs().sum(1).median())
