"""APGD on DLR, on targeted DLR and within L1 against its authors' code, step by step from the same start, in float64.

(On the cross-entropy within Linf and L2: test_gradient_family.py.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.core.protocols import Answer, Task
from ironbound.searches.ascent import Ascent
from ironbound.searches.moves import Apgd, ApgdL1, Move, checkpoints
from ironbound.sets import L1, L2, Linf
from parity.hearing import Given, Overheard, golden, overheard

CLOSE = 1e-9
"""Fifty steps at worst multiply float64's last bit by a hundred thousand; a step that went otherwise shows as 1e-3."""


@dataclass(frozen=True)
class AsWritten(Apgd):
    """With the one thing in which ours differs: the authors' first window compares the first step's loss with 0.

    Their table of losses is filled from the first step on, and looked up before its beginning, which is its end. Of the
    cross-entropy all losses are above 0, of DLR those of samples that are still right are not.
    """

    def __call__(self, task: Task, s: Any, answer: Answer, t: int) -> None:
        if t == 1:
            s.previous = torch.zeros_like(s.previous)
        super().__call__(task, s, answer, t)


def ascended(name: str, move: Move) -> tuple[Overheard, Tensor, dict[str, Tensor]]:
    """The search with every point of the way that the file describes, our losses (steps + 1, rows), and the file."""
    g = golden(name)
    search = Overheard(Ascent(len(g["loss"]) - 1, move, Given(g["start"])))
    if name == "apgd_dlr_targeted":
        attack = recipes.apgd_targeted(targets=1)
        attack = attack.replace(search=replace(attack.search, search=search))  # type: ignore[type-var]
    else:
        attack = recipes.apgd(loss="dlr" if name == "apgd_dlr" else "ce").replace(search=search)
    overheard(attack, g, L1 if name == "apgd_l1" else Linf)
    return search, torch.stack(search.values), g


@pytest.mark.parametrize("name", ["apgd_dlr", "apgd_dlr_targeted"])
def test_dlr_climbs_as_its_authors_code(name: str) -> None:
    heard, losses, g = ascended(name, AsWritten())
    torch.testing.assert_close(losses, g["loss"], rtol=0, atol=CLOSE)
    shown = g["points"].shape[1]
    torch.testing.assert_close(torch.stack(heard.points)[:, :shown].to(torch.float32), g["points"], rtol=0, atol=1e-6)
    assert int((g["size"][-1] < g["size"][0]).sum()) > len(g["x"]) // 2  # the schedule was put to the test


@pytest.mark.parametrize("name", ["apgd_dlr", "apgd_dlr_targeted"])
def test_ours_differs_in_the_first_window_alone(name: str) -> None:
    _, losses, g = ascended(name, Apgd())
    window = next(iter(checkpoints(len(g["loss"]) - 1)))
    torch.testing.assert_close(losses[: window + 1], g["loss"][: window + 1], rtol=0, atol=CLOSE)
    other = ((losses - g["loss"]).abs() > CLOSE).any(0)
    assert 1 <= int(other.sum()) <= 5
    best, theirs = losses.amax(0), g["loss"].amax(0)
    torch.testing.assert_close(best, theirs, rtol=0, atol=1e-3)  # and it hardly matters: neither side gets further


def test_within_l1_it_climbs_as_its_authors_code() -> None:
    """One row of twenty parts, late: two points in turn are best to within 1e-10, and rounding says whose support counts."""
    heard, losses, g = ascended("apgd_l1", ApgdL1(share=None))
    parted = ((losses - g["loss"]).abs() > CLOSE).any(0)
    assert int(parted.sum()) <= 1
    for row in parted.nonzero()[:, 0].tolist():
        step = int(((losses - g["loss"]).abs() > CLOSE)[:, row].nonzero()[0])
        before = losses[:step, row]
        assert int((before > before.max() - 1e-10).sum()) >= 2
    assert bool((g["share"][-1] < g["share"][0]).any())  # the schedule was put to the test
    shown = torch.stack(heard.points)[:, : g["points"].shape[1]].to(torch.float32)
    kept = ~parted[: g["points"].shape[1]]
    torch.testing.assert_close(shown[:, kept], g["points"][:, kept], rtol=0, atol=1e-6)


@pytest.mark.parametrize("ball", [Linf, L2])
def test_on_other_balls_the_move_stays_apgd(ball: type[Linf | L2]) -> None:
    region = ball(0.1).at(torch.zeros(1, 4), (0.0, 1.0))
    assert Apgd().on(region) == Apgd()
    assert isinstance(Apgd().on(L1(0.1).at(torch.zeros(1, 4), (0.0, 1.0))), ApgdL1)
