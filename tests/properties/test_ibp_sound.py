"""Nothing inside the box crosses the bounds: samples, corners and a short PGD, on generated nets; planted bugs are caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ironbound.certification import intervals, margins
from ironbound.certification.graph import Graph, trace
from ironbound.certification.interval import bounds
from ironbound.certification.intervals import Interval
from ironbound.certification.operations import OPERATIONS

TOLERANCE = 1e-9


def crossing(graph: Graph, net: nn.Module, x: Tensor, radius: float, seed: int = 0) -> float:
    """By how much some point of the boxes around x (n, ...) crosses the bounds of logits or margins; <= 0 if none does."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(len(x)) % graph.out_shape[0]
    lo, hi = x - radius, x + radius
    low, high = (end.detach() for end in bounds(graph, lo, hi))
    least = margins.margins(graph, lo, hi, y).detach()

    def worst(z: Tensor) -> float:
        apart = least - (z.gather(1, y[:, None]) - z)
        return float(torch.cat([low - z, z - high, apart.nan_to_num(neginf=-1.0, posinf=-1.0)], 1).max())

    found = []
    for trial in range(30):
        noise = torch.rand(x.shape, generator=random, dtype=x.dtype) * 2 - 1
        p = x + radius * (noise if trial < 10 else noise.sign())
        for _ in range(5 if trial >= 15 else 0):  # uphill on one logit, or down, alternately; every step is a point too
            p.requires_grad_()
            (g,) = torch.autograd.grad(net(p)[:, trial // 2 % graph.out_shape[0]].sum(), p)
            p = (p.detach() + (-1) ** trial * radius / 2 * g.sign()).clamp(lo, hi)
            found.append(worst(net(p).detach()))
        found.append(worst(net(p).detach()))
    return max(found)


class Skip(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return F.relu(self.inner(x) + x)


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.ReLU6, nn.SiLU, nn.ELU, lambda: nn.LeakyReLU(0.1))
POOLS = (
    lambda: nn.MaxPool2d(2), lambda: nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), lambda: nn.AvgPool2d(2, ceil_mode=True),
    lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), lambda: nn.AdaptiveAvgPool2d(2), nn.Identity,
)  # fmt: skip


@st.composite
def nets(draw):
    """A small net of 2 x 6 x 6 images and three classes, in evaluation mode with statistics of its own."""
    torch.manual_seed(draw(st.integers(0, 2**20)))
    activation = st.sampled_from(ACTIVATIONS)
    layers: list[nn.Module] = []
    for width, groups in ((2, draw(st.sampled_from((1, 2)))), (4, draw(st.sampled_from((1, 4))))):
        kernel, stride, dilation = (draw(st.sampled_from(kind)) for kind in ((1, 3), (1, 2), (1, 2)))
        layers += [
            nn.Conv2d(width, 4, kernel, stride, padding=draw(st.integers(1, 2)), dilation=dilation, groups=groups)
        ]
        layers += [nn.BatchNorm2d(4)] if draw(st.booleans()) else []
        layers += [draw(activation)()]
        if draw(st.booleans()):
            layers += [Skip(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)))]
    layers += [
        draw(st.sampled_from(POOLS))(),
        nn.Flatten(),
        nn.LazyLinear(5),
        draw(activation)(),
        nn.Dropout(),
        nn.Linear(5, 3),
    ]
    net = nn.Sequential(*layers)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    net(torch.rand(16, 2, 6, 6))
    return net.eval()


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(net=nets(), radius=st.sampled_from((0.0, 0.01, 0.1, 1.0)), seed=st.integers(0, 99))
def test_no_point_of_the_box_crosses_the_bounds(net, radius, seed):
    x = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    graph = trace(net, torch.zeros(1, 2, 6, 6))
    assert crossing(graph, net.double(), x, radius, seed) <= TOLERANCE


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**20), small=st.floats(0.0, 0.2), growth=st.floats(0.0, 0.2))
def test_a_larger_box_has_wider_bounds(seed, small, growth, fixed_net):
    graph, _ = fixed_net
    x = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inner, outer = (bounds(graph, x - radius, x + radius) for radius in (small, small + growth))
    assert bool((outer[0] <= inner[0] + TOLERANCE).all())
    assert bool((outer[1] >= inner[1] - TOLERANCE).all())


# -------------------------------------------------------------------------------------------------- other operations
class Of(nn.Module):
    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(self, x)


