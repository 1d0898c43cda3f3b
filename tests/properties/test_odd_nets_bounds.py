"""Nets that put rare things together: every method bounds them, and points of the set never cross the bounds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ironbound.certification import bounder, pooling
from ironbound.certification.alpha import AlphaCrown
from ironbound.certification.crown import Crown
from ironbound.certification.graph import evaluate, trace
from ironbound.certification.intervals import Interval
from ironbound.certification.regions import region_of
from ironbound.core.errors import UnsupportedOperation
from ironbound.sets import Linf


class Net(nn.Module):
    """Modules and buffers, and a function of them and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x):
        return self.run(self, x)


def _frames():
    def run(net, x):
        z = net.second(net.first(x.reshape(-1, 1, 4, 4)).relu()).relu()
        return net.head(z.reshape(x.shape[0], -1))

    return Net(run, first=nn.Conv2d(1, 2, 3), second=nn.Conv2d(2, 3, 2, padding=1), head=nn.Linear(54, 3))


def _clamped(least=None):
    def run(net, x):
        z = net.first(x)
        z = torch.clamp(z, net.low, net.low + 0.5) if least is None else torch.clamp(z, min=least(x))
        return net.head(net.second(z).relu().flatten(1))

    parts = {"first": nn.Conv2d(2, 3, 3, padding=1), "second": nn.Conv2d(3, 2, (2, 3), padding=(0, 1))}
    return Net(run, low=torch.randn(3, 4, 4) - 0.3, head=nn.Linear(24, 3), **parts)


def _normalised():
    return nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm(2), nn.Flatten(), nn.ReLU(), nn.Linear(8, 3))


def _log_softmax():
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3), nn.LogSoftmax(1))


NETS = {
    "frames as rows": _frames,
    "clamped by planes": _clamped,
    "clamped by what is made for a batch": lambda: _clamped(lambda x: torch.zeros_like(x[:, :1])),
    "layer norm": _normalised,
    "log-softmax": _log_softmax,
}


@pytest.mark.parametrize("work", [bounder.WORK, 1])
@pytest.mark.parametrize("name", NETS)
def test_odd_nets_are_bounded_by_linear_methods(name, work, monkeypatch):
    monkeypatch.setattr(bounder, "WORK", work)
    torch.manual_seed(0)
    net = NETS[name]().eval()
    x = torch.rand(3, 2, 4, 4)
    graph = trace(net, x[:1])
    exact, region = graph.fixed(torch.float64, x.device), region_of(Linf(0.1), x.double(), (0.0, 1.0))
    y = evaluate(exact, x.double()).argmax(1)
    spread = torch.rand(300, *x.shape, dtype=torch.float64).round()
    with torch.no_grad():
        z = torch.stack([evaluate(exact, region.lo + u * (region.hi - region.lo)) for u in spread])
        worst = (z.gather(2, y.expand(300, 3)[:, :, None]) - z).amin(0)
        first = Crown().margins(exact, region, y, torch.float64).least
        for layers in ("last", "all"):
            method = AlphaCrown(layers, steps=3)
            screen = method.margins(graph, region_of(Linf(0.1), x, (0.0, 1.0)), y, torch.float32)
            found = method.margins(exact, region, y, torch.float64, screen.learned).least
            climbed = method.margins(exact, region, y, torch.float64).least
            others = torch.arange(3) != y[:, None]
            assert bool((torch.maximum(found, climbed)[others] <= worst[others]).all())
            assert bool((climbed >= first - 1e-9).all())


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.head(x) + torch.arange(x.shape[0])[:, None] * torch.eye(3)[0],
        lambda net, x: net.head(x) + torch.eye(3)[0] / x.shape[0],
    ],
)
def test_answers_that_depend_on_the_batch_are_refused(forward):
    """A proof for an input would hold for its place in one batch only."""
    with pytest.raises(UnsupportedOperation, match="other places of a batch"):
        trace(Net(forward, head=nn.Linear(4, 3)).eval(), torch.rand(1, 4))


def test_the_tolerance_under_a_log_softmax_is_that_of_the_logits():
    """Float32 rounds logits of a million to a sixteenth; their log-shares are of the size of one, and no more exact."""
    net = nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(1)).eval()
    with torch.no_grad():
        net[0].bias.copy_(torch.tensor([1e6 + 1, 1e6, 1e6]))
    graph = trace(net, torch.zeros(1, 2)).fixed(torch.float64, torch.device("cpu"))
    region = region_of(Linf(0.1), torch.full((1, 2), 0.5, dtype=torch.float64), (0.0, 1.0))
    with torch.no_grad():
        assert float(Crown().margins(graph, region, torch.tensor([0]), torch.float64).scale) >= 1e6


def test_a_line_above_a_maximum_of_nan_is_nan():
    """One end may be NaN alone, as of what interpolates infinity with a weight of zero."""
    net = Net(lambda net, x: net.head(x.reshape(-1, 2, 2).amax(2)), head=nn.Linear(2, 3)).eval()
    node = next(node for node in trace(net, torch.zeros(1, 4)).nodes if node.op == "amax.default")
    x = Interval(torch.zeros(1, 2, 2), torch.tensor([[[1.0, torch.nan], [1.0, 2.0]]]))
    assert pooling._maxima(node, x).lift.flatten().isnan().tolist() == [True, False]
