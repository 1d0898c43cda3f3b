"""DDN and FMN where the smallest change is known: linear models in a box, and a curved boundary in the plane."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exact.test_hyperplane import smallest
from exact.test_linear import problem
from ironbound.core.errors import CompositionError, UsageError
from ironbound.models.model import Model
from ironbound.recipes import alma, ddn, fmn, pdpgd
from ironbound.searches.minimum import Closing
from ironbound.searches.moves import Fmn
from ironbound.sets import L0, L1, L2, Linf

BALLS: dict[str, Any] = {"l0": L0(float("inf"), of="coordinates"), "l1": L1(), "l2": L2(), "linf": Linf()}
MAKES = {"ddn": ddn, "fmn": fmn, "alma": alma, "pdpgd": pdpgd}
CASES = [(name, norm) for name, make in MAKES.items() for norm in make().search.norms if norm != "l0"]
COUNTED = [name for name, make in MAKES.items() if "l0" in make().search.norms]
NEAR = 1.025
SURE = 3e-4
"""The judge wants a margin of 1e-4 of the largest logit, some units; slopes are about 3."""


def fewest(x: Tensor, w: Tensor, gap: float) -> float:
    """How many values of x in [0, 1] must change for <w, change> to reach the gap: the best ones go to their edges."""
    gains = torch.where(w * gap > 0, 1 - x, x) * w.abs()
    reached = gains.sort(descending=True).values.cumsum(0) > abs(gap)
    return float(reached.long().argmax()) + 1 if bool(reached.any()) else float("inf")


# ------------------------------------------------------------------------------------------------- linear models
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_on_linear_models_the_smallest_change_is_found(name: str, norm: str) -> None:
    model, x, y, w, b = problem()
    result = MAKES[name]().replace(set=BALLS[norm])(model, x, y)
    for i in range(len(x)):
        best = smallest(norm, x[i], w, -float(x[i] @ w + b), 0.0, 1.0)
        assert bool(result.success[i]) == (best < float("inf"))
        if result.success[i]:
            assert best * (1 - 1e-9) <= float(result.size[i]) <= NEAR * best + SURE


@pytest.mark.parametrize("name", COUNTED)
def test_on_linear_models_the_count_is_the_fewest_or_one_more(name: str) -> None:
    for seed in range(2):
        model, x, y, w, b = problem(seed=seed)
        result = MAKES[name]().replace(set=BALLS["l0"])(model, x, y)
        for i in range(len(x)):
            best = fewest(x[i], w, -float(x[i] @ w + b))
            assert bool(result.success[i]) == (best < float("inf"))
            if result.success[i]:
                assert best <= float(result.size[i]) <= best + 1


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_without_a_box_it_is_the_margin_over_the_dual_norm(name: str, norm: str) -> None:
    model, x, y, w, b = problem()
    free = Model(model.net, range=None, outputs="logits")
    result = MAKES[name]().replace(set=BALLS[norm])(free, x, y)
    best = (x @ w + b).abs() / torch.linalg.vector_norm(w, ord={"linf": 1, "l2": 2, "l1": torch.inf}[norm])
    assert bool(result.success.all())
    assert bool((result.size <= NEAR * best + SURE).all())
    assert bool((result.size >= best * (1 - 1e-9)).all())


# ------------------------------------------------------------------------------------------------- a curved boundary
class Curved(nn.Module):
    """Logits (0, f) of points (u, v) of the plane: f > 0 above a parabola that opens downwards."""

    def forward(self, p: Tensor) -> Tensor:
        u, v = p.flatten(1).unbind(1)
        f = v - 0.6 + 0.8 * (u - 0.45) ** 2
        return torch.stack([torch.zeros_like(f), f], 1)


@cache
def plane() -> tuple[Tensor, Tensor]:
    """All points of a fine grid on the other side, and eight inputs below the parabola."""
    line = torch.linspace(0, 1, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    out = Curved()(grid)
    draw = torch.Generator().manual_seed(3)
    x = torch.rand(60, 2, dtype=torch.float64, generator=draw)
    x = x[Curved()(x).argmax(1) == 0][:8]
    return grid[out[:, 1] > 0], x


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_on_a_curved_boundary_it_is_the_best_of_a_grid(name: str, norm: str) -> None:
    wrong, x = plane()
    y = torch.zeros(len(x), dtype=torch.int64)
    result = MAKES[name]().replace(set=BALLS[norm])(Model(Curved(), range=(0, 1), outputs="logits"), x, y)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    best = torch.stack([torch.linalg.vector_norm(wrong - one, ord=order, dim=1).min() for one in x])
    assert bool(result.success.all())
    assert bool((result.size <= 1.05 * best + 1e-3).all()), (result.size / best).tolist()


# ------------------------------------------------------------------------------------------------- sets
@pytest.mark.parametrize(("name", "norm"), [*CASES, *[(name, "l0") for name in COUNTED]])
def test_masked_values_stay_and_the_rest_is_used_well(name: str, norm: str) -> None:
    """With half of the values masked, the problem is that of the other half."""
    model, x, y, w, b = problem(seed=1)
    mask = torch.arange(x.shape[1]) % 2 == 0
    ball = L0(float("inf"), mask, of="coordinates") if norm == "l0" else type(BALLS[norm])(mask=mask)
    result = MAKES[name]().replace(set=ball)(model, x, y)
    assert bool((result.adversarial == x)[:, ~mask].all())
    for i in range(len(x)):
        gap, inner = -float(x[i] @ w + b), w * mask
        best = fewest(x[i], inner, gap) if norm == "l0" else smallest(norm, x[i], inner, gap, 0.0, 1.0)
        assert bool(result.success[i]) == (best < float("inf"))
        if result.success[i]:
            assert float(result.size[i]) <= (best + 1 if norm == "l0" else NEAR * best + SURE)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_finite_radius_decides_who_is_misled(name: str, norm: str) -> None:
    """Radii a tenth above the smallest change suffice; a tenth below there is nothing, and the input comes back."""
    model, x, y, w, b = problem(seed=2)
    best = torch.tensor([smallest(norm, x[i], w, -float(x[i] @ w + b), 0.0, 1.0) for i in range(len(x))])
    sure = best.isfinite() & (best > 1e-2)
    x, y, best = x[sure], y[sure], best[sure].double()
    above = MAKES[name]().replace(set=type(BALLS[norm])(1.1 * best))(model, x, y)
    below = MAKES[name]().replace(set=type(BALLS[norm])(0.9 * best))(model, x, y)
    assert bool(above.success.all())
    assert bool((above.size <= 1.1 * best).all())
    assert not bool(below.success.any())


# ------------------------------------------------------------------------------------------------- rows and refusals
@pytest.mark.parametrize("name", list(MAKES))
def test_no_more_forward_rows_than_steps_and_fewer_backward(name: str) -> None:
    model, x, y, _, _ = problem()
    result = MAKES[name](60).replace(set=L2())(model, x, y)
    assert int(result.forward.max()) <= 60
    assert result.backward.tolist() == [{"ddn": 42, "fmn": 39}.get(name, 50)] * len(x)
    assert int(result.judged.sum()) == 0


def test_other_norms_and_too_few_steps_are_refused() -> None:
    model, x, y, _, _ = problem()
    with pytest.raises(CompositionError, match="L2"):
        ddn().replace(set=Linf(0.1))(model, x, y)
    for steps, looks in ((1, 0), (3, 2), (5, -1)):
        with pytest.raises(UsageError, match="steps >= 2"):
            Closing(steps, Fmn(), looks)
