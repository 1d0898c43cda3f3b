"""The minimum by mixed-integer programs: attained by its point, equal to every activation pattern's and to a dense grid's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog
from torch import Tensor, nn

from bound_samples import net
from ironbound.certification import encoding
from ironbound.certification import milp as module
from ironbound.certification.certificates import prove
from ironbound.certification.graph import evaluate, trace
from ironbound.certification.margins import margins
from ironbound.certification.milp import Milp
from ironbound.core.errors import SoundnessAlarm, UnsupportedOperation, UsageError
from ironbound.models.model import Model
from ironbound.sets import L1, L2, Linf
from ironbound.sets.linf import LinfRegion

NEAR = 1e-6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relus(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Of(nn.Module):
    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(self, x)


def solved(net: nn.Module, lo: Tensor, hi: Tensor, y: Tensor, **settings):
    graph = trace(net.float(), lo[:1].float())
    net.double()
    return Milp(**{"every": True} | settings).minima(graph, boxed(lo, hi), y)


def boxed(lo: Tensor, hi: Tensor) -> LinfRegion:
    """Any boxes, as a set would give them."""
    return LinfRegion(x=(lo + hi) / 2, box=None, lo=lo, hi=hi, radius=(hi - lo).flatten(1).amax(1) / 2)


def by_patterns(net: nn.Sequential, lo: Tensor, hi: Tensor, c: Tensor) -> float:
    """The least c.net(x) over the box: a linear program for each sign of each neuron."""
    layers = [(part.weight.detach().numpy(), part.bias.detach().numpy()) for part in net if isinstance(part, nn.Linear)]
    best = math.inf
    for signs in itertools.product((0, 1), repeat=sum(len(b) for _, b in layers[:-1])):
        weight, bias, used, rows, most = np.eye(len(lo)), np.zeros(len(lo)), 0, [], []
        for w, b in layers[:-1]:
            weight, bias = w @ weight, w @ bias + b
            on = np.array(signs[used : used + len(b)])
            rows.append(np.where(on, -1, 1)[:, None] * weight)
            most.append(np.where(on, 1, -1) * bias)
            weight, bias, used = on[:, None] * weight, on * bias, used + len(b)
        w, b = layers[-1]
        objective, offset = c.numpy() @ w @ weight, float(c.numpy() @ (w @ bias + b))
        ends = list(zip(lo.tolist(), hi.tolist(), strict=True))
        found = linprog(objective, np.concatenate(rows), np.concatenate(most), bounds=ends)
        best = min(best, found.fun + offset) if found.status == 0 else best
    return best


@pytest.mark.parametrize("seed", range(1))
def test_the_minimum_is_that_over_all_activation_patterns(seed):
    net, x, y = relus(3, 3, 3, 3, seed=seed), draw(1, 3, seed=seed), torch.tensor([seed])
    found = solved(net, x - 0.6, x + 0.6, y)
    for j in (j for j in range(3) if j != seed):
        c = torch.zeros(3, dtype=torch.float64)
        c[seed], c[j] = 1, -1
        exact = by_patterns(net, (x - 0.6)[0], (x + 0.6)[0], c)
        assert exact - NEAR <= float(found.least[0, j]) <= exact + 1e-12
        assert float(found.attained[0, j]) == pytest.approx(exact, abs=1e-9)


class Bends(nn.Module):
    """A logit for every kind of operation that milp writes as constraints, of two inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.head = nn.Linear(2, 6), nn.ModuleList(nn.Linear(6, 1) for _ in range(5))

    def forward(self, x):
        z, (a, b, c, d, e) = self.first(x), self.head
        return torch.cat([
            a(F.leaky_relu(z, 0.3)),
            b(F.hardtanh(z, -0.2, 0.3).clamp_min(-0.1).clamp(max=0.2)) + F.relu6(4 * z[:, :1]),
            torch.maximum(z[:, :1], -x[:, :1]) - torch.minimum(x[:, 1:], torch.tensor(0.3)),
            z.amax(1, keepdim=True) - z[:, ::2].amin(1, keepdim=True),
            c(F.relu(z[:, :2] + x).repeat(1, 3)),
            d(F.max_pool1d(z[:, None], 3, 2, padding=1).flatten(1).repeat(1, 2)),
            e(-2 * F.relu(z) / -0.5 + 1).detach(),
        ], 1)  # fmt: skip


@pytest.fixture(scope="module")
def bends():
    net = Bends()
    return net, trace(net, torch.zeros(1, 2))


