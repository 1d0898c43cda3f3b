"""Interval bounds against closed forms: linear models, batch statistics by hand, pooling by hand, certified radii."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.certification.certificates import prove
from ironbound.certification.graph import trace
from ironbound.certification.ibp import Ibp
from ironbound.certification.interval import bounds, propagate
from ironbound.certification.margins import margins
from ironbound.core.errors import InputError, UsageError
from ironbound.core.judge import TAU
from ironbound.models.model import Model
from ironbound.sets import L2, Linf


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Classes(nn.Module):
    """A linear classifier of 2 x 3 pixels behind `front`, with `back` behind."""

    def __init__(self, classes: int = 3, front=lambda x: x, back=lambda z: z):
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.front, self.back = nn.Linear(6, classes), front, back

    def forward(self, x):
        return self.back(self.layer(self.front(x).flatten(1)))


class Product(Classes):
    def forward(self, x):
        return x.flatten(1) @ self.layer.weight.T + self.layer.bias


LINEAR = {
    "plain": Classes(),
    "normalised": Classes(
        front=lambda x: (x - torch.tensor([0.4, 0.5]).view(2, 1)) / torch.tensor([0.2, 0.3]).view(2, 1)
    ),
    "permuted": Classes(front=lambda x: x.permute(0, 2, 1)[:, :, None].squeeze(2).contiguous()),
    "mirrored": Classes(front=lambda x: 1 - x.flip(2)),
    "temperature": Classes(back=lambda z: 3 - z / torch.tensor([2.0, 0.5, -1.0]) * 4),
    "product": Product(),
    "log-softmax": Classes(back=lambda z: z.log_softmax(1)),
    "log of softmax": Classes(back=lambda z: z.softmax(1).clamp_min(1e-38).log()),
    "one logit, zero": Classes(1, back=lambda z: torch.cat([torch.zeros_like(z), z], 1)),
    "one logit, halves": Classes(1, back=lambda z: torch.cat([z.new_zeros(z.shape[0], 1) - z / 2, z / 2], 1)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_margins_of_linear_models_are_the_worst_corner(name):
    module = LINEAR[name]
    graph, module = trace(module, torch.zeros(1, 2, 3)), module.double()
    x, y = draw(5, 2, 3), torch.tensor([0, 1, 1, 0, 1])
    radius = draw(5, 2, 3, seed=1)
    found = margins(graph, x - radius, x + radius, y)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)), dtype=torch.float64).view(-1, 1, 2, 3)
    z = module((x + corners * radius).flatten(0, 1)).view(len(corners), 5, -1)
    least = (z.gather(2, y.expand(len(corners), 5)[..., None]) - z).amin(0)
    expected = least.scatter(1, y[:, None], torch.inf)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_unfolded_margins_are_looser_on_linear_models():
    graph = trace(Classes(), torch.zeros(1, 2, 3))
    x, y = draw(5, 2, 3), torch.tensor([0, 1, 2, 0, 1])
    lower, upper = bounds(graph, x - 0.1, x + 0.1)
    apart = (lower.gather(1, y[:, None]) - upper).scatter(1, y[:, None], torch.inf)
    found = margins(graph, x - 0.1, x + 0.1, y)
    assert bool((found >= apart).all())
    assert bool((found > apart + 1e-3).any())


def test_a_net_of_rising_layers_is_exact():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2), nn.Sigmoid())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    graph, net, x = trace(net, torch.zeros(1, 3)), net.double(), draw(6, 3)
    lower, upper = bounds(graph, x - 0.2, x + 0.2)
    torch.testing.assert_close(lower, net(x - 0.2), rtol=0, atol=1e-12)
    torch.testing.assert_close(upper, net(x + 0.2), rtol=0, atol=1e-12)


class Pools(nn.Module):
    """Every kind of pooling side by side."""

    def __init__(self):
        super().__init__()
        self.kinds = nn.ModuleList([
            nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2, 2, ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2),
            nn.AvgPool2d(3, 2, padding=1), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
            nn.AvgPool2d(2, 2, ceil_mode=True), nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
            nn.AvgPool2d(2, divisor_override=3), nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(2),
        ])  # fmt: skip

    def forward(self, x):
        return torch.cat([pool(x).flatten(1) for pool in self.kinds], 1)


def test_pooling_rises_with_every_input():
    x, pools = draw(3, 2, 5, 5) - 0.5, Pools()
    lower, upper = bounds(trace(pools, torch.zeros(1, 2, 5, 5)), x - 0.1, x + 0.2)
    torch.testing.assert_close(lower, pools(x - 0.1), rtol=0, atol=1e-12)
    torch.testing.assert_close(upper, pools(x + 0.2), rtol=0, atol=1e-12)


def test_softmax_bounds_are_attained():
    lo, hi = draw(4, 3) * 4 - 2, draw(4, 3) * 4 + 1
    lower, upper = bounds(trace(nn.Softmax(1), torch.zeros(1, 3)), lo, hi)
    for i in range(3):
        own = torch.arange(3) == i
        torch.testing.assert_close(lower[:, i], torch.where(own, lo, hi).softmax(1)[:, i], rtol=1e-12, atol=0)
        torch.testing.assert_close(upper[:, i], torch.where(own, hi, lo).softmax(1)[:, i], rtol=1e-12, atol=0)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_statistics_are_those_of_the_clean_inputs(affine):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=affine), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2))
    if affine:
        nn.init.normal_(net[1].weight)
        nn.init.normal_(net[1].bias)
    graph = trace(net, torch.zeros(1, 2, 5, 5))
    net, clean = net.double().train(), draw(7, 2, 5, 5)
    first, norm, last = net[0], net[1], net[4]
    passed = propagate(graph, clean - 0.05, clean + 0.05, stats="batch", clean=clean)
    with torch.no_grad():
        a = first(clean)
        radius = F.conv2d(torch.full_like(clean, 0.05), first.weight.abs())
        mean, var = a.mean((0, 2, 3)), a.var((0, 2, 3), correction=0)
        scale = (norm.weight if affine else 1) / (var + norm.eps).sqrt()
        shift = (norm.bias if affine else 0) - mean * scale
        scale, shift = scale.view(3, 1, 1), shift.view(3, 1, 1)
        low, high = (F.relu(a * scale + shift + sign * radius * scale.abs()).flatten(1) for sign in (-1, 1))
        centre, half = last((low + high) / 2), (high - low) / 2 @ last.weight.abs().T
    torch.testing.assert_close(passed.output.lower, centre - half, rtol=0, atol=1e-10)
    torch.testing.assert_close(passed.output.upper, centre + half, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        passed.clean, net(clean), rtol=0, atol=1e-10
    )  # in training mode: also updates the buffers
    (statistics,) = passed.statistics
    assert statistics.module == "1"
    torch.testing.assert_close(norm.running_mean, 0.1 * statistics.mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * statistics.var)


def test_batch_statistics_of_one_value_are_refused():
    graph = trace(nn.BatchNorm1d(3), torch.zeros(1, 3))
    with pytest.raises(InputError, match="two values a channel or more; got 1"):
        bounds(graph, torch.zeros(1, 3), torch.ones(1, 3), stats="batch", clean=torch.zeros(1, 3))


@pytest.mark.parametrize("stats", ["running", "batch"])
def test_gradients_of_margins_are_those_of_finite_differences(stats):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3))
    graph, x, y = trace(net, torch.zeros(1, 1, 4)), draw(4, 1, 4), torch.tensor([0, 1, 2, 2])
    names = [name for name, _ in net.named_parameters()]
    values = [parameter.detach().double().requires_grad_() for parameter in net.parameters()]

    def least(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors, strict=True))
        found = margins(graph, x - 0.1, x + 0.1, y, weights=weights, stats=stats, clean=x)
        return found.masked_fill(found.isinf(), 0)

    assert torch.autograd.gradcheck(least, values)


def test_gradients_reach_the_module_itself():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    graph, x = trace(net, torch.zeros(1, 3)), draw(5, 3).float()
    margins(graph, x - 0.1, x + 0.1, torch.zeros(5, dtype=torch.int64))[:, 1].sum().backward()
    assert all(
        parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in net[:1].parameters()
    )


# ------------------------------------------------------------------------------------------------------ certificates
BOXED, FREE = Model(Classes()), Model(Classes(), range=None)


@cache
def traced(model: Model):
    return trace(model.module, torch.zeros(1, 2, 3))


def proved(model: Model, x: Tensor, y: Tensor, set_, **settings):
    return prove(Ibp(), model, x, y, set_, graph=traced(model), **settings)


def margin_over_norm(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """The exact robust radius of the linear model in L-infinity, without a box."""
    weight = model.net.layer.weight.detach().double()
    with torch.no_grad():
        z = model.net.double()(x.double())
        model.net.float()
    gap = (z.gather(1, y[:, None]) - z) / (weight[y][:, None] - weight).abs().sum(2)
    return gap.scatter(1, y[:, None], torch.inf).amin(1).clamp_min(0)


@pytest.mark.parametrize("rows", [None, 7])
def test_certified_radii_of_a_linear_model_are_its_distances(rows):
    model = FREE
    x = draw(60, 2, 3).float()
    y = model.net(x).argmax(1)
    y[::10] = (y[::10] + 1) % 3
    exact = margin_over_norm(model, x, y)
    found = proved(model, x, y, Linf(0.2), rows=rows)
    step = 0.2 / 2**12
    slack = step + 2 * TAU * 3 / 0.5  # the tolerance in logits, over the least slope there is here
    assert bool((found.radius <= exact + 1e-12).all())
    assert bool((found.radius >= exact.clamp_max(0.2) - slack).all())
    assert found.certified.tolist() == (found.radius == 0.2).tolist()
    assert 5 < int(found.certified.sum()) < 55
    assert bool((found.radius[::10] == 0).all())
    assert found.method == ["ibp" if yes else "" for yes in found.certified.tolist()]
    assert bool(((found.margin > 0) >= found.certified).all())


def test_the_box_and_an_infinite_set():
    model = BOXED
    x = draw(20, 2, 3).float()
    y = model.net(x).argmax(1)
    whole, some = proved(model, x, y, Linf()), proved(model, x, y, Linf(0.2))
    near = ~some.certified
    assert bool(near.any())
    assert bool((whole.radius >= some.radius - 1e-3).all())
    torch.testing.assert_close(whole.radius[near], some.radius[near], rtol=0, atol=1e-4)
    with pytest.raises(UsageError, match="both infinite"):
        proved(FREE, x, y, Linf())


def test_an_l2_ball_is_bounded_by_its_box():
    model, x = FREE, draw(20, 2, 3).float()
    y = model.net(x).argmax(1)
    ball, cube = (proved(model, x, y, set_) for set_ in (L2(0.1), Linf(0.1)))
    assert torch.equal(ball.radius, cube.radius)


def test_nothing_is_certified_of_nan_and_outside_the_box():
    model = BOXED
    x = draw(4, 2, 3).float()
    y = model.net(x).argmax(1)
    x[0, 0, 0], x[1, 0, 0], x[2, 0, 0] = torch.nan, torch.inf, 1.5
    found = proved(model, x, y, Linf(1e-5))
    assert found.certified.tolist() == [False, False, False, True]
    assert found.radius[:3].tolist() == [0, 0, 0]


def test_margins_within_the_tolerance_do_not_certify():
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [1.0 - TAU / 2]]))
    model, x, y = Model(net, range=None), torch.ones(1, 1), torch.tensor([0])
    assert not bool(prove(Ibp(), model, x, y, Linf(1e-6)).certified)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [1.0 - TAU * 2]]))
    assert bool(prove(Ibp(), model, x, y, Linf(1e-6)).certified)


def test_models_of_other_types_and_outputs():
    x, y = draw(8, 2, 3), torch.zeros(8, dtype=torch.int64)
    single = prove(Ibp(), Model(Classes()), x.float(), y, Linf(0.05))
    double = prove(Ibp(), Model(Classes().double()), x, y, Linf(0.05))
    assert torch.equal(single.certified, double.certified)
    torch.testing.assert_close(single.radius, double.radius, rtol=0, atol=1e-4)
    shares = prove(Ibp(), Model(Classes(back=lambda z: z.softmax(1))), x.float(), y, Linf(0.05))
    torch.testing.assert_close(shares.radius, single.radius, rtol=0, atol=2e-3)


def test_certificates_are_rows():
    model, x = BOXED, draw(6, 2, 3).float()
    found = proved(model, x, model.net(x).argmax(1), Linf(0.03), radii=False)
    assert bool((found.radius == found.certified.double() * 0.03).all())
    some = found.take(torch.tensor([4, 1])).to("cpu")
    assert some.method == [found.method[4], found.method[1]]
    assert torch.equal(some.margin, found.margin[[4, 1]])
    assert len(proved(model, x[:0], torch.zeros(0, dtype=torch.int64), Linf(0.1))) == 0


def test_what_cannot_be_proved_is_refused():
    x, y = draw(3, 2, 3).float(), torch.zeros(3, dtype=torch.int64)

    class Listed:
        def at(self, x, box):
            return [x]

    with pytest.raises(UsageError, match="Listed has no box around its points"):
        prove(Ibp(), Model(Classes()), x, y, Listed())
    with pytest.raises(UsageError, match="trace of another module"):
        prove(Ibp(), Model(Classes()), x, y, Linf(0.1), graph=traced(BOXED))
    with pytest.raises(UsageError, match=r"the model is torch.bfloat16"):
        prove(Ibp(), Model(Classes().bfloat16()), x, y, Linf(0.1))
    with pytest.raises(UsageError, match="random=True"):
        prove(Ibp(), Model(Classes(), random=True), x, y, Linf(0.1))
    with pytest.raises(InputError, match="classes 0 to 2; got 0 to 3"):
        prove(Ibp(), Model(Classes()), x, y + torch.tensor([0, 1, 3]), Linf(0.1))
    with pytest.raises(InputError, match="int64 labels"):
        prove(Ibp(), Model(Classes()), x, y.float(), Linf(0.1))
