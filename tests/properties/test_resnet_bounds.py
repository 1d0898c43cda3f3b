"""Residual networks with batch normalisation, as users write them: bounded as they are, by every method, and soundly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ironbound as ib
from ironbound.certification.bounder import swept
from ironbound.certification.crown import Crown, bounded_margins
from ironbound.certification.graph import trace
from ironbound.certification.ibp import Ibp
from ironbound.models.resnets import cifar_resnet18


class Block(nn.Module):
    """A user's own: in-place activations, a projection where the shape changes."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride > 1 or given != width:
            self.down = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.down is None else self.down(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """With a stem that pools, as for large images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(Block(4, 4, 1), Block(4, 6, 2))
        self.average, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.average(self.blocks(self.pool(self.stem(x)))), 1))


def settled(net: nn.Module, size: int) -> nn.Module:
    """In evaluation mode, with statistics and scales that are not those of a fresh net."""
    random = torch.Generator().manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1, 0.2, random)
            nn.init.normal_(part.bias, 0, 0.2, random)
    net.train()
    with torch.no_grad():
        for _ in range(4):
            net(torch.rand(32, 3, size, size, generator=random))
    return net.eval().double()


def attacked(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """The least margins that corners and descent find, (n,)."""
    least, random = torch.full((len(x),), torch.inf, dtype=x.dtype), torch.Generator().manual_seed(1)
    for _ in range(4):
        p = x + radius * (torch.rand(x.shape, generator=random, dtype=x.dtype) - 0.5).sign()
        for _ in range(6):
            p = p.requires_grad_()
            z = net(p)
            margin = (z.gather(1, y[:, None]) - z).scatter(1, y[:, None], torch.inf).amin(1)
            least = torch.minimum(least, margin.detach())
            (g,) = torch.autograd.grad(margin.sum(), p)
            p = (p.detach() - radius / 2 * g.sign()).clamp(x - radius, x + radius)
    return least


@pytest.mark.parametrize(("name", "radii"), [("a user's own", (0.002, 0.02)), ("cifar_resnet18", (0.0005,))])
def test_a_resnet_is_bounded_as_it_is(name: str, radii: tuple[float, ...]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = settled(ResNet() if name == "a user's own" else cifar_resnet18(width=2), 16)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    graph, y = trace(net, x), net(x).argmax(1)
    for radius in radii:
        region = ib.Linf(radius).at(x, None)
        with torch.no_grad():
            passed, bounder = swept(graph, region, torch.float64)
            crown = bounded_margins(passed, bounder, y).least.amin(1)
            ibp = Ibp().margins(graph, region, y, torch.float64).least.amin(1)
            low, high = passed.output.lower, passed.output.upper
        least = attacked(net, x, y, radius)
        assert bool((crown <= least + 1e-9).all())
        assert bool((crown >= ibp).all())
        assert float((least - crown).mean()) < 0.9 * float((least - ibp).mean())
        assert bool(((low <= net(x)) & (net(x) <= high)).all())
    for method in ("ibp", "crown") if name == "a user's own" else ():
        proofs = ib.certify(net.float(), x.float(), y, threat=ib.Linf(radii[0]), method=method, radii=False)
        assert bool(proofs.certified.all())


def test_pooling_and_normalisation_do_not_fold_away() -> None:
    """The stem's planes are checked by themselves: its pooling is where two nets of the same layers differ most."""
    net = settled(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)), 8
    )
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = net(x).argmax(1)
    region = ib.Linf(0.05).at(x, None)
    crown, ibp = (method.margins(trace(net, x), region, y, torch.float64).least.amin(1) for method in (Crown(), Ibp()))
    least = attacked(net, x, y, 0.05)
    assert bool((crown <= least + 1e-9).all())
    assert bool((F.relu(least - crown) < 0.8 * (least - ibp)).all())
