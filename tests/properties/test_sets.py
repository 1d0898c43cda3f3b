"""What every ball in a box promises: exact edges, nearest projections, dual norms, support functions, honest samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import Tensor

from ironbound.core.errors import CompositionError, InputError
from ironbound.core.rng import Rng
from ironbound.sets import L1, L2, Linf
from ironbound.sets.bounds import edges, inner_box

ORDERS: Any = {Linf: math.inf, L2: 2, L1: 1}
BOXES = [(0.0, 1.0), (-1.7, 2.3), (0.0, 255.0), None]
RADII = [0.0, 1e-12, 1e-7, 1e-4, 8 / 255, 0.1, 0.5, 3.0, 40.0, 1e6, math.inf]
SHAPES = [(1, 1), (3, 7), (2, 3, 4, 4)]

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Given:
    """A region with the numbers it was made of."""

    norm: type[Linf] | type[L2] | type[L1]
    eps: float
    box: Any
    x: Tensor
    seed: int

    @property
    def region(self) -> Any:
        return self.norm(self.eps).at(self.x, self.box)

    def normal(self, scale: float = 1.0) -> Tensor:
        return scale * torch.empty_like(self.x).normal_(generator=torch.Generator().manual_seed(self.seed + 1))

    def points(self) -> Tensor:
        """Points near, at the edge and far away, whatever the set."""
        reach = min(self.eps, 300.0)
        scales = torch.tensor([0.1, 0.9, 1.5, 30.0])[self.seed % 4] * max(reach, 1e-6)
        return self.x + self.normal(float(scales))

    def streams(self, n: int | None = None) -> Rng:
        return Rng.of(self.seed, torch.arange(len(self.x) if n is None else n))


def inputs(shape: tuple[int, ...], box: Any, dtype: torch.dtype, seed: int) -> Tensor:
    """Inputs in the box, a third of their values at its very ends."""
    generator = torch.Generator().manual_seed(seed)
    if box is None:
        return (10 * torch.empty(shape, dtype=torch.float64).normal_(generator=generator)).to(dtype)
    low, high = inner_box(box, dtype)
    unit = (torch.rand(shape, generator=generator, dtype=torch.float64) * 1.5 - 0.25).clamp(0, 1)
    return (low + unit * (high - low)).to(dtype).clamp(low, high)


@st.composite
def regions(
    draw: Any, norms: Any = (Linf, L2, L1), dtypes: Any = (torch.float32, torch.float64), radii: Any = RADII
) -> Given:
    norm, dtype, box = draw(st.sampled_from(norms)), draw(st.sampled_from(dtypes)), draw(st.sampled_from(BOXES))
    shape, seed = draw(st.sampled_from(SHAPES)), draw(st.integers(0, 10_000))
    return Given(norm, draw(st.sampled_from(radii)), box, inputs(shape, box, dtype, seed), seed)


def measured(made: Given, p: Tensor) -> Tensor:
    change = (p.double() - made.x.double()).flatten(1)
    return torch.linalg.vector_norm(change, ord=ORDERS[made.norm], dim=1)


def honestly_inside(made: Given, p: Tensor) -> bool:
    low, high = (-math.inf, math.inf) if made.box is None else made.box
    inside = bool((p.double() >= low).all() and (p.double() <= high).all())
    return inside and bool((measured(made, p) <= made.eps).all())


# ------------------------------------------------------------------------------------------------- projection
@few
@given(regions())
def test_a_projection_is_inside_idempotent_and_leaves_what_is_inside(made: Given) -> None:
    region, p = made.region, made.points()
    q = region.project(p)
    assert bool(region.contains(q).all())
    assert honestly_inside(made, q)
    assert torch.equal(region.project(q), q)
    stays = region.contains(p)
    assert torch.equal(q[stays], p[stays])
    assert torch.equal(region.project(made.x), made.x)
    assert q.dtype == made.x.dtype


@few
@given(regions(norms=[Linf]))
def test_the_nearest_point_of_a_linf_ball_is_the_clamped_one(made: Given) -> None:
    p = made.points()
    low, high = (-math.inf, math.inf) if made.box is None else made.box
    x = made.x.double()
    nearest = p.double().clamp(x - made.eps, x + made.eps).clamp(low, high)
    spacing = torch.finfo(made.x.dtype).eps * (1 + nearest.abs())
    assert bool(((made.region.project(p).double() - nearest).abs() <= spacing).all())


def dykstra(x: Tensor, p: Tensor, eps: float, box: Any) -> Tensor:
    """The nearest point of ball and box by Dykstra's alternating projections, which knows nothing of ours."""
    low, high = (-math.inf, math.inf) if box is None else box
    p, a, b = p.clone(), torch.zeros_like(p), torch.zeros_like(p)
    for _ in range(1000):
        step = p + a - x
        ball = x + step * (eps / step.norm()).clamp_max(1.0) if eps < math.inf else p + a
        a = p + a - ball
        boxed = (ball + b).clamp(low, high)
        b, p = ball + b - boxed, boxed
    return x + (p - x) * (eps / (p - x).norm()).clamp_max(1.0)  # where it has not quite arrived


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(regions(norms=[L2], dtypes=[torch.float64], radii=[1e-4, 8 / 255, 0.5, 3.0, 40.0, math.inf]))
def test_the_nearest_point_of_an_l2_ball_in_a_box(made: Given) -> None:
    p = made.points()
    q, p = made.region.project(p)[0].flatten(), p[0].flatten()
    nearest, slack = (
        dykstra(made.x[0].flatten(), p, made.eps, made.box),
        2e-12 * min(made.eps, 300.0) + 4e-16 * float(p.abs().max()),
    )
    assert float((p - q).norm()) <= float((p - nearest).norm()) * (1 + 1e-9) + slack
    assert float((p - q).norm()) >= float((p - nearest).norm()) * (1 - 1e-2)


