"""The gradient family against its peers: I-FGSM and MI-FGSM of torchattacks, APGD of its authors, point by point.

The golden files hold net, inputs, starts and what the peers did (golden/, made by make_golden.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.core.protocols import Answer, Task
from ironbound.searches.ascent import Ascent
from ironbound.searches.moves import Apgd
from ironbound.sets import L2, Linf
from parity.hearing import Given, golden, overheard


@dataclass(frozen=True)
class Measured(Apgd):
    """APGD that notes its step sizes."""

    sizes: list[Tensor] = field(default_factory=list)

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        super().__call__(task, s, answer, t)
        self.sizes.append(s.size.clone())


@pytest.mark.parametrize("name", ["i_fgsm", "mi_fgsm"])
def test_the_last_iterate_is_that_of_torchattacks(name: str) -> None:
    g = golden("fgsm_family")
    search, _ = overheard(getattr(recipes, name)(steps=10, step=float(g["step"])), g, Linf)
    assert len(search.points) == 11
    torch.testing.assert_close(search.points[-1], g[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "ball"), [("apgd_linf", Linf), ("apgd_l2", L2)])
def test_apgd_follows_its_authors_step_by_step(name: str, ball: type[Linf | L2]) -> None:
    g = golden(name)
    steps = len(g["loss"]) - 1
    move = Measured()
    search, found = overheard(recipes.apgd().replace(search=Ascent(steps, move, Given(g["start"]))), g, ball)
    losses, sizes, shown = torch.stack(search.values), torch.stack(move.sizes), g["points"].shape[1]
    torch.testing.assert_close(losses, g["loss"], rtol=0, atol=1e-9)
    torch.testing.assert_close(sizes, g["size"], rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.stack(search.points)[:, :shown].float(), g["points"], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.points, g["best"], rtol=0, atol=1e-9)
    assert int((sizes[-1] < sizes[0]).sum()) > len(g["x"]) // 2  # the schedule was put to the test


def test_at_the_boxs_edge_the_nearest_point_serves_l2_better() -> None:
    """Where we differ: the authors shrink onto the ball and then clamp, which leaves part of the radius unused."""
    g = golden("apgd_l2_edge")
    search, _ = overheard(recipes.apgd().replace(search=Ascent(len(g["loss"]) - 1, Apgd(), Given(g["start"]))), g, L2)
    assert bool((torch.stack(search.values).amax(0) > g["loss"].amax(0)).all())
