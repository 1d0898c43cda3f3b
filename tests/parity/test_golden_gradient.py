"""The gradient family against Foolbox, torchattacks, ART and adv-lib: the last iterate from the same start, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.searches.ascent import Ascent
from ironbound.searches.moves import Slide
from ironbound.sets import L1, L2, Linf
from parity.hearing import Given, golden, overheard

STEPS = 10
EXACT = 1e-12
"""Ten steps of float64 between different ways to write the same sums; a sign that came out otherwise would show as 1e-2."""


def last(attack: Attack, g: dict[str, Tensor], ball: type[Linf | L2 | L1]) -> Tensor:
    return overheard(attack, g, ball)[0].points[-1]


def pgd(step: float, start: Tensor | None = None) -> Attack:
    attack = recipes.pgd(STEPS, step, random_start=False)
    return attack if start is None else started(attack, start)


def started(attack: Attack, start: Tensor) -> Attack:
    """The recipe as it is, from a given start."""
    return attack.replace(search=replace(attack.search, start=Given(start)))  # type: ignore[type-var]


def test_fgsm_is_that_of_torchattacks() -> None:
    g = golden("fgsm_family")
    torch.testing.assert_close(last(recipes.fgsm(), g, Linf), g["fgsm"], rtol=0, atol=EXACT)


def test_pgd_from_a_start_is_that_of_foolbox() -> None:
    g = golden("fgsm_family")
    torch.testing.assert_close(last(pgd(float(g["step"]), g["start"]), g, Linf), g["pgd"], rtol=0, atol=EXACT)


def test_pgd_from_the_input_is_that_of_art_and_adv_lib() -> None:
    """adv-lib returns the last iterate that misled the net, where there is one; ours knows which did."""
    g = golden("fgsm_family")
    search, found = overheard(pgd(float(g["step"])), g, Linf)
    torch.testing.assert_close(search.points[-1], g["art_pgd"], rtol=0, atol=EXACT)
    reached = g["adv_lib_reached"]
    assert torch.equal(found.success, reached)
    torch.testing.assert_close(search.points[-1][reached], g["adv_lib_pgd"][reached], rtol=0, atol=EXACT)


@pytest.mark.parametrize(("name", "started"), [("pgd_l2", True), ("pgd_l2_clean", False)])
def test_pgd_within_l2_is_that_of_foolbox_and_torchattacks(name: str, started: bool) -> None:
    """Where no ball reaches the box; torchattacks adds 1e-10 to the gradient's norm, which moves points by as much."""
    g = golden("pgd_inside")
    attack = pgd(float(g["step"]), g["start"] if started else None)
    torch.testing.assert_close(last(attack, g, L2), g[name], rtol=0, atol=1e-11 if started else 1e-8)


def test_pgd_within_l1_is_that_of_art() -> None:
    g = golden("pgd_inside")
    attack = pgd(float(g["step_l1"]))
    torch.testing.assert_close(last(attack, g, L1), g["pgd_l1"], rtol=0, atol=EXACT)


def test_the_sparse_step_is_that_of_foolbox() -> None:
    """A tenth of the values at a step; from points at the box's ends too, where Foolbox leaves them out as well."""
    g = golden("pgd_inside")
    step = Slide(float(g["step_l1"]), share=0.1)
    attack = recipes.pgd().replace(search=Ascent(STEPS, step))
    torch.testing.assert_close(last(attack, g, L1), g["slide"], rtol=0, atol=EXACT)


def test_nesterov_momentum_is_that_of_torchattacks() -> None:
    g = golden("fgsm_family")
    attack = recipes.ni_fgsm(STEPS, float(g["step"]))
    torch.testing.assert_close(last(attack, g, Linf), g["ni_fgsm"], rtol=0, atol=EXACT)


def test_fgsm_after_a_random_nudge_is_that_of_torchattacks() -> None:
    """One step of half the radius after a nudge of as much: with such steps its iterated form is the paper's R+FGSM."""
    g = golden("fgsm_family")
    attack = started(recipes.r_fgsm(share=0.5), g["nudged"])
    torch.testing.assert_close(last(attack, g, Linf), g["r_fgsm"], rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("file", "name", "ball"), [("fgsm_family", "adam_pgd", Linf), ("pgd_inside", "adam_pgd_l2", L2)]
)
def test_adam_is_that_of_foolbox(file: str, name: str, ball: type[Linf | L2]) -> None:
    g = golden(file)
    attack = started(recipes.adam_pgd(STEPS, float(g["step"])), g["start"])
    torch.testing.assert_close(last(attack, g, ball), g[name], rtol=0, atol=1e-10)
