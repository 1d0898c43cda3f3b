"""FAB on models whose smallest change is known: linear ones with two and many classes; and what it does without a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exact.test_hyperplane import smallest
from exact.test_linear import MODELS, Two, problem
from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Budget, Want
from ironbound.goals import Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.recipes import fab, fab_targeted
from ironbound.searches.fab import Fab
from ironbound.sets import L0, L1, L2, Linf
from ironbound.testing.invariance import (
    budget_holds,
    compaction_changes_nothing,
    order_changes_nothing,
    rows_change_nothing,
    witnesses_hold,
)
from ironbound.testing.trials import Trial
from parity.hearing import Overheard
from probes.cases import N, digits, net_of

NORMS = pytest.mark.parametrize("norm", [Linf, L2, L1])
BUILDS = pytest.mark.parametrize("build", [fab, fab_targeted])


class Linear(nn.Module):
    """Logits x W + b."""

    def __init__(self, classes: int, d: int, seed: int = 0, kind: torch.dtype = torch.float64) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(d, classes, dtype=kind, generator=draw))
        self.b = nn.Parameter(torch.randn(classes, dtype=kind, generator=draw) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w + self.b


def inputs(n: int, d: int, seed: int = 1) -> Tensor:
    """A third of the values at the ends of [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(n, d, dtype=torch.float64, generator=draw) * 1.5 - 0.25).clamp(0, 1)


def attack_on(search: Any, threat: Any, **parts: Any) -> Attack:
    return Attack(threat, Untargeted(), Margin(), search, Direct(), Want.SMALLEST).replace(**parts)


# ------------------------------------------------------------------------------------------------- closed forms
@MODELS
@NORMS
@BUILDS
def test_two_classes_are_told_apart_at_the_distance(kind: type[Two], norm: Any, build: Any) -> None:
    for seed in range(3) if kind is Two else [3]:  # how one logit is read is no matter of which problem it is
        model, x, y, w, b = problem(kind, seed)
        result = build(30).replace(set=norm())(model, x, y)
        for i in range(len(x)):
            best = smallest(norm.norm, x[i], w, -float(x[i] @ w + b), 0.0, 1.0)
            assert bool(result.success[i]) == (best < float("inf"))
            if result.success[i]:
                assert best * (1 - 1e-9) <= float(result.size[i]) <= 1.02 * best


@NORMS
@BUILDS
@pytest.mark.parametrize("classes", [3, 10])
def test_the_nearest_of_many_classes_is_found(norm: Any, build: Any, classes: int) -> None:
    """Class by class always; else mostly, since FAB chooses the plane that would be nearest if there were no box."""
    net, x = Linear(classes, 14), inputs(6, 14)
    z, w = net(x).detach(), net.w.detach()
    y = z.argmax(1)
    result = build(30).replace(set=norm())(Model(net), x, y)
    far = 0
    for i in range(len(x)):
        planes = [(w[:, k] - w[:, y[i]], float(z[i, y[i]] - z[i, k])) for k in range(classes) if k != y[i]]
        sure = 3e-4 * float(z[i].abs().max())  # the judge wants a margin of 1e-4 of the largest logit
        best = min(smallest(norm.norm, x[i], normal, gap, 0.0, 1.0) for normal, gap in planes)
        worst = min(smallest(norm.norm, x[i], normal, gap + sure, 0.0, 1.0) for normal, gap in planes)
        assert bool(result.success[i]) == (best < float("inf"))
        if result.success[i]:
            assert float(result.size[i]) >= best * (1 - 1e-9)
            far += float(result.size[i]) > 1.02 * worst
    assert far <= 2 * (build is fab)


@NORMS
def test_without_a_box_it_is_the_margin_over_the_dual_norm(norm: Any) -> None:
    model, x, y, w, b = problem()
    result = fab(20).replace(set=norm())(Model(model.net, range=None, outputs="logits"), x, y)
    dual = torch.linalg.vector_norm(w, ord={"linf": 1, "l2": 2, "l1": torch.inf}[norm.norm])
    best = (x @ w + b).abs() / dual
    assert bool((result.size <= 1.02 * best).all())
    assert bool((result.size >= best * (1 - 1e-9)).all())


