"""Bounds by every method: nothing crosses them, the exact minimum is above them, tighter methods are tighter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bound_samples import (
    METHODS,
    NETS,
    ORDER,
    crossing,
    draw,
    functionals_crossed,
    least,
    method,
    net,
    reached,
)  # fmt: skip
from ironbound.certification.bounder import swept
from ironbound.certification.certificates import prove
from ironbound.certification.coefficients import Dense
from ironbound.certification.graph import trace
from ironbound.certification.milp import Milp
from ironbound.core.memory import Chunks
from ironbound.models.model import Model
from ironbound.sets import L1, L2, Linf

TOLERANCE = 1e-9
NEAR = 1e-6
"""What milp allows its solver."""
SETTINGS = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.generate),
}
LABELS = torch.tensor([0, 2])
seeds = st.integers(0, 2**20)


def region(set_, seed: int, n: int = 2):
    return set_.at(draw(n, seed), (0.0, 1.0))


SETS = {
    "linf": lambda radius: Linf(radius),
    "masked": lambda radius: Linf(radius, mask=torch.arange(16).view(1, 4, 4) % 3 > 0),
    "l2": lambda radius: L2(2 * radius),
    "l1": lambda radius: L1(4 * radius),
}


# ---------------------------------------------------------------------------------------------------------- soundness
@settings(max_examples=14, **SETTINGS)
@given(st.sampled_from(sorted(NETS)), st.sampled_from(sorted(SETS)), st.sampled_from((0.0, 0.02, 0.1, 0.5)), seeds)
def test_no_point_of_the_set_crosses_a_bound(name, kind, radius, seed):
    graph, own = net(name, seed), region(SETS[kind](radius), seed)
    cheap = tuple(method for method in METHODS if method != "milp")
    assert crossing(graph, own, LABELS, cheap, seed) <= TOLERANCE


@settings(max_examples=14, **SETTINGS)
@given(st.sampled_from(sorted(NETS)), st.sampled_from(sorted(SETS)), st.sampled_from((0.0, 0.02, 0.1, 0.5)), seeds)
def test_no_point_of_the_set_crosses_a_functional_of_any_value(name, kind, radius, seed):
    graph, own = net(name, seed), region(SETS[kind](radius), seed)
    assert functionals_crossed(graph, own, seed, refine=seed % 2 == 0) <= TOLERANCE


@pytest.mark.parametrize("name", sorted(NETS))
def test_float32_has_its_own_ways_to_the_same_bounds(name):
    graph, x = net(name, 2), draw(2, 2).float()
    for radius in (0.0, 0.1):
        assert functionals_crossed(graph, Linf(radius).at(x, (0.0, 1.0)), 2, dtype=torch.float32) <= 1e-4


# -------------------------------------------------------------------------------------------------------- exact minima
@settings(max_examples=6, **SETTINGS)
@given(
    st.sampled_from(("dense", "conv", "residual", "mixed", "pooled")), st.sampled_from(("linf", "masked", "l1")), seeds
)
def test_tighter_methods_are_tighter_and_none_is_above_the_minimum(name, kind, seed):
    graph, own = net(name, seed), region(SETS[kind](0.04), seed)
    exact = Milp(every=True, intermediate="ibp").minima(graph, own, LABELS)
    others = ~exact.least.isinf()
    assert bool((exact.least <= reached(graph, own, LABELS, seed) + TOLERANCE).all())
    torch.testing.assert_close(exact.least[others], exact.attained[others], rtol=0, atol=NEAR)
    index = torch.arange(2).repeat_interleave(3)
    assert bool(own.take(index).contains(exact.points.flatten(0, 1))[others.flatten()].all())
    found = {m: least(m, graph, own, LABELS) for m in METHODS if m != "milp"}
    for bound in found.values():
        assert bound is None or bool((bound <= exact.attained + TOLERANCE).all())
    known = [found[m] for m in ORDER if found.get(m) is not None]
    for wide, tight in zip(known, known[1:], strict=False):
        assert bool((wide <= tight + TOLERANCE).all())


def test_linear_bounds_gain_something_on_the_way_to_the_minimum():
    graph, own = net("conv", 1), region(Linf(0.05), 1)
    bounds = [least(m, graph, own, LABELS).clamp(max=99).mean() for m in ("ibp", "crown", "milp")]
    assert bounds[0] < bounds[1] - 0.1 < bounds[2] - 0.1


# ---------------------------------------------------------------------------------------------------------- metamorphic
def permuted(graph, order):
    """The dense net with the neurons of its first hidden layer in another order."""
    first, second = graph.module[1], graph.module[3]
    with torch.no_grad():
        first.weight.copy_(first.weight[order].clone())
        first.bias.copy_(first.bias[order].clone())
        second.weight.copy_(second.weight[:, order].clone())
    return graph


@pytest.mark.parametrize("name", [m for m in METHODS if m != "alpha-crown"])
def test_the_order_of_neurons_and_the_scale_of_logits_change_nothing(name):
    graph, own = net("dense", 3), region(Linf(0.05), 3)
    before = least(name, graph, own, LABELS)
    again = least(name, permuted(graph, torch.randperm(8, generator=torch.Generator().manual_seed(0))), own, LABELS)
    torch.testing.assert_close(again, before, rtol=1e-6, atol=NEAR)
    with torch.no_grad():
        graph.module[5].weight.mul_(7)
        graph.module[5].bias.mul_(7)
    tolerance = 7 * NEAR if name == "milp" else 1e-9
    torch.testing.assert_close(least(name, graph, own, LABELS), 7 * before, rtol=1e-9, atol=tolerance)


@pytest.mark.parametrize("name", ["ibp", "milp"])
def test_a_larger_set_and_a_whole_one_have_lower_bounds(name):
    graph, x = net("dense", 4), draw(2, 4)
    small, large = (least(name, graph, Linf(eps).at(x, (0.0, 1.0)), LABELS) for eps in (0.04, 0.06))
    assert bool((large <= small + NEAR).all())
    whole = Linf(0.06).at(x, None)
    place = torch.zeros(1, 4, 4, dtype=torch.bool)
    place[0, 1, 1] = True
    halves = []
    for sign in (-1, 1):
        half = type(whole)(x=whole.x + place * sign * 0.03, box=None, lo=whole.lo, hi=whole.hi, radius=whole.radius)
        lo, hi = (
            (whole.lo, torch.where(place, whole.x, whole.hi))
            if sign < 0
            else (torch.where(place, whole.x, whole.lo), whole.hi)
        )
        halves.append(least(name, graph, type(whole)(x=half.x, box=None, lo=lo, hi=hi, radius=whole.radius), LABELS))
    split, unsplit = torch.minimum(*halves), least(name, graph, whole, LABELS)
    assert bool((split >= unsplit - NEAR).all())
    if name == "milp":
        torch.testing.assert_close(split.amin(1), unsplit.amin(1), rtol=0, atol=2 * NEAR)


# -------------------------------------------------------------------------------------------------------- independence
@pytest.mark.parametrize("name", [m for m in METHODS if m != "milp"])
@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_a_row_has_the_same_bounds_in_any_company(name, kind):
    graph, own = net("residual", 5), region(SETS[kind](0.04), 5, 5)
    y = torch.tensor([0, 1, 2, 0, 1])
    together = least(name, graph, own, y)
    for i in range(5):
        alone = least(name, graph, own.take(torch.tensor([i])), y[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-10)
    order = torch.tensor([4, 0, 3, 1, 2])
    torch.testing.assert_close(least(name, graph, own.take(order), y[order]), together[order], rtol=1e-9, atol=1e-10)


def test_chunks_change_no_bound():
    graph, own = net("residual", 6), region(Linf(0.04), 6, 5)
    owner = torch.arange(5).repeat_interleave(3)
    found = []
    for rows in (1, 4, 999):
        _, bounder = swept(graph, own, torch.float64, refine=False)
        bounder.chunks = Chunks(rows, torch.device("cpu"))
        found.append(bounder.lower(graph.output, Dense(torch.eye(3, dtype=torch.float64).repeat(5, 1)), owner))
    torch.testing.assert_close(found[0], found[2], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found[1], found[2], rtol=1e-9, atol=1e-10)


EPS = 0.06


def test_what_is_certified_of_a_float32_model_holds_in_float64():
    graph = net("dense", 8)
    module, x = graph.module, draw(24, 7).float()
    with torch.no_grad():
        y = module(x.double()).argmax(1)
    model = Model(module.float())
    traced = trace(model.module, x[:1])
    own = Linf(EPS).at(x.double(), (0.0, 1.0))
    proofs = {name: prove(method(name), model, x, y, Linf(EPS), radii=False, graph=traced) for name in METHODS}
    module.double()  # the very weights of the float32 model
    low = reached(graph, own, y, 0).amin(1)
    for name, proof in proofs.items():
        assert 0 < int(proof.certified.sum()) < 24, name
        assert bool((proof.margin <= low + 1e-5).all())  # what is far from certified is left at float32's bound
        assert bool((proof.margin <= low + TOLERANCE)[proof.certified].all())
        assert bool((proof.margin[proof.certified] > 1e-5).all())
    for wide, tight in zip(ORDER, ORDER[1:], strict=False):
        assert bool((proofs[wide].certified <= proofs[tight].certified).all())
