"""The penalty attacks where the smallest change is known: linear models, a curved one; L-BFGS beside SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

from exact.test_hyperplane import smallest
from exact.test_linear import Two, problem
from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Want
from ironbound.goals import Confident, Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy
from ironbound.oracles import Direct
from ironbound.recipes import convex_surrogate, cw, ead, lbfgs
from ironbound.searches.lbfgs import Lbfgs
from ironbound.searches.penalty import Bisect, Penalty
from ironbound.sets import L0, L1, L2, Linf
from parity.hearing import Overheard

CLOSE = 1.025


def fewest(x: Tensor, w: Tensor, gap: float) -> float:
    """How many values have to change until <w, change> = gap within [0, 1]."""
    room = torch.where(w * gap > 0, 1 - x, x) * w.abs()
    reach = room.sort(descending=True).values.cumsum(0)
    return float((reach < abs(gap)).sum()) + 1 if float(reach[-1]) >= abs(gap) else float("inf")


# ------------------------------------------------------------------------------------------------- linear models
@pytest.mark.parametrize(
    ("attack", "norm"),
    [(cw(200), L2), (cw(), Linf), (lbfgs(searches=13), L2), (ead(), L1)],
)
def test_the_distance_to_a_hyperplane_is_reached(attack: Attack, norm: Any) -> None:
    """In L2 cw has 200 steps, since 100 of its steps of 0.005 move no value by more than a half, and here some have to."""
    model, x, y, w, b = problem(Two, seed=1, n=4)
    result = attack.replace(set=norm())(model, x, y)
    for i in range(len(x)):
        best = smallest(norm.norm, x[i], w, -float(x[i] @ w + b), 0.0, 1.0)
        assert bool(result.success[i]) == (best < float("inf"))
        if result.success[i]:
            assert best * (1 - 1e-9) <= float(result.size[i]) <= CLOSE * best


def test_few_values_suffice_as_the_closed_form_says() -> None:
    model, x, y, w, b = problem(Two, n=6)
    result = cw(50).replace(set=L0(of="coordinates"))(model, x, y)
    best = torch.tensor([fewest(x[i], w, -float(x[i] @ w + b)) for i in range(len(x))])
    assert torch.equal(result.success, torch.isfinite(best))
    assert bool((result.size >= best)[result.success].all())
    assert bool((result.size <= best + 1)[result.success].all())


# ------------------------------------------------------------------------------------------------- a curved boundary
class Bowl(nn.Module):
    """Two logits whose difference bends: a circle with a dent."""

    def forward(self, x: Tensor) -> Tensor:
        u, v = x.flatten(1).sub(0.5).unbind(1)
        z = 4 * (u**2 + v**2) - 0.3 - 0.2 * torch.sin(5 * u) * v
        return torch.stack([-z, z], 1)


@pytest.mark.parametrize(
    ("attack", "norm", "p"),
    [(cw(), L2, 2), (cw(), Linf, np.inf), (lbfgs(30), L2, 2), (ead(), L1, 1)],
)
def test_on_a_curved_boundary_the_optimum_of_a_grid_is_reached(attack: Attack, norm: Any, p: float) -> None:
    x = torch.tensor([[0.45, 0.52], [0.35, 0.6], [0.2, 0.95]], dtype=torch.float64)
    net = Bowl()
    y = net(x).argmax(1)
    line = torch.linspace(0, 1, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    answers = net(grid).argmax(1)
    result = attack.replace(set=norm())(Model(net), x, y)
    assert bool(result.success.all())
    for i in range(len(x)):
        best = float(torch.linalg.vector_norm(grid[answers != y[i]] - x[i], ord=p, dim=1).min())
        assert float(result.size[i]) <= 1.05 * best


# ------------------------------------------------------------------------------------------------- L-BFGS beside SciPy's
class Softplus(nn.Module):
    """A small smooth net, float64."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.a = nn.Parameter(torch.randn(12, 16, dtype=torch.float64, generator=draw))
        self.b = nn.Parameter(torch.randn(16, 4, dtype=torch.float64, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x.flatten(1) @ self.a) @ self.b


@pytest.mark.parametrize("c", [0.05, 0.5])
def test_l_bfgs_ends_no_higher_than_that_of_scipy(c: float) -> None:
    """The same loss in the same box: the least value that was asked, beside what SciPy's L-BFGS-B converges to."""
    net, draw = Softplus(), torch.Generator().manual_seed(4)
    x = (torch.rand(6, 12, dtype=torch.float64, generator=draw) * 1.5 - 0.25).clamp(0, 1)
    y = net(x).argmax(1)
    search = Overheard(Penalty(Lbfgs(), Bisect(1, c), steps=60, abort=False, hinge=False))
    Attack(L2(), Untargeted(), CrossEntropy(), search, Direct(), Want.SMALLEST)(Model(net), x, y)

    def loss(p: Tensor, i: int) -> Tensor:
        return (p - x[i]).square().sum() - c * nn.functional.cross_entropy(net(p[None]), y[i : i + 1])

    for i in range(len(x)):

        def both(p: np.ndarray, i: int = i) -> tuple[float, np.ndarray]:
            leaf = torch.from_numpy(p).requires_grad_()
            value = loss(leaf, i)
            return float(value.detach()), torch.autograd.grad(value, leaf)[0].numpy()

        found = optimize.minimize(both, x[i].numpy(), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 12, tol=1e-12)
        ours = min(float(loss(p[i], i).detach()) for p in search.points)
        assert ours <= found.fun + 1e-5 * abs(found.fun)


# ------------------------------------------------------------------------------------------------- confidence
@pytest.mark.parametrize("goal", [Untargeted(), Targeted(2)])
def test_confident_examples_have_the_margin_that_was_asked_for(goal: Any) -> None:
    net, draw = Softplus(), torch.Generator().manual_seed(5)
    x = torch.rand(4, 12, dtype=torch.float64, generator=draw)
    y = net(x).argmax(1)
    model, sizes = Model(net), []
    for kappa in (0.0, 3.0):
        result = cw(50, searches=4, c=0.1, rate=0.02).replace(set=L2(), goal=Confident(goal, kappa))(model, x, y)
        assert bool((goal.margin(net(result.adversarial), y) > kappa)[result.success].all())
        assert bool(result.success.all())
        sizes.append(result.size)
    assert bool((sizes[0] <= sizes[1]).all())


def test_confidence_is_a_number_of_logits() -> None:
    assert cw(confidence=2.0).goal == Confident(Untargeted(), 2.0)
    assert cw().goal == Untargeted()
    with pytest.raises(UsageError, match="kappa"):
        Confident(Untargeted(), -1.0)


# ------------------------------------------------------------------------------------------------- the surrogate
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.25), L1(0.5), L0(2, of="coordinates")])
def test_the_surrogate_breaks_what_can_be_broken(threat: Any) -> None:
    """A linear model is broken within a set where its worst point is, up to a hundredth of the margin that was there."""
    model, x, y, w, b = problem(Two, seed=1, n=24)
    result = convex_surrogate(60, kappa=10.0).replace(set=threat)(model, x, y)
    direction = torch.where(y == 0, 1.0, -1.0)[:, None].double() * w
    worst = threat.at(x, (0.0, 1.0)).support(direction)[1] + torch.where(y == 0, b, -b)
    clean = ((x * direction).sum(1) + torch.where(y == 0, b, -b)).abs()
    assert bool(result.success[worst > 0.01 * clean].all())
    assert not bool(result.success[worst <= 0].any())


def test_what_cannot_be_is_refused() -> None:
    model, x, y, _, _ = problem(Two)
    with pytest.raises(CompositionError, match="L1Region"):
        cw(5).replace(set=L1())(model, x, y)
    for make in (lambda: Bisect(0), lambda: Penalty(Lbfgs(), steps=0), lambda: Lbfgs(0), lambda: ead(rate=0.0)):
        with pytest.raises(UsageError):
            make()