def test_a_goal_is_walked_to_by_its_own_margin() -> None:
    net, x = Linear(5, 14), inputs(10, 14)
    z, w = net(x).detach(), net.w.detach()
    y = z.argmin(1)  # which is to be answered in the end
    result = attack_on(Fab(60, towards=True), L2(), goal=Targeted())(Model(net, range=None, outputs="logits"), x, y)
    for i in range(len(x)):
        nearest = max(float((z[i, k] - z[i, y[i]]) / (w[:, k] - w[:, y[i]]).norm()) for k in range(5) if k != y[i])
        assert bool(result.success[i])
        assert nearest * (1 - 1e-9) <= float(result.size[i]) <= 2 * nearest  # the nearest plane alone is a lower bound


# ------------------------------------------------------------------------------------------------- classes and rows
def test_of_a_thousand_classes_ten_are_linearised() -> None:
    net, x = Linear(1000, 30), inputs(3, 30)
    y = net(x).argmax(1)
    result = fab(5).replace(set=L2())(Model(net), x, y)
    assert result.backward.tolist() == [50] * 3
    assert torch.equal(result.forward, 1 + 2 * 5 + 3 * result.success)  # without a witness there is no final search
    assert bool(result.success.any())
    aimed = fab_targeted(5, targets=4).replace(set=L2())(Model(net), x, y)
    assert aimed.backward.tolist() == [20] * 3
    assert int(aimed.forward.max()) <= 1 + 4 * (1 + 2 * 5 + 3)
    assert bool(aimed.success.any())


def test_gradients_of_all_classes_come_some_problems_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = net_of(torch.float64), digits()[0][:7].double()
    whole = fab(4).replace(set=L2())(Model(net), x, digits()[1][:7])
    monkeypatch.setattr("ironbound.searches.fab.MOST", 2 * 10 * 64)
    parts = fab(4).replace(set=L2())(Model(net), x, digits()[1][:7])
    assert torch.equal(whole.points, parts.points)
    assert torch.equal(whole.backward, parts.backward)


# ------------------------------------------------------------------------------------------------- where nothing pulls
class Flat(nn.Module):
    """Answers class 0, whatever it sees; `bend` says what its gradient is."""

    def __init__(self, bend: Any) -> None:
        super().__init__()
        self.bend, self.scale = bend, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        pull = self.bend(x.flatten(1) * self.scale).sum(1)
        return torch.stack([1 + pull, pull * 2, -1 - pull], 1)


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * torch.nan


@NORMS
@pytest.mark.parametrize("bend", [lambda x: 0 * x, Broken.apply], ids=["zero", "nan"])
@pytest.mark.parametrize("towards", [False, True])
def test_without_a_gradient_it_stays_where_it_is(norm: Any, bend: Any, towards: bool) -> None:
    x, watch = inputs(4, 6), Overheard(Fab(3, towards=towards))
    result = attack_on(watch, norm(0.5))(Model(Flat(bend)), x, torch.zeros(4, dtype=torch.int64))
    assert not bool(result.success.any())
    assert len(watch.points) == 7
    assert all(torch.equal(points, x) for points in watch.points)


# ------------------------------------------------------------------------------------------------- the walk
@NORMS
def test_other_walks_start_half_the_radius_away(norm: Any) -> None:
    x, y = inputs(5, 40) * 0.2 + 0.4, torch.zeros(5, dtype=torch.int64)
    for eps in (0.01, 0.1):
        watch = Overheard(Fab(2, restarts=3, final=0))
        attack_on(watch, norm(eps))(Model(Flat(lambda x: 0 * x)), x, y)
        starts = [watch.points[1], watch.points[5], watch.points[9]]
        order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm.norm]
        sizes = [torch.linalg.vector_norm(start - x, ord=order, dim=1) for start in starts]
        assert torch.equal(starts[0], x)
        assert all(torch.allclose(size, torch.full_like(size, eps / 2)) for size in sizes[1:])
        assert not bool((starts[1] == starts[2]).all(1).any())