def test_the_minimum_is_that_of_a_dense_grid(bends):
    _, graph = bends
    lo, hi, y = draw(2, 2) - 0.8, draw(2, 2, seed=1) + 0.4, torch.tensor([0, 2])
    found = Milp(every=True).minima(graph, boxed(lo, hi), y)
    steps = torch.linspace(0, 1, 201, dtype=torch.float64)
    grid = lo[:, None] + torch.cartesian_prod(steps, steps) * (hi - lo)[:, None]
    others = ~found.least.isinf()
    with torch.no_grad():
        z = evaluate(graph, grid.flatten(0, 1)).unflatten(0, grid.shape[:2])
        least = (z.gather(2, y[:, None, None].expand(-1, grid.shape[1], 1)) - z).amin(1)
        own = evaluate(graph, found.points[others])
    rows, classes = others.nonzero().T
    assert len(rows) == 12
    assert bool((found.least <= least + 1e-12)[others].all())
    assert bool((found.least > least - 0.1)[others].all())  # what lies between the grid's points
    attained = own.gather(1, y[rows][:, None])[:, 0] - own.gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found.attained[others], attained, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.least[others], attained, rtol=0, atol=NEAR)
    assert bool(((found.points >= lo[:, None]) & (found.points <= hi[:, None]))[others].all())


def test_images_with_pooling_attain_their_minimum():
    graph, x, y = net("pooled", 3), draw(1, 1, 4, 4), torch.tensor([1])
    found = Milp(every=True).minima(graph, boxed(x - 0.1, x + 0.1), y)
    assert bool((found.least >= margins(graph, x - 0.1, x + 0.1, y)).all())
    others = ~found.least.isinf()
    torch.testing.assert_close(found.least[others], found.attained[others], rtol=0, atol=NEAR)
    with torch.no_grad():
        z = evaluate(graph, x + 0.1 * (2 * draw(4000, 1, 4, 4, seed=1) - 1).sign())
    assert bool((z[:, 1:2] - z >= found.least - 1e-9)[:, [0, 2]].all())


# ------------------------------------------------------------------------------------------------- what it stops at
def test_a_program_that_is_cut_short_is_sound_and_says_less():
    graph, x, y = net("dense", 4), draw(1, 1, 4, 4), torch.tensor([0])
    box = boxed(x - 0.2, x + 0.2)
    exact, short, rough = (Milp(every=True, **cut).minima(graph, box, y) for cut in ({}, {"nodes": 1}, {"gap": 0.9}))
    floor = margins(graph, x - 0.2, x + 0.2, y)
    for found in (short, rough):
        assert bool((found.least <= exact.least + NEAR).all())
        assert bool((found.least >= floor).all())
    assert bool((rough.least < exact.least - 1e-3).any())
    signs = (rough.least > 0) == (exact.least > 0)
    assert bool(signs[exact.least.abs() > 1e-3].all())


def test_classes_that_are_decided_are_left_at_their_bounds():
    graph, x = net("dense", 8), draw(8, 1, 4, 4)
    y = evaluate(graph, x).argmax(1)
    lazy, eager = (Milp(every=every).minima(graph, boxed(x - 0.1, x + 0.1), y) for every in (False, True))
    others = ~lazy.least.isinf()
    assert bool((lazy.attained.isinf() & others & (lazy.least > 0)).any())  # decided by bounds
    broken = (eager.attained < 0).any(1)
    assert bool(broken.any())
    assert bool((~broken).any())
    assert torch.equal((lazy.least > 0).all(1), (eager.least > 0).all(1))
    assert torch.equal((lazy.attained < 0).any(1), broken)
    assert bool(eager.attained[others].isfinite().all())


EPS = 0.8


def test_certificates_by_milp_are_those_of_the_exact_radius():
    net = nn.Sequential(relus(2, 6, 3, seed=4), nn.LogSoftmax(1))
    x = draw(4, 2)[1:].float()
    y = net(x).argmax(1)
    model, set_ = Model(net, range=None), Linf(EPS)
    proof = prove(Milp(), model, x, y, set_)
    weaker = prove(Milp(gap=0.5), model, x, y, set_)
    steps = torch.linspace(-1, 1, 61, dtype=torch.float64)
    around = torch.cartesian_prod(steps, steps)
    for i in range(len(x)):
        grid = x[i].double() + EPS * around
        broken = net.double()(grid).argmax(1) != y[i]
        distance = float((EPS * around.abs().amax(1)[broken]).min()) if bool(broken.any()) else EPS
        assert float(proof.radius[i]) <= distance + 1e-9
        assert float(proof.radius[i]) >= distance - EPS / 20
        net.float()
    assert bool((weaker.radius <= proof.radius + 1e-9).all())
    assert 0 < int(proof.certified.sum()) < len(x)


