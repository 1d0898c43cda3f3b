"""Few pixels on models where the fewest are known: on linear ones a knapsack, on small others every choice is tried."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from exact.test_fab import Linear, inputs
from exact.test_linear import MODELS, Two, problem
from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Want
from ironbound.core.task import Task
from ironbound.goals import Targeted
from ironbound.models.model import Model
from ironbound.searches.greedy import Greedy
from ironbound.searches.saliency import Saliency, best_pair
from ironbound.searches.vfga import Voting
from ironbound.sets import L0, Linf
from parity.hearing import Overheard

LOGITS: dict[str, Any] = {"outputs": "logits"}
SLACK = 2e-4
"""The judge wants a margin of 1e-4 of the largest logit."""


def fewest(gains: Tensor, gap: float) -> float:
    """How many of these gains, the largest first, close the gap; inf where all do not."""
    total = gains.sort(descending=True).values.cumsum(0)
    enough = (total > gap).nonzero()
    return float(enough[0, 0] + 1) if len(enough) else float("inf")


def gains_of(net: nn.Module, x: Tensor, rival: int, label: int, channels: int, upwards: bool = False) -> Tensor:
    """What each pixel of a linear model can add to the margin of `rival` over `label` within [0, 1]."""
    w = (net.w[:, rival] - net.w[:, label]).detach()
    room = torch.where(w > 0, 1 - x, torch.zeros_like(x) if upwards else x)
    return (w.abs() * room).view(channels, -1).sum(0)


def optimum(net: nn.Module, x: Tensor, label: int, channels: int, slack: float = 0.0) -> float:
    """The fewest pixels that give another class the highest logit, by `slack` of the largest."""
    z = net(x[None])[0].detach()
    others = [k for k in range(len(z)) if k != label]
    sure = slack * float(z.abs().max())
    return min(fewest(gains_of(net, x, k, label, channels), float(z[label] - z[k]) + sure) for k in others)


SEARCHES = {"greedy_l0": recipes.greedy_l0(40), "sigma_zero": recipes.sigma_zero(600)}


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (4, 3)])
@pytest.mark.parametrize("name", SEARCHES)
def test_the_fewest_pixels_of_linear_models_are_found_within_one(name: str, classes: int, channels: int) -> None:
    net, x = Linear(classes, 12 * channels), inputs(12, 12 * channels)
    pictures = x.view(12, channels, 3, 4)
    y = net(x).argmax(1)
    found = SEARCHES[name].replace(set=L0())(Model(net, **LOGITS), pictures, y)
    exact = 0
    for i in range(len(x)):
        least = optimum(net, x[i], int(y[i]), channels)
        assert bool(found.success[i]) == (least < float("inf"))
        if found.success[i]:
            assert least <= float(found.size[i]) <= optimum(net, x[i], int(y[i]), channels, SLACK) + 1
            exact += float(found.size[i]) == least
    assert exact >= (0.9 if name == "greedy_l0" else 0.4) * int(found.success.sum())


@MODELS
def test_greedy_search_is_exact_between_two_classes(kind: type[Two]) -> None:
    for seed in range(3):
        model, x, y, w, b = problem(kind, seed)
        found = recipes.greedy_l0(20).replace(set=L0())(model, x, y)
        for i in range(len(x)):
            towards = w if y[i] == 0 else -w
            gains = towards.abs() * torch.where(towards > 0, 1 - x[i], x[i])
            gap = abs(float(x[i] @ w + b))
            assert fewest(gains, gap) <= float(found.size[i]) <= fewest(gains, gap * (1 + SLACK) + SLACK)


def test_jsma_is_within_one_where_values_only_rise() -> None:
    """It takes two at a time, and moves them in one direction."""
    net, x = Linear(2, 14), inputs(16, 14)
    y = net(x).argmax(1)
    found = recipes.jsma(gamma=1.0).replace(set=L0())(Model(net, **LOGITS), x, y)
    for i in range(len(x)):
        z = net(x[i][None])[0].detach()
        gains = gains_of(net, x[i], 1 - int(y[i]), int(y[i]), 1, upwards=True)
        least = fewest(gains, float(z.max() - z.min()))
        assert bool(found.success[i]) or least > 10  # a last value without a partner in its direction may be missed
        if found.success[i]:
            assert bool((found.adversarial[i] >= x[i]).all())
            assert float(found.size[i]) >= least


class Bent(nn.Module):
    """Two layers of random weights: no closed form."""

    def __init__(self, d: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.a = nn.Parameter(torch.randn(d, 24, dtype=torch.float64, generator=draw))
        self.b = nn.Parameter(torch.randn(24, classes, dtype=torch.float64, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.a).tanh() @ self.b


def corners(net: nn.Module, x: Tensor, label: int, channels: int, most: int) -> float:
    """The fewest pixels, of those up to `most`, that fool the net when each goes to a corner of the box; by trying all."""
    pixels = x.numel() // channels
    ends = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=x.dtype)] * channels).view(-1, channels)
    for count in range(1, most + 1):
        for chosen in combinations(range(pixels), count):
            values = torch.cartesian_prod(*[torch.arange(len(ends))] * count).view(-1, count)
            points = x.view(1, channels, pixels).repeat(len(values), 1, 1)
            points[:, :, list(chosen)] = ends[values].transpose(1, 2)
            if bool((net(points.flatten(1)).argmax(1) != label).any()):
                return float(count)
    return float("inf")


@pytest.mark.parametrize("channels", [1, 3])
def test_few_pixels_of_a_net_are_as_few_as_trying_all_finds(channels: int) -> None:
    net, x = Bent(8 * channels, 4), inputs(12, 8 * channels, seed=2)
    y = net(x).argmax(1)
    found = {
        name: attack.replace(set=L0())(Model(net, **LOGITS), x.view(12, channels, 2, 4), y).size
        for name, attack in {"greedy": recipes.greedy_l0(100), "sigma": recipes.sigma_zero(300)}.items()
    }
    most = 3 if channels == 1 else 2
    least = torch.tensor([corners(net, row, int(label), channels, most) for row, label in zip(x, y, strict=True)])
    known = least <= most
    assert int(known.sum()) >= 8
    for size in found.values():
        assert bool((size[known] <= least[known] + 1).all())
        assert float((size[known] <= least[known]).double().mean()) >= 0.6


@pytest.mark.parametrize(
    "attack", [recipes.greedy_l0(30), recipes.sigma_zero(100), recipes.vfga(), recipes.jsma(gamma=1.0)]
)
def test_a_fixed_radius_is_kept_and_masked_pixels_are(attack: Attack) -> None:
    net, x = Linear(4, 12), inputs(12, 12)
    y = net(x).argmax(1)
    mask = torch.arange(12) % 2 == 0
    for count in (1, 2, 3):
        found = attack.replace(set=L0(count, mask))(Model(net, **LOGITS), x, y)
        assert bool((found.size <= count).all())
        assert torch.equal(found.adversarial[:, ~mask], x[:, ~mask])
    assert bool(found.success.any())


@pytest.mark.parametrize(
    "attack", [recipes.greedy_l0(30), recipes.sigma_zero(100), recipes.vfga(), recipes.jsma(gamma=1.0, maximal=True)]
)
def test_a_class_is_reached_as_a_goal(attack: Attack) -> None:
    """The same search; what it leads to is the goal's."""
    net, x = Linear(4, 12), inputs(20, 12)
    y = (net(x).argmax(1) + 1) % 4
    found = attack.replace(set=L0(), goal=Targeted())(Model(net, **LOGITS), x, y)
    same = attack.replace(set=L0(), goal=Targeted(2))(Model(net, **LOGITS), x, torch.full_like(y, 2))
    other = attack.replace(set=L0(), goal=Targeted(2))(Model(net, **LOGITS), x, torch.zeros_like(y))
    assert float(found.success.double().mean()) >= 0.6
    assert bool((net(found.adversarial).argmax(1) == y)[found.success].all())
    assert float((same.success == other.success).double().mean()) >= 0.9  # draws follow the label, too