@few
@given(regions(norms=[L2, L1]))
def test_no_point_of_the_set_is_nearer_than_the_projection(made: Given) -> None:
    """The variational inequality <p - q, z - q> <= 0 for all z of the set."""
    p, region = made.points(), made.region
    q = region.project(p).double().flatten(1)
    away = p.double().flatten(1) - q
    for z in (made.x, region.support(away.view_as(p).to(p.dtype))[0], region.project(made.x - made.normal())):
        product = (away * (z.double().flatten(1) - q)).sum(1)
        span = away.norm(dim=1) * (z.double().flatten(1) - q).norm(dim=1)
        rounding = 60 * torch.finfo(made.x.dtype).eps * (span + away.norm(dim=1) * made.x.abs().max())
        slack = rounding + 4e-12 * min(made.eps, 300.0) * away.norm(dim=1)
        assert bool((product <= slack).all())


def test_a_point_far_away_is_brought_back() -> None:
    x = torch.full((1, 4), 0.5)
    for norm, distances in ((L2, (1e6, 1e15)), (L1, (1e6, 1e15, 1e30))):
        for far in distances:
            p = norm(0.1).at(x, (0.0, 1.0)).project(torch.full((1, 4), far))
            size = float((p.double() - 0.5).flatten().norm(ORDERS[norm]))
            assert torch.isfinite(p).all()
            assert size <= 0.1
            assert size == pytest.approx(0.1, rel=1e-5)


