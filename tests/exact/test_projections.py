"""Projections and supports of the balls in a box against solvers that know nothing of them, and against their duals.

A few hundred cases are solved by SciPy (brentq on the multiplier, SLSQP, linear programs); thousands more are certified by
weak duality: for a projection q of p, the gap between q's value and any dual value bounds the squared distance to the
true projection from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from ironbound.sets import L1, L2

AGREE = 1e-6
SIZES = {1: 600, 2: 600, 3: 600, 10: 400, 100: 150, 784: 60, 3072: 16, 10_000: 6}


@dataclass(frozen=True)
class Case:
    """A batch of problems of one dimension: every fifth radius is 0, every fifth larger than the box."""

    x: Tensor
    p: Tensor
    g: Tensor
    radius: Tensor
    box: tuple[float, float] | None


def case(rows: int, d: int, norm: Any, dtype: torch.dtype, box: Any, seed: int = 0) -> Case:
    """Inputs of which a third of the values are at the box's ends, points near and far, gradients with zeros."""
    random = torch.Generator().manual_seed(1000 * d + seed)
    normal = lambda: torch.randn(rows, d, generator=random, dtype=torch.float64)
    low, high = box or (-1.0, 1.0)
    x = (low + (high - low) * (torch.rand(rows, d, generator=random, dtype=torch.float64) * 1.5 - 0.25)).clamp(
        low, high
    )
    spread = torch.tensor([0.02, 0.3, 1.0, 3.0]).double()[torch.randint(0, 4, (rows, 1), generator=random)]
    g = normal() * (torch.rand(rows, d, generator=random) > 0.1)
    largest = d if norm is L1 else math.sqrt(d)
    share = torch.rand(rows, generator=random, dtype=torch.float64) ** 2 * 0.7
    share[0::5], share[1::5] = 0.0, 3.0
    kind = lambda t: t.to(dtype)
    return Case(kind(x), kind(x + spread * normal()), kind(g), share * largest * (high - low) * 0.5, box)


def double(made: Case) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, p and g in float64, with the box's ends (of x's own type) as tensors."""
    low, high = made.box or (-math.inf, math.inf)
    x = made.x.double()
    return x, made.p.double(), made.g.double(), torch.full_like(x, low), torch.full_like(x, high)


def length(norm: Any, change: Tensor) -> Tensor:
    return change.abs().sum(1) if norm is L1 else torch.linalg.vector_norm(change, dim=1)


# ------------------------------------------------------------------------------------------------- duals, in bulk
def multiplier(norm: Any, x: Tensor, p: Tensor, q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The multiplier of the ball that an exact projection q would have: read off a value strictly inside the box."""
    length, moved = (p - x).abs(), (q - x).abs()
    free = (q > low + 1e-9) & (q < high - 1e-9) & (moved > 0)
    each = length - moved if norm is L1 else length / moved.clamp_min(1e-300) - 1
    weight = torch.where(free, moved, 0.0)
    found = (torch.where(free, each, 0.0) * weight).sum(1) / weight.sum(1).clamp_min(1e-300)
    at_ends = torch.where((moved > 0) & ~free, each, math.inf).amin(1)  # all that moved met the box: any smaller one
    none = torch.where(torch.isfinite(at_ends), at_ends, length.amax(1) if norm is L1 else 0.0)
    return torch.where(weight.sum(1) > 0, found, none).clamp_min(0.0)


