"""Linear models, where the strongest change, the worst margin and the exact distance are known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor, nn

from ironbound.core.protocols import Want
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy, Margin
from ironbound.recipes import apgd, fgsm, i_fgsm, mi_fgsm, noise, pgd
from ironbound.sets import L2, Linf

BOX = (0.0, 1.0)
RADII = (0.01, 8 / 255, 0.15, 0.6, 2.5)


class Two(nn.Module):
    """Logits (z0, z1) whose difference z1 - z0 is w x + b."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w / 2), b

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1) * self.w).sum(1) + self.b / 2
        return torch.stack([-z, z], 1)


class One(Two):
    """The one logit w x + b."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * ((x.flatten(1) * self.w).sum(1) + self.b / 2)


class Column(One):
    """The one logit as a column (n, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, None]


MODELS = pytest.mark.parametrize("kind", [Two, One, Column])
NORMS = pytest.mark.parametrize("norm", [Linf, L2])


def problem(kind: type[Two] = Two, seed: int = 0, n: int = 12) -> tuple[Model, Tensor, Tensor, Tensor, float]:
    """A model and inputs of both classes, a third of their values at the box's ends."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.empty(12, dtype=torch.float64).normal_(generator=generator)
    x = (torch.rand(n, 12, dtype=torch.float64, generator=generator) * 1.5 - 0.25).clamp(0, 1)
    b = -float((x @ w).median()) + 1e-3
    return Model(kind(w, b)), x, (x @ w + b > 0).long(), w, b


def worst_margin(x: Tensor, y: int, w: Tensor, b: float, norm: Any, eps: float) -> float:
    """The highest margin that an attack on label y can reach in the ball and the box."""
    direction, x = (w if y == 0 else -w).numpy(), x.numpy()
    low, high = np.zeros_like(x), np.ones_like(x)
    if norm is Linf:
        low, high = np.maximum(low, x - eps), np.minimum(high, x + eps)
        return float((np.where(direction > 0, high, low) * direction).sum()) + (b if y == 0 else -b)
    at = lambda t: np.clip(x + t * direction, low, high)
    excess = lambda t: np.linalg.norm(at(t) - x) - eps
    far = 1e4
    t = far if excess(far) <= 0 else optimize.brentq(excess, 0, far, xtol=1e-15, rtol=1e-14, maxiter=500)
    return float(at(t) @ direction) + (b if y == 0 else -b)


def distance(x: Tensor, y: int, w: Tensor, b: float, norm: Any) -> float:
    """The smallest radius at which the worst margin is zero; inf where the whole box is safe."""
    margin = lambda eps: worst_margin(x, y, w, b, norm, eps)
    return float("inf") if margin(20.0) <= 0 else optimize.brentq(margin, 0, 20, xtol=1e-13, rtol=1e-13)


@MODELS
@pytest.mark.parametrize("objective", [CrossEntropy(), Margin()])
@pytest.mark.parametrize("eps", RADII)
def test_fgsm_is_optimal_for_linf(kind: type[Two], objective: Any, eps: float) -> None:
    model, x, y, w, b = problem(kind)
    result = fgsm().replace(set=Linf(eps), objective=objective, want=Want.STRONGEST)(model, x, y)
    best = torch.tensor([worst_margin(x[i], int(y[i]), w, b, Linf, eps) for i in range(len(x))], dtype=torch.float64)
    assert torch.allclose(result.margin, best, atol=1e-9)
    assert torch.equal(result.success, best > 0)


@MODELS
@NORMS
@pytest.mark.parametrize("eps", RADII)
@pytest.mark.parametrize(
    "build",
    [
        lambda eps: pgd(30, step=2 * eps),
        lambda eps: apgd(60),
        lambda eps: i_fgsm(40, step=eps / 2),
        lambda eps: mi_fgsm(40, step=eps),
    ],
    ids=["pgd", "apgd", "i_fgsm", "mi_fgsm"],
)
def test_ascent_reaches_the_worst_margin(kind: type[Two], norm: Any, eps: float, build: Any) -> None:
    model, x, y, w, b = problem(kind)
    result = build(eps).replace(set=norm(eps), objective=Margin(), want=Want.STRONGEST)(model, x, y)
    best = torch.tensor([worst_margin(x[i], int(y[i]), w, b, norm, eps) for i in range(len(x))], dtype=torch.float64)
    assert bool((result.margin <= best + 1e-9).all())
    assert torch.allclose(result.margin, best, atol=1e-6)


@MODELS
@NORMS
@pytest.mark.parametrize("seed", range(3))
def test_the_verdict_flips_at_the_distance(kind: type[Two], norm: Any, seed: int) -> None:
    model, x, y, w, b = problem(kind, seed)
    for i in range(len(x)):
        radius, at = distance(x[i], int(y[i]), w, b, norm), slice(i, i + 1)
        if radius == float("inf"):
            assert not bool(pgd(40, step=1.0).replace(set=norm(20.0))(model, x[at], y[at]).success)
            continue
        for factor, broken in ((0.999, False), (1.001, True)):
            attack = pgd(40, step=2 * radius).replace(set=norm(factor * radius))
            result = attack(model, x[at], y[at])
            assert bool(result.success) == broken, (i, radius, factor)
            if broken:
                assert float(result.size) <= factor * radius


@NORMS
def test_chance_stays_below_the_worst_margin(norm: Any) -> None:
    model, x, y, w, b = problem()
    result = noise(200).replace(set=norm(0.3), want=Want.STRONGEST)(model, x, y)
    best = torch.tensor([worst_margin(x[i], int(y[i]), w, b, norm, 0.3) for i in range(len(x))], dtype=torch.float64)
    assert bool((result.margin < best).all())


@NORMS
def test_support_is_the_worst_margin(norm: Any) -> None:
    _, x, _, w, b = problem()
    for eps in RADII:
        value = norm(eps).at(x, BOX).support(w.expand_as(x).contiguous())[1] + b
        best = torch.tensor([worst_margin(row, 0, w, b, norm, eps) for row in x], dtype=torch.float64)
        assert torch.allclose(value, best, atol=1e-9)


@NORMS
def test_without_a_box_the_distance_is_the_margin_over_the_dual_norm(norm: Any) -> None:
    model, x, y, w, b = problem()
    free = Model(model.net, range=None, outputs="logits")
    dual = w.abs().sum() if norm is Linf else w.norm()
    for i in range(len(x)):
        radius = float((x[i] @ w + b).abs() / dual)
        for factor, broken in ((0.999, False), (1.001, True)):
            attack = pgd(5, step=2 * radius, random_start=False).replace(set=norm(factor * radius))
            assert bool(attack(free, x[i : i + 1], y[i : i + 1]).success) == broken