# ------------------------------------------------------------------------------------------------- edges
@few
@given(regions(norms=[Linf]))
def test_the_edge_is_inside_and_the_next_float_is_not(made: Given) -> None:
    region = made.region
    for edge, sign in ((region.hi, math.inf), (region.lo, -math.inf)):
        assert bool(region.contains(edge).all())
        assert honestly_inside(made, edge)
        beyond = torch.nextafter(edge, torch.full_like(edge, sign))
        change = (beyond.double() - made.x.double()).abs()
        low, high = inner_box(made.box, made.x.dtype)
        if made.x.dtype == torch.float64:  # which cannot measure the last float of its own
            change = change * (1 + 4e-16) + 4e-16 * made.x.abs()
        assert bool(((change > made.eps) | (beyond > high) | (beyond < low) | beyond.isinf()).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("box", BOXES)
def test_edges_of_many_numbers_are_exact(dtype: torch.dtype, box: Any) -> None:
    x = inputs((200, 50), box, dtype, 3)
    for eps in (1e-9, 1e-3, 8 / 255, 1 / 3, 7.1):
        lo, hi = edges(x, torch.full((200,), eps, dtype=torch.float64), box)
        assert bool(((x.double() - lo.double()) <= eps).all())
        assert bool(((hi.double() - x.double()) <= eps).all())
        assert bool(((lo <= x) & (x <= hi)).all())


def test_inner_boxes_end_inside() -> None:
    low, high = inner_box((-1.7, 2.3), torch.float32)
    assert low >= -1.7
    assert high <= 2.3
    assert float(np.float32(low)) == low
    assert inner_box((0.0, 255.0), torch.float32) == (0.0, 255.0)
    assert inner_box(None, torch.float32) == (-math.inf, math.inf)


# ------------------------------------------------------------------------------------------------- support and steepest
@few
@given(regions(radii=[0.0, 1e-7, 8 / 255, 0.5, 3.0, 40.0]))
def test_support_is_attained_and_beats_every_point(made: Given) -> None:
    region, g = made.region, made.normal()
    g[:, :1] = 0
    p, value = region.support(g)
    assert bool(region.contains(p).all())
    product = lambda q: (g.double() * q.double()).flatten(1).sum(1)
    scale = (g.double().abs() * (made.x.double().abs() + min(made.eps, 300.0))).flatten(1).sum(1) + 1e-12
    slack = (20 * torch.finfo(made.x.dtype).eps + 2e-12) * scale
    assert bool(((product(p) - value).abs() <= slack).all())
    for q in (made.x, region.sample(made.streams()), region.project(made.points()), region.project(made.x + 1e3 * g)):
        assert bool((product(q) <= value + slack).all())


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(regions(norms=[L2], dtypes=[torch.float64], radii=[8 / 255, 0.5, 3.0, 40.0]))
def test_support_equals_a_general_solver(made: Given) -> None:
    x, g = made.x[0].flatten()[:6].numpy(), made.normal()[0].flatten()[:6].numpy()
    made = Given(L2, made.eps, made.box, torch.tensor(x)[None], made.seed)
    value = float(made.region.support(torch.tensor(g)[None])[1])
    box = [(None, None)] * len(x) if made.box is None else [made.box] * len(x)
    inside = {
        "type": "ineq",
        "fun": lambda p: 1 - ((p - x) ** 2).sum() / made.eps**2,
        "jac": lambda p: -2 * (p - x) / made.eps**2,
    }
    solved = optimize.minimize(
        lambda p: -(g @ p), x + 1e-3 * made.eps * g, jac=lambda p: -g, bounds=box, constraints=[inside], method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    spread = float(np.abs(g).sum() * made.eps)
    assert value >= -solved.fun - 1e-6 * spread
    assert value <= -solved.fun + 1e-4 * spread


@few
@given(regions(), st.sampled_from([1e-38, 1e-30, 1e-8, 1.0, 1e8, 1e30]))
def test_the_steepest_step_gains_the_dual_norm(made: Given, scale: float) -> None:
    g = made.normal().double() * scale
    g = g.to(made.x.dtype)
    step = made.region.steepest(g).double()
    gain = (g.double() * step).flatten(1).sum(1)
    flat = g.double().flatten(1)
    dual = torch.linalg.vector_norm(flat, ord={Linf: 1, L2: 2, L1: math.inf}[made.norm], dim=1)
    assert torch.allclose(gain, dual, rtol=1e-5, atol=0)
    length = torch.linalg.vector_norm(step.flatten(1), ord=ORDERS[made.norm], dim=1)
    assert torch.allclose(length, torch.ones(len(step)).double(), rtol=1e-5)


@pytest.mark.parametrize("norm", [Linf, L2, L1])
@pytest.mark.parametrize("eps", [0.0, 0.1, math.inf])
def test_a_zero_gradient_moves_nothing(norm: Any, eps: float) -> None:
    x = torch.tensor([[0.0, 0.5, 1.0], [0.2, 0.3, 0.4]])
    region, zero = norm(eps).at(x, (0.0, 1.0)), torch.zeros(2, 3)
    assert torch.equal(region.steepest(zero), zero)
    p, value = region.support(zero)
    assert torch.equal(p, x)
    assert value.tolist() == [0, 0]


def test_support_without_end_is_infinite() -> None:
    x, g = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, -2.0]])
    for norm in (Linf, L2, L1):
        assert norm().at(x, None).support(g)[1].tolist() == [math.inf]
        p, value = norm().at(x, (-1.0, 1.0)).support(g)
        assert p.tolist() == [[1, 0, -1]]
        assert value.tolist() == [3]


# ------------------------------------------------------------------------------------------------- samples
@few
@given(regions())
def test_samples_are_inside_and_differ(made: Given) -> None:
    if made.box is None and math.isinf(made.eps):
        with pytest.raises(CompositionError, match="without end"):
            made.region.sample(made.streams())
        return
    p, other = made.region.sample(made.streams()), made.region.sample(Rng.of(made.seed + 1, torch.arange(len(made.x))))
    assert bool(made.region.contains(p).all())
    assert honestly_inside(made, p)
    assert torch.equal(p, made.region.sample(made.streams()))
    if made.eps > 1e-3 and made.x.numel() > 20:
        assert not torch.equal(p, other)


