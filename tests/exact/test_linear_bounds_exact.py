"""Linear bounds over sets against closed forms: linear models over every ball, windows of a picture, certified radii."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar
from torch import Tensor, nn

from ironbound.certification.bounder import swept
from ironbound.certification.certificates import prove
from ironbound.certification.coefficients import Dense, Spots
from ironbound.certification.crown import Crown
from ironbound.certification.graph import Graph, trace
from ironbound.certification.ibp import Ibp
from ironbound.certification.margins import margins_of
from ironbound.certification.regions import region_of, widened
from ironbound.core.judge import TAU
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng
from ironbound.models.model import Model
from ironbound.sets import L0, L1, L2, Linf
from ironbound.sets.region import InputRegion


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(classes: int = 3, size: int = 6) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).double()


@cache
def traced() -> tuple[nn.Module, Graph]:
    net = linear()
    return net, trace(net, torch.zeros(1, 2, 3, dtype=torch.float64))


def least_of(set_: Any, x: Tensor, y: Tensor, box: Any = (0.0, 1.0)) -> Tensor:
    """All margins of the linear model by backward passes, also those that intervals prove."""
    _, graph = traced()
    with torch.no_grad():
        _, bounder = swept(graph, region_of(set_, x, box), torch.float64)
        owner, other = (y[:, None] != torch.arange(3)).nonzero().unbind(1)
        a = torch.eye(3, dtype=torch.float64)[y[owner]] - torch.eye(3, dtype=torch.float64)[other]
        found = torch.full((len(x), 3), math.inf, dtype=torch.float64)
        return found.index_put((owner, other), bounder.lower(graph.output, Dense(a), owner))


# --------------------------------------------------------------------------------------------------- linear functions
def by_program(kind: str, slope: np.ndarray, down: np.ndarray, up: np.ndarray, eps: float, channels: int = 1) -> float:
    """max slope . move with -down <= move <= up and a norm of at most eps, by other means than the library's."""
    if kind == "linf":
        return float(np.maximum(slope * np.minimum(up, eps), -slope * np.minimum(down, eps)).sum())
    if kind == "l1":  # move = a - b with a, b >= 0
        found = linprog(
            np.concatenate([-slope, slope]), A_ub=np.ones((1, 2 * len(slope))), b_ub=[eps],
            bounds=[(0, top) for top in [*up, *down]],
        )  # fmt: skip
        return -float(found.fun)
    room = np.where(slope > 0, up, down)
    if kind == "l2":  # the dual in the ball's multiplier is convex, and strong
        size = np.abs(slope)

        def dual(log: float) -> float:
            weight = math.exp(log)
            move = np.minimum(size / (2 * weight), room)
            return float((size * move - weight * move**2).sum() + weight * eps**2)

        grid = np.linspace(-30, 20, 400)
        best = grid[np.argmin([dual(log) for log in grid])]
        return float(
            minimize_scalar(dual, bounds=(best - 0.2, best + 0.2), method="bounded", options={"xatol": 1e-12}).fun
        )
    gain = (np.abs(slope) * room).reshape(channels, -1).sum(0)
    chosen = itertools.combinations(range(len(gain)), min(int(eps), len(gain)))
    return max((sum(gain[list(pixels)]) for pixels in chosen), default=0.0)


BALLS = {
    "linf": Linf(0.2),
    "l2": L2(0.4),
    "l1": L1(0.7),
    "l0": L0(2),
    "linf, masked": Linf(0.2, mask=torch.tensor([True, False, True])),
    "l2, masked": L2(0.4, mask=torch.tensor([[True, False, True], [True, True, True]])),
    "l1, masked": L1(0.7, mask=torch.tensor([True, False, True])),
    "l0, masked": L0(2, mask=torch.tensor([True, False, True])),
    "linf, each its own": Linf(torch.tensor([0.0, 0.1, 0.3, 0.7])),
    "l2, each its own": L2(torch.tensor([0.0, 0.1, 0.5, 3.0])),
    "l1, each its own": L1(torch.tensor([0.0, 0.1, 1.0, 9.0])),
    "l0, each its own": L0(torch.tensor([0.0, 1.0, 3.0, 9.0])),
}