@pytest.mark.parametrize("wanted", [recipes.greedy_l0(), recipes.vfga(), recipes.sigma_zero(50)])
def test_what_fails_answers_with_the_input(wanted: Attack) -> None:
    """Searches for the fewest pixels; those for any success answer with their strongest point."""
    net, x = Linear(3, 40), inputs(12, 40)
    y = net(x).argmax(1)
    found = wanted.replace(set=L0(1))(Model(net, **LOGITS), x, y)
    failed = ~found.success
    assert bool(failed.any())
    assert torch.equal(found.adversarial[failed], x[failed])


# ------------------------------------------------------------------------------------------------- the map
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_the_best_pair_is_that_of_all_pairs(seed: int, d: int, whole: bool) -> None:
    """Also where values are equal, or left out."""
    draw = torch.Generator().manual_seed(seed)
    a, c = (torch.randn(4, d, dtype=torch.float64, generator=draw) for _ in range(2))
    if whole:
        a, c = a.round(), c.round()
    out = torch.rand(4, d, generator=draw) < 0.2
    a, c = a.masked_fill(out, -torch.inf), c.masked_fill(out, -torch.inf)
    single = torch.tensor([False, False, False, True])
    value, pair = best_pair(a, c, single)
    for row in range(4):
        pairs = [(i, i) for i in range(d)] if single[row] else list(combinations(range(d), 2))
        sums = [(a[row, [*{i, j}]].sum(), c[row, [*{i, j}]].sum()) for i, j in pairs]
        best = max((float(p * q) for p, q in sums if p > 0 and q > 0), default=0.0)
        assert float(value[row]) == pytest.approx(best, abs=1e-12)
        if best > 0:
            i, j = pair[row].tolist()
            assert (i == j) == bool(single[row])
            assert float(a[row, [*{i, j}]].sum() * c[row, [*{i, j}]].sum()) == pytest.approx(best, abs=1e-12)


