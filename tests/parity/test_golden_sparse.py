"""The sparse attacks against torchattacks, ART and adv-lib: the same points, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.core.protocols import Want
from ironbound.core.rng import Rng
from ironbound.goals import Targeted
from ironbound.models.model import Model
from ironbound.sets import L0
from parity.hearing import golden
from parity.small_net import with_weights

STEPS, DRAWS = 60, 6
EXACT = 1e-9


def found_by(attack: Attack, g: dict[str, Tensor], label: str = "y") -> Any:
    return attack.replace(set=L0(of="coordinates"))(Model(with_weights(g)), g["x"], g[label])


def reached(g: dict[str, Tensor], name: str) -> Tensor:
    with torch.no_grad():
        return with_weights(g)(g[name]).argmax(1)


def test_jsma_is_that_of_torchattacks() -> None:
    g = golden("sparse")
    found = found_by(recipes.jsma(gamma=0.5).replace(goal=Targeted()), g, "target")
    theirs = reached(g, "jsma_up") == g["target"]
    assert torch.equal(found.success, theirs)
    assert int(theirs.sum()) >= 4
    torch.testing.assert_close(found.adversarial[theirs], g["jsma_up"][theirs], rtol=0, atol=EXACT)


def test_jsma_decreases_where_torchattacks_does_not() -> None:
    """With theta < 0 its map is negative wherever it is not 0, so that it always chooses the first value, which is 0 here."""
    g = golden("sparse")
    assert torch.equal(g["jsma_down"], g["x"])
    found = found_by(recipes.jsma(-1.0, gamma=0.5).replace(goal=Targeted()), g, "target")
    assert int(found.success.sum()) >= 10
    assert bool((found.adversarial <= g["x"]).all())


@pytest.mark.parametrize(("name", "theta"), [("art_up", 1.0), ("art_part", 0.3), ("art_down", -1.0)])
def test_jsma_of_probabilities_is_that_of_art(name: str, theta: float) -> None:
    """ART takes the two largest derivatives of the target, also of logits, where the paper's map is another.

    Of probabilities, as here, that is the map. Where no pair is salient any more ART goes on, and ours stops.
    """
    g = golden("sparse")
    found = found_by(recipes.jsma(theta, gamma=1.0, probabilities=True).replace(goal=Targeted()), g, "target")
    theirs = reached(g, name) == g["target"]
    both = theirs & found.success
    assert int(both.sum()) >= 0.7 * int(theirs.sum())
    assert int(both.sum()) >= 10
    torch.testing.assert_close(found.adversarial[both], g[name][both], rtol=0, atol=EXACT)


def test_sigma_zero_is_that_of_adv_lib() -> None:
    g = golden("sparse")
    found = found_by(recipes.sigma_zero(STEPS), g)
    assert bool(found.success.all())
    torch.testing.assert_close(found.adversarial, g["sigma_zero"], rtol=0, atol=EXACT)


def test_vfga_is_that_of_adv_lib(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same draws at every step and side."""
    g = golden("sparse")
    drawn = torch.linspace(0.1, 1.5, DRAWS, dtype=torch.float64)
    monkeypatch.setattr(Rng, "normal", lambda rng, shape, kind: drawn[None, None, :, None].expand(len(rng), 2, -1, 1))
    found = found_by(recipes.vfga(draws=DRAWS).replace(want=Want.STRONGEST), g)
    theirs = (reached(g, "vfga") != g["y"]) & (
        reached(g, "x") == g["y"]
    )  # what is wrong already it changes all the same
    assert int(theirs.sum()) >= 18
    assert bool(found.success.all())
    torch.testing.assert_close(found.adversarial[theirs], g["vfga"][theirs], rtol=0, atol=EXACT)