def test_the_minimum_over_an_l1_ball_is_that_of_a_dense_grid(bends):
    (_, graph), x, y = bends, draw(3, 2), torch.tensor([0, 1, 2])
    region = L1(0.4, mask=torch.tensor([[True, True], [True, True], [True, False]])).at(x, (0.0, 1.0))
    found = Milp(every=True).minima(graph, region, y)
    steps = torch.linspace(0, 1, 201, dtype=torch.float64)
    points = torch.cartesian_prod(steps, steps)
    for i in range(len(x)):
        own = region.take(torch.tensor([i]))
        shifted = torch.where(own.lo < own.hi, points, x[i])  # where a mask fixes one of the two values
        with torch.no_grad():
            z = evaluate(graph, shifted[own.take(torch.zeros(len(points), dtype=torch.int64)).contains(shifted)])
        least = (z[:, i : i + 1] - z).amin(0)
        others = torch.arange(7) != i
        assert bool((found.least[i] <= least + 1e-9)[others].all())
        assert bool((found.least[i] >= least - 0.1)[others].all())
        assert bool(region.take(torch.full((6,), i)).contains(found.points[i, others]).all())
    torch.testing.assert_close(
        found.least[~found.least.isinf()], found.attained[~found.least.isinf()], rtol=0, atol=NEAR
    )


# ------------------------------------------------------------------------------------------------------- what it refuses
def test_a_round_set_is_refused():
    with pytest.raises(UsageError, match=r'Linf and L1 balls are, and l2 is not\. Use method="alpha-crown" or "crown"'):
        Milp().minima(net("dense", 0), L2(0.1).at(draw(1, 1, 4, 4), None), torch.tensor([0]))


def test_what_is_not_piecewise_linear_is_named():
    x, y = draw(1, 4), torch.tensor([0])
    with pytest.raises(UnsupportedOperation, match=r"sigmoid\.default at 1 \(Sigmoid\) is not piecewise linear\. Use"):
        solved(nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), x, x, y)
    with pytest.raises(UnsupportedOperation, match="a product of two values that depend on the input"):
        solved(Of(lambda s, x: x * x.flip(1)), x, x, y)


def test_what_is_too_large_is_refused(monkeypatch):
    graph, x, y = net("dense", 0), draw(1, 1, 4, 4), torch.tensor([0])
    with pytest.raises(UsageError, match=r"undecided neurons: too many for milp, whose limit is 3\..*Milp\(binaries="):
        Milp(binaries=3).minima(graph, boxed(x - 1, x + 1), y)
    monkeypatch.setattr(encoding, "LARGEST", 100)
    with pytest.raises(UsageError, match="milp is for tiny models"):
        Milp().minima(graph, boxed(x, x), y)
    with pytest.raises(UsageError, match=r"gap in \[0, 1\)"):
        Milp(gap=1)


def test_an_empty_box_and_nan_prove_nothing(bends):
    (_, graph), y = bends, torch.tensor([0, 0])
    lo = torch.tensor([[0.5, 0.5], [math.nan, 0.0]], dtype=torch.float64)
    hi = torch.tensor([[0.4, 0.6], [math.nan, 0.0]], dtype=torch.float64)
    found = Milp(every=True).minima(graph, boxed(lo, hi), y)
    assert bool(found.attained.isinf().all())
    assert not bool((found.least[1, 1:] > 0).any())
    middle = torch.full((1, 2), 0.5, dtype=torch.float64)
    point, z = Milp(every=True).minima(graph, boxed(middle, middle), y[:1]), evaluate(graph, middle)
    torch.testing.assert_close(point.least[:, 1:], z[:, :1] - z[:, 1:], rtol=0, atol=1e-12)


def test_a_bound_that_its_own_point_crosses_raises_the_alarm(bends, monkeypatch):
    honest = module._Task.least
    monkeypatch.setattr(module._Task, "least", lambda self, z: (honest(self, z)[0] + 0.1, honest(self, z)[1]))
    with pytest.raises(SoundnessAlarm, match="Believe no bound of this model"):
        Milp(every=True).minima(bends[1], boxed(draw(1, 2) - 0.5, draw(1, 2) + 0.5), torch.tensor([0]))