def dual_value(norm: Any, x: Tensor, p: Tensor, m: Tensor, radius: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """min over the box of |p - z|^2 / 2 + m (penalty(z) - its limit), a lower bound of half the squared distance."""
    step = p - x
    if norm is L1:
        z = (x + step.sign() * (step.abs() - m[:, None]).clamp_min(0)).clamp(low, high)
        slack = (z - x).abs().sum(1) - radius
    else:  # the penalty |z - x|^2 / 2
        z = (x + step / (1 + m[:, None])).clamp(low, high)
        slack = (((z - x) ** 2).sum(1) - radius**2) / 2
    return ((p - z) ** 2).sum(1) / 2 + m * slack


@pytest.mark.parametrize("box", [(0.0, 1.0), (-1.5, 2.0), None])
@pytest.mark.parametrize("norm", [L1, L2])
def test_thousands_of_projections_are_certified_by_their_duals(norm: Any, box: Any) -> None:
    for d, rows in SIZES.items():
        made = case(rows, d, norm, torch.float64, box)
        region = norm(made.radius).at(made.x, box)
        q = region.project(made.p)
        assert bool(region.contains(q).all())
        x, p, _, low, high = double(made)
        assert bool((length(norm, q - x) <= made.radius).all())
        m = multiplier(norm, x, p, q, low, high)
        duals = [dual_value(norm, x, p, at, made.radius, low, high) for at in (m, 0 * m)]  # 0: the ball does not matter
        gap = ((p - q) ** 2).sum(1) / 2 - torch.maximum(*duals)
        moves = made.radius > 0  # with radius 0 the set is x alone, and L2's multiplier is infinite
        scale = 1 + torch.linalg.vector_norm(p - x, dim=1)
        assert torch.equal(q[~moves], x[~moves])
        error = (2 * gap.clamp_min(0)).sqrt()  # of strong convexity: |q - q*| <= sqrt(2 gap)
        assert bool((error <= AGREE * scale)[moves].all()), (d, float((error / scale)[moves].max()))


@pytest.mark.parametrize("norm", [L1, L2])
def test_projections_in_float32_agree_with_those_in_float64(norm: Any) -> None:
    for d, rows in SIZES.items():
        made = case(rows, d, norm, torch.float32, (0.0, 1.0), seed=1)
        region = norm(made.radius).at(made.x, made.box)
        q = region.project(made.p)
        exact = norm(made.radius).at(made.x.double(), made.box).project(made.p.double())
        assert bool(region.contains(q).all())
        away = (q.double() - exact).abs().amax(1)
        assert bool((away <= AGREE * (1 + (made.p - made.x).abs().amax(1))).all()), (d, float(away.max()))


def least_bound(steep: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """The least of t R + sum_i (steep_i - t)+ room_i over t >= 0, convex in t, by golden sections."""
    bound = lambda t: t * radius + ((steep - t[:, None]).clamp_min(0) * room).sum(1)
    a, b, golden = torch.zeros_like(radius), steep.amax(1), (math.sqrt(5) - 1) / 2
    for _ in range(60):
        c, e = b - golden * (b - a), a + golden * (b - a)
        left = bound(c) <= bound(e)
        a, b = torch.where(left, a, c), torch.where(left, e, b)
    return torch.minimum(torch.minimum(bound(a), bound(b)), bound(torch.zeros_like(a)))


def test_thousands_of_supports_are_certified_by_their_duals() -> None:
    """For L1 the dual of max <g, z> is min over t >= 0 of t R + sum_i (|g_i| - t)+ room_i, met at some |g_i| or at 0."""
    for d, rows in SIZES.items():
        made = case(min(rows, 200), d, L1, torch.float64, (0.0, 1.0), seed=2)
        point, value = L1(made.radius).at(made.x, made.box).support(made.g)
        x, _, g, low, high = double(made)
        room, steep = torch.where(g > 0, high - x, x - low), g.abs()
        least = least_bound(steep, room, made.radius) + (g * x).sum(1)
        scale = 1 + steep.amax(1) * made.radius.clamp_max(d)
        assert bool((value >= least - AGREE * scale).all()), d
        assert bool((value <= least + 1e-9 * scale).all()), d
        assert bool((((g * point).sum(1) - value).abs() <= 1e-9 * scale).all()), d


# ------------------------------------------------------------------------------------------------- solvers, one by one
def few(norm: Any, d: int, rows: int, seed: int) -> list[tuple[np.ndarray, ...]]:
    made = case(rows, d, norm, torch.float64, (0.0, 1.0), seed)
    q = norm(made.radius).at(made.x, made.box).project(made.p)
    point, value = norm(made.radius).at(made.x, made.box).support(made.g)
    return [
        tuple(t.numpy() for t in row) for row in zip(made.x, made.p, made.g, made.radius, q, point, value, strict=True)
    ]


def by_multiplier(norm: Any, x: np.ndarray, p: np.ndarray, radius: float) -> np.ndarray:
    """The projection by brentq on the multiplier of the ball."""
    step = p - x
    if norm is L1:
        point = lambda m: np.clip(x + np.sign(step) * np.maximum(np.abs(step) - m, 0), 0, 1)
        most, size = float(np.abs(step).max()), lambda z: np.abs(z - x).sum()
    else:
        point, most = lambda m: np.clip(x + step / (1 + m), 0, 1), 1e12
        size = lambda z: np.linalg.norm(z - x)
    if size(point(0.0)) <= radius:
        return point(0.0)
    return point(optimize.brentq(lambda m: size(point(m)) - radius, 0.0, most, xtol=1e-15, rtol=1e-14, maxiter=500))


@pytest.mark.parametrize("norm", [L1, L2])
@pytest.mark.parametrize(("d", "rows"), [(1, 60), (3, 60), (40, 40), (3072, 5), (10_000, 3)])
def test_projections_equal_a_root_finder_on_the_multiplier(norm: Any, d: int, rows: int) -> None:
    for x, p, _, radius, q, _, _ in few(norm, d, rows, seed=3):
        exact = x if radius == 0 else by_multiplier(norm, x, p, float(radius))
        assert np.abs(q - exact).max() <= AGREE


def inside_of(norm: Any, radius: float) -> Any:
    """How far split variables are inside the ball."""
    if norm is L1:
        return lambda v: radius - v.sum()
    return lambda v: radius**2 - ((v[: len(v) // 2] - v[len(v) // 2 :]) ** 2).sum()


@pytest.mark.parametrize("norm", [L1, L2])
def test_projections_equal_a_quadratic_program(norm: Any) -> None:
    """SLSQP on the split variables z = x + up - down, for which the L1 ball is a plane."""
    for x, p, _, radius, q, _, _ in few(norm, 4, 20, seed=4):
        if radius == 0:
            continue
        d, step = len(x), p - x
        ball = inside_of(norm, float(radius))
        solved = optimize.minimize(
            lambda v, d=d, step=step: ((v[:d] - v[d:] - step) ** 2).sum() / 2, np.zeros(2 * d),
            bounds=[(0, 1 - value) for value in x] + [(0, value) for value in x],
            constraints=[{"type": "ineq", "fun": ball}], method="SLSQP", options={"ftol": 1e-15, "maxiter": 500},
        )  # fmt: skip
        theirs, ours = np.linalg.norm(solved.x[:d] - solved.x[d:] - step), np.linalg.norm(q - p)
        assert ours <= theirs + AGREE
        assert ours >= theirs - AGREE or not solved.success


@pytest.mark.parametrize(("d", "rows"), [(1, 20), (3, 40), (50, 30), (3072, 2)])
def test_the_support_of_l1_equals_a_linear_program(d: int, rows: int) -> None:
    for x, _, g, radius, _, point, value in few(L1, d, rows, seed=5):
        bounds = [(0, 1 - v) for v in x] + [(0, v) for v in x]
        solved = optimize.linprog(np.concatenate([-g, g]), np.ones((1, 2 * d)), [radius], bounds=bounds)
        scale = 1 + abs(solved.fun)
        assert abs(value - (g @ x - solved.fun)) <= AGREE * scale
        assert abs(g @ point - value) <= AGREE * scale


@pytest.mark.parametrize(("d", "rows"), [(1, 30), (3, 60), (40, 40), (3072, 4), (10_000, 2)])
def test_the_support_of_l2_equals_a_root_finder(d: int, rows: int) -> None:
    for x, _, g, radius, _, point, value in few(L2, d, rows, seed=6):
        at = lambda t, x=x, g=g: np.clip(x + t * g, 0, 1)
        excess = lambda t, at=at, x=x, radius=radius: np.linalg.norm(at(t) - x) - radius
        t = 1e12 if excess(1e12) <= 0 else optimize.brentq(excess, 0, 1e12, xtol=1e-15, maxiter=500)
        best = x if radius == 0 else at(t)
        scale = 1 + abs(g @ (best - x))
        assert abs(value - g @ best) <= AGREE * scale
        assert abs(g @ point - value) <= AGREE * scale