@NORMS
def test_restarts_and_final_looks_never_lengthen(norm: Any) -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    size = lambda search: attack_on(search, norm())(Model(net), x, y).size
    once, bare = size(Fab(2)), size(Fab(2, final=0))
    assert bool((once <= bare).all())
    assert bool((once < bare).any())
    again = size(Fab(2, restarts=3))
    assert bool((again <= once * 1.02).all())  # the final looks begin elsewhere


@NORMS
def test_what_is_masked_never_changes(norm: Any) -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, 2:6, 2:7] = True
    watch = Overheard(Fab(6, restarts=2))
    result = attack_on(watch, norm(mask=mask))(Model(net), x, y)
    assert bool(result.success.any())
    assert bool((result.points == x)[:, ~mask].all())
    assert all(torch.equal(points[:, ~mask], x[:, ~mask]) for points in watch.points if len(points) == len(x))


def test_it_walks_beyond_the_ball_but_answers_within() -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    free = fab(10).replace(set=Linf())(Model(net), x, y)
    eps = float(free.size.median())
    watch = Overheard(Fab(10))
    held = attack_on(watch, Linf(eps))(Model(net), x, y)
    assert bool((held.size[held.success] <= eps).all())
    assert 0 < int(held.success.sum()) < N
    assert torch.allclose(held.size[held.success], free.size[held.success], rtol=0.02)
    assert max(float((points - x).abs().max()) for points in watch.points if len(points) == N) > eps


def test_first_is_enough_where_any_witness_will_do() -> None:
    net, x, y = net_of(torch.float64), digits()[0][:N].double(), digits()[1][:N]
    smallest_ = fab_targeted(8).replace(set=L2(0.8))(Model(net), x, y)
    first = fab_targeted(8).replace(set=L2(0.8), want=Want.FIRST)(Model(net), x, y)
    assert bool(smallest_.success.any())
    assert torch.equal(first.success, smallest_.success)
    assert int(first.backward.sum()) < int(smallest_.backward.sum()) / 2


# ------------------------------------------------------------------------------------------------- promises
def _images(kind: torch.dtype) -> tuple[Model, Tensor, Tensor]:
    return Model(net_of(kind)), digits()[0][:N].to(kind), digits()[1][:N]


CASES = {
    "linf": Trial(fab(4, restarts=2).replace(set=Linf(0.1)), _images, N),
    "l2_targeted": Trial(fab_targeted(4, targets=3).replace(set=L2(0.8)), _images, N),
    "l1_targeted_first": Trial(
        fab_targeted(4, targets=3, restarts=2).replace(set=L1(3.0), want=Want.FIRST), _images, N
    ),
    "l1": Trial(fab(4).replace(set=L1(3.0), budget=Budget(forward=7)), _images, N),
}


@pytest.mark.parametrize("name", CASES)
def test_batch_order_and_compaction_change_nothing(name: str) -> None:
    case = CASES[name]
    ours = case.run()
    assert bool(ours.success.any())
    rows_change_nothing(case, 5, ours)
    compaction_changes_nothing(case, ours)
    for which in ("reversed", "subset", "middle"):
        order_changes_nothing(case, which, ours)


@pytest.mark.parametrize("name", CASES)
def test_budgets_hold_and_witnesses_too(name: str) -> None:
    for forward in (0, 1, 2, 5, 11):
        budget_holds(CASES[name], forward)
    witnesses_hold(CASES[name].replace(budget=Budget()), torch.float32)


# ------------------------------------------------------------------------------------------------- refusals
def test_what_it_cannot_do_is_refused() -> None:
    net, x, y = net_of(torch.float64), digits()[0][:4].double(), digits()[1][:4]
    with pytest.raises(CompositionError, match="ball"):
        fab(2).replace(set=L0(3))(Model(net), x, y)
    with pytest.raises(CompositionError, match="leads away from the label"):
        attack_on(Fab(2), L2(), goal=Targeted(3))
    for wrong in (
        {"steps": 0},
        {"restarts": 0},
        {"classes": 1},
        {"final": -1},
        {"alpha_max": 2},
        {"beta": 0},
        {"eta": 0.5},
    ):
        with pytest.raises(UsageError):
            Fab(**wrong)  # type: ignore[arg-type]