def test_pairs_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no feature exceeds another in both terms, none can be left out."""
    a = torch.linspace(0, 1, 50, dtype=torch.float64).expand(3, -1)
    c = 1 - a.square()
    single = torch.zeros(3, dtype=torch.bool)
    whole = best_pair(a, c, single)
    monkeypatch.setattr("ironbound.searches.saliency.PAIRS", 200)
    assert all(torch.equal(one, two) for one, two in zip(whole, best_pair(a, c, single), strict=True))


@pytest.mark.parametrize("settings_", [{}, {"theta": -0.25}, {"maximal": True}, {"theta": 0.25, "maximal": True}])
def test_the_first_step_is_that_of_the_definition(settings_: dict[str, Any]) -> None:
    """Algorithm 3 for a label to leave (NT-JSMA), or of all classes in both directions (M-JSMA), pair by pair."""
    net, x = Bent(9, 4), inputs(10, 9)
    y = net(x).argmax(1)
    attack = recipes.jsma(gamma=0.2, **settings_)
    search: Any = attack.search
    heard = Overheard(search)
    attack.replace(set=L0(), search=heard, want=Want.STRONGEST)(Model(net, **LOGITS), x, y)
    steps = [first_step(net, x[i], int(y[i]), search.theta, search.maximal) for i in range(len(x))]
    moved = [step for step, row in zip(steps, x, strict=True) if not torch.equal(step, row)]
    assert len(moved) >= 7
    torch.testing.assert_close(heard.points[-1], torch.stack(moved))  # no more is asked of those without a pair


def first_step(net: nn.Module, x: Tensor, label: int, theta: float, maximal: bool) -> Tensor:
    """x after the change of the two features with the largest saliency."""
    jacobian: Any = torch.autograd.functional.jacobian(lambda p: net(p[None])[0], x)
    best, point = 0.0, x
    for target in range(len(jacobian)) if maximal else [label]:
        for way in (theta, -theta) if maximal else (theta,):
            sign = (-1.0 if target == label else 1.0) * (1 if way > 0 else -1)
            alpha, beta = sign * jacobian[target], sign * (jacobian.sum(0) - jacobian[target])
            moved = (x + way).clamp(0, 1)
            for i, j in combinations(((moved - x).abs() > 0.01 * abs(theta)).nonzero()[:, 0].tolist(), 2):
                a, b = float(alpha[i] + alpha[j]), float(beta[i] + beta[j])
                if a > 0 > b and -a * b > best * (1 + 1e-12):
                    best, point = -a * b, x.clone()
                    point[[i, j]] = moved[[i, j]]
    return point


# ------------------------------------------------------------------------------------------------- what does not fit
def test_other_sets_and_endless_boxes_are_refused() -> None:
    net, x = Linear(3, 12), inputs(4, 12)
    y = net(x).argmax(1)
    for make in (recipes.jsma, recipes.sigma_zero, recipes.vfga, recipes.greedy_l0):
        with pytest.raises(CompositionError, match="L0"):
            make().replace(set=Linf(0.1))(Model(net), x, y)
    for make in (recipes.vfga, recipes.greedy_l0):
        with pytest.raises(CompositionError, match="range"):
            make().replace(set=L0(3))(Model(net, range=None, **LOGITS), x, y)
    found = recipes.sigma_zero(100).replace(set=L0())(Model(net, range=None, **LOGITS), x, y)
    assert bool(found.success.all())


@pytest.mark.parametrize("make", [lambda: Saliency(theta=0.0), lambda: Saliency(gamma=1.5), lambda: Greedy(steps=0),
                                  lambda: Greedy(share=0.0), lambda: Voting(draws=0), lambda: Voting(steps=0),
                                  lambda: Saliency(maximal=True, probabilities=True)])  # fmt: skip
def test_settings_without_meaning_are_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_a_search_can_ask_for_the_goal() -> None:
    heard = []

    class Curious(Greedy):
        def run(self, task: Task) -> Any:  # type: ignore[override]
            heard.append(task.goal)
            yield from super().run(task)

    net, x = Linear(3, 12), inputs(4, 12)
    attack = recipes.greedy_l0().replace(set=L0(2), search=Curious(steps=2), goal=Targeted(1), want=Want.FIRST)
    attack(Model(net), x, net(x).argmax(1))
    assert heard == [Targeted(1)]