@pytest.mark.parametrize("box", [(0.0, 1.0), (-3.0, 4.0)], ids=["near", "far"])
@pytest.mark.parametrize("name", BALLS)
def test_margins_of_linear_models_are_the_worst_point(name: str, box: tuple[float, float]) -> None:
    (net, _), x, y = traced(), draw(4, 2, 3), torch.tensor([0, 1, 2, 1])
    x[0, 0, 0], x[2, 1, 1] = 0.0, 1.0  # at the ends of the range
    ball, weight = BALLS[name], net[1].weight.detach()
    found = least_of(ball, x, y, box)
    mask = torch.ones(2, 3, dtype=torch.bool) if ball.mask is None else ball.mask.expand(2, 3)
    clean = net(x).detach()
    for i, j in itertools.product(range(4), range(3)):
        if j == y[i]:
            assert found[i, j] == math.inf
            continue
        slope = (weight[j] - weight[y[i]]).numpy()
        down, up = ((side * mask).flatten().numpy() for side in (x[i] - box[0], box[1] - x[i]))
        eps = float(ball.eps[i] if isinstance(ball.eps, Tensor) else ball.eps)
        expected = clean[i, y[i]] - clean[i, j] - by_program(ball.norm, slope, down, up, eps)
        assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize(("ball", "dual"), [(Linf(0.01), 1), (L2(0.01), 2), (L1(0.01), math.inf)])