def test_samples_of_a_linf_ball_are_uniform() -> None:
    n, eps = 4000, 0.1
    x = torch.full((n, 3), 0.5, dtype=torch.float64)
    p = Linf(eps).at(x, (0.0, 1.0)).sample(Rng.of(0, torch.arange(n)))
    for column in ((p - x) / eps).T.numpy():
        assert stats.kstest(column, "uniform", (-1, 2)).pvalue > 0.001
    assert np.abs(np.corrcoef((p - x).T.numpy()) - np.eye(3)).max() < 0.06


def test_samples_of_a_linf_ball_at_the_boxs_end_pile_up_there() -> None:
    n = 2000
    x = torch.zeros(n, 1, dtype=torch.float64)
    p = Linf(0.1).at(x, (0.0, 1.0)).sample(Rng.of(0, torch.arange(n)))
    assert float((p == 0).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert stats.kstest(p[p > 0].numpy() / 0.1, "uniform").pvalue > 0.001


def test_samples_of_an_l2_ball_are_uniform_in_volume_and_direction() -> None:
    n, d, eps = 4000, 5, 0.3
    x = torch.full((n, d), 0.5, dtype=torch.float64)
    change = L2(eps).at(x, (0.0, 1.0)).sample(Rng.of(0, torch.arange(n))) - x
    radius = torch.linalg.vector_norm(change, dim=1)
    assert stats.kstest(((radius / eps) ** d).numpy(), "uniform").pvalue > 0.001
    direction = change / radius[:, None]
    for column in direction.T.numpy():
        assert stats.kstest((column + 1) / 2, stats.beta((d - 1) / 2, (d - 1) / 2).cdf).pvalue > 0.001
    assert abs(np.corrcoef(radius.numpy(), direction[:, 0].numpy())[0, 1]) < 0.06


def test_samples_of_an_l1_ball_are_uniform() -> None:
    """Sizes as of a volume; each change divided by the size as of a flat simplex, with fair signs."""
    n, d, eps = 4000, 5, 0.3
    x = torch.full((n, d), 0.5, dtype=torch.float64)
    change = L1(eps).at(x, (0.0, 1.0)).sample(Rng.of(0, torch.arange(n))) - x
    size = change.abs().sum(1)
    assert stats.kstest(((size / eps) ** d).numpy(), "uniform").pvalue > 0.001
    share = change.abs() / size[:, None]
    for column in share.T.numpy():
        assert stats.kstest(column, stats.beta(1, d - 1).cdf).pvalue > 0.001
    assert bool(((change > 0).double().mean(0) - 0.5).abs().max() < 0.04)
    assert np.abs(np.corrcoef((change > 0).double().T.numpy()) - np.eye(d)).max() < 0.06
    assert abs(np.corrcoef(size.numpy(), share[:, 0].numpy())[0, 1]) < 0.06


# ------------------------------------------------------------------------------------------------- the rest
@few
@given(regions(radii=[1e-4, 8 / 255, 0.5, 3.0]))
def test_scaled_is_the_set_with_another_radius(made: Given) -> None:
    region, p = made.region, made.points()
    radius = torch.linspace(0.3, 2.0, len(made.x), dtype=torch.float64) * made.eps
    scaled = region.scaled(radius)
    assert torch.equal(scaled.radius, radius)
    for i, eps in enumerate(radius.tolist()):
        alone = made.norm(eps).at(made.x[i : i + 1], made.box)
        assert torch.equal(alone.project(p[i : i + 1])[0], scaled.project(p)[i])
        assert torch.equal(alone.contains(p[i : i + 1])[0], scaled.contains(p)[i])
    assert torch.equal(region.scaled(region.radius).lo, region.lo)


@few
@given(regions())
def test_distance_is_that_to_the_projection_and_size_that_to_x(made: Given) -> None:
    region, p = made.region, made.points()
    away = (p.double() - region.project(p).double()).flatten(1)
    assert torch.allclose(region.distance(p), torch.linalg.vector_norm(away, dim=1))
    assert bool((region.distance(p)[region.contains(p)] == 0).all())
    assert torch.allclose(region.size(p), measured(made, p), rtol=1e-14, atol=0)
    assert region.size(made.x).tolist() == [0.0] * len(p)
    assert region.size(p).dtype == torch.float64


@pytest.mark.parametrize("norm", [Linf, L2, L1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layout_of_memory_changes_nothing(norm: Any, dtype: torch.dtype) -> None:
    made = Given(norm, 0.3, (0.0, 1.0), inputs((4, 3, 6, 5), (0.0, 1.0), dtype, 0), 0)
    p, g = made.points(), made.normal()
    layouts = {
        "channels last": lambda t: t.to(memory_format=torch.channels_last),
        "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
        "strided": lambda t: torch.stack([t, t], 1)[:, 0],
        "expanded": lambda t: t,
    }
    for name, layout in layouts.items():
        region = norm(0.3).at(layout(made.x), (0.0, 1.0))
        for ours, theirs in (
            (made.region.project(p), region.project(layout(p))),
            (made.region.contains(p), region.contains(layout(p))),
            (made.region.steepest(g), region.steepest(layout(g))),
            (made.region.support(g)[0], region.support(layout(g))[0]),
            (made.region.sample(made.streams()), region.sample(made.streams())),
        ):
            assert torch.allclose(ours.double(), theirs.double(), rtol=1e-6, atol=1e-7), name
        assert bool(region.contains(region.project(layout(p))).all()), name
    one = torch.full((1, 3, 2, 2), 0.5, dtype=dtype).expand(5, 3, 2, 2)
    assert norm(0.1).at(one, (0.0, 1.0)).project(one + 1).shape == one.shape


@pytest.mark.parametrize("norm", [Linf, L2, L1])
def test_a_corner_of_the_box_can_only_move_inwards(norm: Any) -> None:
    x = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    region = norm(0.25).at(x, (0.0, 1.0))
    outwards = torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])
    assert torch.equal(region.project(x + outwards), x)
    assert torch.equal(region.support(outwards)[0], x)
    inwards = region.support(-outwards)[0]
    assert torch.allclose(region.size(inwards), torch.tensor(0.25).double(), rtol=1e-5)
    one = torch.tensor([[-1.0, 0.5, 1.0], [1.0, 1.0, -0.5]])  # only one value has room: all of the radius is its own
    assert torch.allclose((region.support(one)[0] - x).abs().amax(1), torch.tensor(0.25), rtol=1e-5)


@pytest.mark.parametrize("norm", [Linf, L2, L1])
def test_rows_can_be_taken_repeated_or_none(norm: Any) -> None:
    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0))
    region = norm(0.1).at(x, (0.0, 1.0))
    index = torch.tensor([3, 3, 0])
    some = region.take(index)
    p = x[index] + 0.2
    assert len(some) == 3
    assert torch.equal(some.identity(), x[index])
    assert torch.equal(some.project(p), region.project(x + 0.2)[index])
    none = region.take(torch.zeros(0, dtype=torch.int64))
    empty = torch.zeros(0, 2, 3)
    assert len(none) == 0
    assert none.project(empty).shape == (0, 2, 3)
    assert none.steepest(empty).shape == (0, 2, 3)
    assert none.contains(empty).shape == (0,)
    assert none.size(empty).shape == (0,)
    assert none.support(empty)[1].shape == (0,)
    assert none.sample(Rng.of(0, torch.zeros(0, dtype=torch.int64))).shape == (0, 2, 3)


@few
@given(regions())
def test_a_row_does_not_depend_on_its_company(made: Given) -> None:
    region, p, g = made.region, made.points(), made.normal()
    for i in range(len(made.x)):
        alone, at = region.take(torch.tensor([i])), slice(i, i + 1)
        assert torch.equal(alone.project(p[at])[0], region.project(p)[i])
        assert torch.equal(alone.steepest(g[at])[0], region.steepest(g)[i])
        assert torch.equal(alone.contains(p[at])[0], region.contains(p)[i])
        if not (made.box is None and math.isinf(made.eps)):
            assert torch.equal(
                alone.sample(made.streams().take(torch.tensor([i])))[0], region.sample(made.streams())[i]
            )


def test_what_is_no_tensor_of_floats_is_refused() -> None:
    for x in (torch.zeros(2, 3, dtype=torch.int64), ["a"]):
        with pytest.raises(InputError, match="tensor of floats"):
            Linf(0.1).at(x, (0.0, 1.0))


def test_apply_gives_the_point_itself() -> None:
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    region = L2(0.1).at(x, (0.0, 1.0))
    assert region.apply(x, None) is x
    assert region.leaf(x) is x
    assert region.items is None