torch.manual_seed(3)
OTHERS = {
    "linear over tokens": Of(lambda s, x: s.parts[0](x).relu().flatten(1)[:, ::2], nn.Linear(6, 3)),
    "transposed convolution": Of(lambda s, x: s.parts[0](x).mean((2, 3)), nn.ConvTranspose2d(2, 2, 3, 2, output_padding=1)),
    "convolution of rows": Of(lambda s, x: s.parts[0](x[:, :, 0]).amax(2), nn.Conv1d(2, 3, 3, dilation=2)),
    "reflected": Of(lambda s, x: s.parts[0](x).sum((2, 3)), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")),
    "weight norm": Of(
        lambda s, x: s.parts[0](x.flatten(1)), torch.nn.utils.parametrizations.weight_norm(nn.Linear(72, 2))
    ),
    "split and joined": Of(lambda s, x: torch.cat([a * (2 - i) for i, a in enumerate(x.flatten(1).chunk(3, 1))][::-1], 1)),
    "squeeze and excite": Of(lambda s, x: (x * torch.sigmoid(s.parts[0](x.mean((2, 3))))[:, :, None, None]).sum((2, 3)),
                             nn.Linear(2, 2)),
    "squared difference": Of(lambda s, x: ((x - 0.5) * (x - 0.5)).amin((2, 3)) - torch.maximum(x, -x).mean((2, 3)) / -3),
    "expanded": Of(lambda s, x: x[:, :, :1, :1].expand(-1, -1, 2, 3).repeat(1, 2, 1, 1).contiguous().flatten(1) + 1),
    "interpolated": Of(lambda s, x: F.pad(F.interpolate(x, scale_factor=2), (1, 0, 0, 2), value=0.3).flatten(1)[:, :9]),
    "clamped exponential": Of(lambda s, x: x.flatten(1).exp().clamp(1.2, 2).log().clamp_max(0.5)),
    "log-softmax": Of(lambda s, x: s.parts[0](x.flatten(1)).log_softmax(1), nn.Linear(72, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_no_point_of_the_box_crosses_the_bounds_of(name):
    net = OTHERS[name]
    graph = trace(net, torch.zeros(1, 2, 6, 6))
    x = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert crossing(graph, net.double(), x, 0.2) <= TOLERANCE


# ------------------------------------------------------------------------------------------------------ planted bugs
@pytest.fixture(scope="module")
def fixed_net():
    """The deep one of the nets in which bugs are planted."""
    torch.manual_seed(5)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                        nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))  # fmt: skip
    nn.init.normal_(net[1].weight)
    net(torch.rand(16, 2, 6, 6))
    return trace(net, torch.zeros(1, 2, 6, 6)), net.double().eval()


@pytest.fixture(scope="module")
def shallow_net():
    """One layer of each kind: what a deeper net's slack would hide."""
    torch.manual_seed(6)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Flatten())
    nn.init.normal_(net[1].weight)
    net(torch.rand(16, 2, 6, 6))
    return trace(net, torch.zeros(1, 2, 6, 6)), net.double().eval()


def found_by(nets) -> float:
    x = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return max(crossing(graph, net, x, radius) for graph, net in nets for radius in (0.0, 0.02))


def no_bias(node, bias, x, weight):
    return intervals.matrix(node, x, weight)


def signed(node, bias, x, weight):
    return Interval.around(torch.addmm(bias, x.centre, weight), x.radius @ weight)


def signed_convolution(node, x, weight, bias, *how):
    return Interval.around(node.target(x.centre, weight, bias, *how), node.target(x.radius, weight, None, *how))


def half_radius(node, x, weight, bias, *how):
    return Interval.around(
        node.target(x.centre, weight, bias, *how), node.target(x.radius / 2, weight.abs(), None, *how)
    )


def wrong_statistics(node, x, weight, bias, mean, var, *how):
    return intervals.normalise(node, x, weight, bias, -mean, var, *how)


def unsigned_scale(node, x, weight, bias, *how):
    return intervals.normalise(node, x, weight.abs(), bias, *how)


def lower_twice(node, x, *how):
    return Interval(node.target(x.lower, *how), node.target(x.lower, *how))


PLANTED = {
    "the bias is dropped": ("addmm.default", no_bias),
    "W for |W|": ("addmm.default", signed),
    "W for |W| in convolutions": ("convolution.default", signed_convolution),
    "half the radius": ("convolution.default", half_radius),
    "a sign of the mean": ("_native_batch_norm_legit_no_training.default", wrong_statistics),
    "scales without sign": ("_native_batch_norm_legit_no_training.default", unsigned_scale),
    "the lower end twice": ("relu.default", lower_twice),
    "pooling of one end": ("avg_pool2d.default", lower_twice),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_caught(name, fixed_net, shallow_net, monkeypatch):
    assert found_by((fixed_net, shallow_net)) <= TOLERANCE
    operation, rule = PLANTED[name]
    monkeypatch.setitem(OPERATIONS, operation, replace(OPERATIONS[operation], interval=rule))
    assert found_by((fixed_net, shallow_net)) > 1e-6


@pytest.mark.parametrize("bug", [
    lambda a, weight, bias, y: (a, weight, -bias, y),
    lambda a, weight, bias, y: (a, weight, bias, (y + 1) % 3),
    lambda a, weight, bias, y: (Interval(a.lower, a.lower), weight, bias, y),
], ids=["a sign of the bias", "another label", "the lower end twice"])  # fmt: skip
def test_bugs_in_the_folded_layer_are_caught(bug, fixed_net, monkeypatch):
    folded = margins._folded
    monkeypatch.setattr(margins, "_folded", lambda *args: folded(*bug(*args)))
    assert found_by((fixed_net,)) > 1e-6