def test_without_a_box_margins_fall_by_the_dual_norm(ball: Any, dual: float) -> None:
    (net, _), x, y = traced(), draw(5, 2, 3), torch.tensor([0, 1, 2, 1, 0])
    weight, clean = net[1].weight.detach(), net(x).detach()
    apart = torch.linalg.vector_norm(weight[y][:, None] - weight, ord=dual, dim=2)
    expected = (clean.gather(1, y[:, None]) - clean - 0.01 * apart).scatter(1, y[:, None], math.inf)
    torch.testing.assert_close(least_of(ball, x, y, None), expected, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------ windows of a picture
@pytest.mark.parametrize("name", ["l2", "l1", "l0", "l0 coordinates", "l2 masked", "l1 each"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_windows_are_bounded_as_whole_planes_are(name: str, dtype: torch.dtype) -> None:
    """Each value of a convolution by the library's own way, against `support` of its row of the matrix."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)).to(dtype)
    x = draw(2, 2, 6, 6).to(dtype)
    mask = draw(6, 6, seed=3) > 0.4
    ball = {
        "l2": L2(0.6), "l1": L1(1.1), "l0": L0(2), "l0 coordinates": L0(3, of="coordinates"),
        "l2 masked": L2(0.6, mask=mask), "l1 each": L1(torch.tensor([0.2, 2.0])),
    }[name]  # fmt: skip
    graph, region = trace(net, x[:1]), region_of(ball, x, (0.0, 1.0))
    name = next(node.name for node in graph.nodes if node.op == "convolution.default")
    _, bounder = swept(graph, region, dtype)
    size = 27
    owner, place = torch.arange(2).repeat_interleave(size), torch.arange(size).repeat(2)
    sign = torch.where(draw(2 * size, seed=4) > 0.5, 1.0, -1.0).to(dtype)
    with torch.no_grad():
        found = bounder.lower(name, Spots(place, sign, (1, 3, 3, 3)), owner)
    matrix = torch.autograd.functional.jacobian(lambda p: net[0](p[None]).flatten(), x[0]).double()
    bias = net[0].bias.detach().double().repeat_interleave(9)
    whole = region_of(ball, x.double(), (0.0, 1.0)).take(owner)
    expected = sign * bias[place] - whole.support(-sign.double().view(-1, 1, 1, 1) * matrix[place])[1]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-5)


# ------------------------------------------------------------------------------------------------------------ soundness
@cache
def hidden(pictures: bool) -> tuple[nn.Sequential, Graph]:
    front = [nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten()] if pictures else [nn.Flatten(), nn.Linear(18, 12), nn.ReLU()]
    net = nn.Sequential(*front, nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    return net, trace(net, torch.zeros(1, 2, 3, 3, dtype=torch.float64))


@settings(max_examples=16, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from(["l2", "l1", "l0", "linf"]), st.booleans())
def test_no_point_of_a_ball_crosses_a_bound(seed: int, norm: str, pictures: bool) -> None:
    (net, graph), random = hidden(pictures), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) / weight[0].numel() ** 0.5)
    x, y = draw(3, 2, 3, 3, seed=seed), torch.tensor([0, 1, 2])
    ball = {"l2": L2(0.5), "l1": L1(0.8), "l0": L0(1), "linf": Linf(0.1)}[norm]
    region = region_of(ball, x, (0.0, 1.0))
    with torch.no_grad():
        found = Crown().margins(graph, region, y, torch.float64).least
        coarse = Ibp().margins(graph, region, y, torch.float64).least
    assert bool((found >= coarse - 1e-12).all())
    worst = torch.full_like(found, math.inf)

    def seen(points: Tensor) -> None:
        assert bool(region.contains(points).all())
        z = net(points).detach()
        worst.copy_(torch.minimum(worst, (z.gather(1, y[:, None]) - z).scatter(1, y[:, None], math.inf)))

    for k in range(20):
        seen(region.sample(Rng.of(k, torch.arange(3))))
        seen(region.support(torch.randn(x.shape, generator=random, dtype=torch.float64))[0])
    for j in range(3):  # towards each class by its gradient, to the set's vertices and half the way there
        p = x.clone()
        for _ in range(8):
            p.requires_grad_()
            z = net(p)
            slope = torch.autograd.grad((z[:, j] - z.gather(1, y[:, None])[:, 0]).sum(), p)[0]
            vertex = region.support(slope)[0]
            seen(vertex)
            p = vertex.detach() if norm == "l0" else region.project(((p + vertex) / 2).detach())
            seen(p)
    assert bool((worst >= found - 1e-9).all())
    assert bool((worst - found)[found.isfinite()].min() < 3)  # and not by being far away


def test_bounds_over_balls_are_tighter_than_over_their_boxes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 3)).double()
    x, y = draw(4, 20), torch.zeros(4, dtype=torch.int64)
    graph = trace(net, x[:1])
    for ball in (L2(0.3), L1(0.3)):
        region = region_of(ball, x, (0.0, 1.0))
        inner = Crown().margins(graph, region, y, torch.float64).least[:, 1:]
        outer = Crown().margins(graph, region_of(Linf(0.3), x, (0.0, 1.0)), y, torch.float64).least[:, 1:]
        assert bool((inner > outer + 0.05).all())


# ------------------------------------------------------------------------------------------------------ sets of one's own
@dataclass(frozen=True)
class Tilted(InputRegion):
    """All x + A u with |u| <= radius: an ellipsoid that has no box of its own, and no regard for the model's."""

    radius: Tensor
    shape: tuple[float, ...]

    def _matrix(self) -> Tensor:
        d = self.x[0].numel()
        return torch.tensor(self.shape, dtype=torch.float64).view(d, d)

    def contains(self, p: Tensor) -> Tensor:
        u = (p - self.x).flatten(1).double() @ torch.linalg.inv(self._matrix()).T
        return torch.linalg.vector_norm(u, dim=1) <= self.radius * (1 + 1e-9)

    def project(self, p: Tensor) -> Tensor:
        raise NotImplementedError

    def support(self, g: Tensor) -> tuple[Tensor, Tensor]:
        along = g.flatten(1).double() @ self._matrix()
        size = torch.linalg.vector_norm(along, dim=1)
        move = (along / size.clamp_min(1e-300)[:, None] * self.radius[:, None]) @ self._matrix().T
        p = self.x + move.view_as(self.x).to(self.x.dtype)
        return p, (g.double() * self.x.double()).flatten(1).sum(1) + self.radius * size


class ScaledTilted(Tilted):
    def scaled(self, radius: Tensor) -> ScaledTilted:
        return ScaledTilted(self.x, self.box, radius, self.shape)


@dataclass(frozen=True)
class Ellipsoid:
    radius: float
    kind: type[Tilted] = ScaledTilted
    can: ClassVar[Can] = Can.SUPPORT

    def at(self, x: Tensor, box: Any) -> Tilted:
        d = x[0].numel()
        matrix = draw(d, d, seed=7) - 0.3
        radius = torch.full((len(x),), self.radius, dtype=torch.float64)
        return self.kind(x, box, radius, tuple(matrix.flatten().tolist()))


def test_a_region_that_says_its_support_alone_gets_its_box() -> None:
    x = draw(3, 2, 3)
    region = region_of(Ellipsoid(0.1), x, None)
    half = 0.1 * torch.linalg.vector_norm(draw(6, 6, seed=7) - 0.3, dim=1).view(2, 3)
    torch.testing.assert_close(region.lo, x - half, rtol=0, atol=1e-11)
    torch.testing.assert_close(region.hi, x + half, rtol=0, atol=1e-11)
    assert bool((region.lo < x - half).all())  # outwards
    some = region.take(torch.tensor([2, 2, 0]))
    assert torch.equal(some.lo, region.lo[[2, 2, 0]])
    cut = region_of(Ellipsoid(0.1), x, (0.0, 1.0))
    assert bool(((cut.lo >= 0) & (cut.hi <= 1)).all())


def test_sets_of_ones_own_are_bounded_exactly_on_linear_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ironbound.certification.regions.WORK", 1024)  # several portions
    (net, _), x, y = traced(), draw(4, 2, 3), torch.tensor([0, 1, 2, 1])
    found, weight, clean = least_of(Ellipsoid(0.1), x, y, None), net[1].weight.detach(), net(x).detach()
    along = torch.linalg.vector_norm((weight[y][:, None] - weight) @ (draw(6, 6, seed=7) - 0.3), dim=2)
    expected = (clean.gather(1, y[:, None]) - clean - 0.1 * along).scatter(1, y[:, None], math.inf)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_radii_of_sets_of_ones_own() -> None:
    net, x = linear(), draw(12, 2, 3)
    y = net(x).argmax(1)
    weight, clean = net[1].weight.detach(), net(x).detach()
    along = torch.linalg.vector_norm((weight[y][:, None] - weight) @ (draw(6, 6, seed=7) - 0.3), dim=2)
    gap = (clean.gather(1, y[:, None]) - clean - TAU * 3).clamp_min(0)
    exact = (gap / along).scatter(1, y[:, None], math.inf).amin(1)
    model = Model(net, range=None)
    found = prove(Crown(), model, x, y, Ellipsoid(0.3))
    assert 0 < int(found.certified.sum()) < 12
    torch.testing.assert_close(found.radius, exact.clamp_max(0.3), rtol=0, atol=0.3 / 4096 + 2e-3)
    rigid = prove(Crown(), model, x, y, Ellipsoid(0.3, Tilted))
    assert torch.equal(rigid.certified, found.certified)
    assert torch.equal(rigid.radius, found.certified.double() * 0.3)


# ------------------------------------------------------------------------------------------------------ certified radii
@pytest.mark.parametrize(("kind", "dual"), [(Linf, 1), (L2, 2), (L1, math.inf)])
@pytest.mark.parametrize("method", [Ibp(), Crown()], ids=["ibp", "crown"])
def test_radii_of_linear_models_are_their_distances(kind: Any, dual: float, method: Any) -> None:
    (model, graph), x = unbounded(), draw(60, 2, 3).float()
    net = model.net
    y = net(x).argmax(1)
    y[::10] = (y[::10] + 1) % 3
    weight, clean = net[1].weight.detach().double(), net(x).detach().double()
    dual = 1 if isinstance(method, Ibp) else dual
    apart = torch.linalg.vector_norm(weight[y][:, None] - weight, ord=dual, dim=2)
    exact = ((clean.gather(1, y[:, None]) - clean) / apart).scatter(1, y[:, None], math.inf).amin(1).clamp_min(0)
    eps = float(exact.quantile(0.6))
    found = prove(method, model, x, y, kind(eps), graph=graph)
    slack = eps / 4096 + 2 * TAU * 3 / float(apart[apart > 0].min())  # the tolerance in logits over the least slope
    assert bool((found.radius <= exact + 1e-7).all())
    assert bool((found.radius >= exact.clamp_max(eps) - slack).all())
    assert found.certified.tolist() == (found.radius == eps).tolist()
    assert 10 < int(found.certified.sum()) < 50


@cache
def unbounded() -> tuple[Model, Graph]:
    model = Model(linear().float(), range=None)
    return model, trace(model.module, torch.zeros(1, 2, 3))


def test_radii_in_pixels_are_whole_numbers() -> None:
    net, x = linear(3, 8).float(), draw(30, 2, 2, 2).float()
    net[1].bias.data[0] += 0.9
    model, y = Model(net), net(x).argmax(1)
    graph = trace(model.module, x[:1])
    found = prove(Crown(), model, x, y, L0(4), graph=graph)
    single = [prove(Crown(), model, x, y, L0(k), radii=False, graph=graph).certified for k in range(1, 5)]
    assert found.radius.tolist() == torch.stack(single).sum(0).double().tolist()
    assert len(set(found.radius.tolist())) > 2


# -------------------------------------------------------------------------------------- float32 witnesses, float64 regions
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 100_000), st.sampled_from([Linf, L2, L1]), st.sampled_from([1e-8, 1e-3, 8 / 255, 0.3, 2.0]))
def test_what_attacks_may_reach_in_float32_is_in_the_region_that_is_proved(seed: int, kind: Any, eps: float) -> None:
    random = torch.Generator().manual_seed(seed)
    near = torch.rand(8, 5, generator=random, dtype=torch.float64) * 1e-9
    x = torch.rand(8, 5, generator=random)
    x[:4] = torch.where(torch.rand(4, 5, generator=random) < 0.5, eps * (1 + near[:4]), x[:4].double()).float()
    box = (0.0, 0.1 if seed % 3 == 0 else 1.0)
    x = x.clamp(0, float(np.nextafter(np.float32(box[1]), np.float32(0))))
    region, proved = kind(eps).at(x, box), widened(region_of(kind(eps), x.double(), box))
    far = region.support(torch.randn(8, 5, generator=random))[0]
    points = [region.lo, region.hi, far, region.sample(Rng.of(seed, torch.arange(8))), x]
    for toward in (-math.inf, math.inf):  # and the next floats, where the judge lets them pass
        points += [torch.nextafter(p, torch.full_like(p, toward)) for p in points[:3]]
    for p in points:
        assert bool((proved.contains(p.double()) | ~region.contains(p)).all())


def test_intervals_of_a_box_that_margins_need_no_pass_for() -> None:
    """On a box a linear model is exact by intervals already: the backward pass must agree with them."""
    x, y = draw(4, 2, 3), torch.tensor([0, 1, 2, 1])
    graph, region = traced()[1], region_of(Linf(0.2), x, (0.0, 1.0))
    passed, _ = swept(graph, region, torch.float64)
    torch.testing.assert_close(least_of(Linf(0.2), x, y), margins_of(passed, y), rtol=0, atol=1e-12)
