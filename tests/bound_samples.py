"""Small nets that are traced once and get new weights each time, points that try to cross bounds, and by how much they do."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.certification.bounder import Bounder, swept
from ironbound.certification.coefficients import Dense, Spots
from ironbound.certification.graph import Graph, arguments, compute, trace
from ironbound.certification.intervals import Interval
from ironbound.core.errors import UnsupportedOperation
from ironbound.names import catalogue

SHAPE, CLASSES = (1, 4, 4), 3
METHODS = tuple(entry.name for entry in catalogue() if entry.verb == "certify" and entry.name != "exhaustive")
ORDER = tuple(name for name in ("ibp", "crown", "alpha-crown", "milp") if name in METHODS)
"""Each never below the one before."""


class Residual(nn.Module):
    """Two joins: of a convolution with what went into it, and of two convolutions with a stride."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.inner = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.down, self.short = nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Conv2d(2, 3, 1, stride=2)
        self.last = nn.BatchNorm2d(3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.inner(x) + x)
        return (F.relu(self.last(self.down(x))) + self.short(x)).mean((2, 3))


class Mixed(nn.Module):
    """What the others lack: 1-d and transposed convolutions, slices, cat, constants, a mean taken off."""

    def __init__(self):
        super().__init__()
        self.line, self.up = nn.Conv1d(4, 3, 3, padding=2, dilation=2), nn.ConvTranspose2d(1, 2, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * 6 * 2 + 6, 3)

    def forward(self, x):
        x = (x - 0.3) / torch.tensor([0.5, 2.0, -1.0, 1.0])
        rows = F.relu(self.line(x[:, 0])).amax(2) - x[:, 0, :3, 0]
        planes = F.avg_pool2d(F.relu(self.up(F.pad(x[:, :, 1:], (1, 0, 0, 0), value=0.1))), (2, 1), (1, 3), (1, 0))
        z = torch.cat([planes.flatten(1)[:, :24], rows, -torch.maximum(rows, -rows)], 1)
        return 1 - self.head(z - z.mean(1, keepdim=True))


def _dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def _conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, padding=1, groups=2),
        nn.ReLU(), nn.Conv2d(4, 2, 2, dilation=1), nn.Flatten(), nn.Linear(2, 3),
    )  # fmt: skip


def _pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.2), nn.MaxPool2d(2, 1), nn.Hardtanh(-0.4, 0.5), nn.AvgPool2d(2, 1, padding=1),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def _smooth() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 6), nn.Sigmoid(), nn.Linear(6, 6), nn.SiLU(),
        nn.Linear(6, 6), nn.ELU(), nn.Linear(6, 3),
    )  # fmt: skip


NETS = {"dense": _dense, "conv": _conv, "residual": Residual, "mixed": Mixed, "pooled": _pooled, "smooth": _smooth}


@cache
def _traced(name: str) -> Graph:
    return trace(NETS[name]().eval(), torch.zeros(1, *SHAPE))


def net(name: str, seed: int) -> Graph:
    """The trace of a net, in float64, whose weights and statistics are those of the seed: all of them matter."""
    graph = _traced(name)
    torch.manual_seed(seed)
    module = graph.module.double().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for parameter in module.parameters():
            nn.init.normal_(parameter, 0, 0.5 if parameter.ndim < 2 else 1.5 / parameter[0].numel() ** 0.5)
    return graph


def draw(n: int, seed: int, *shape: int) -> Tensor:
    return torch.rand(n, *(shape or SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def method(name: str, **settings: Any) -> Any:
    (entry,) = (e for e in catalogue() if (e.verb, e.name) == ("certify", name))
    return entry.make(**settings)


def least(name: str, graph: Graph, region: Any, y: Tensor) -> Tensor | None:
    """Lower bounds of the margins by a method, float64; None where it has no rule for something in the net."""
    chosen = method(name)
    chosen = replace(chosen, every=True) if name == "milp" else chosen  # also of classes that make no difference
    try:
        return chosen.margins(graph, region, y, torch.float64).least.detach()
    except UnsupportedOperation:
        return None


# ------------------------------------------------------------------------------------------------------------ points
def values_of(graph: Graph, x: Tensor) -> dict[str, Any]:
    """Every value of the graph at x."""
    values: dict[str, Any] = {**graph.read(x.dtype, x.device), graph.input: x}
    for node in graph.nodes:
        values[node.name] = compute(node, *arguments(node, values, x.dtype, x.device))
    return values


def margin(graph: Graph, x: Tensor, y: Tensor) -> Tensor:
    z = values_of(graph, x)[graph.output]
    return z.gather(1, y[:, None]) - z


def points(region: Any, seed: int, count: int = 24) -> Tensor:
    """(count, n, ...): the centres, extreme points of the sets in random directions, and points in between."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, *region.x.shape)
    g = torch.randn(shape, generator=random, dtype=torch.float64)
    found = torch.stack([region.support(direction)[0] for direction in g])
    share = torch.rand(count, *[1] * region.x.ndim, generator=random, dtype=torch.float64)
    share[: count // 2] = 1
    found = region.x + share * (found - region.x)
    found[0] = region.x
    return found


def reached(graph: Graph, region: Any, y: Tensor, seed: int) -> Tensor:
    """The least margins (n, classes) that were found: points, then climbs from extreme point to extreme point (Frank-Wolfe)."""
    some = points(region, seed)
    with torch.no_grad():
        best = torch.stack([margin(graph, p, y) for p in some]).amin(0)
    n, classes = best.shape
    owner, other = torch.arange(n).repeat_interleave(classes), torch.arange(classes).repeat(n)
    own = region.take(owner)
    for start in some[:3]:
        p = start[owner]
        for step in (1.0, 1.0, 0.5, 0.5, 0.25):
            p = p.detach().requires_grad_()
            at = margin(graph, p, y[owner])[torch.arange(len(owner)), other]
            (g,) = torch.autograd.grad(at.sum(), p)
            best = torch.minimum(best, at.detach().view(n, classes))
            p = p + step * (own.support(-g)[0] - p)
        with torch.no_grad():
            best = torch.minimum(best, margin(graph, p, y[owner])[torch.arange(len(owner)), other].view(n, classes))
    return best.scatter(1, y[:, None], torch.inf)


# ---------------------------------------------------------------------------------------------------------- crossings
def crossing(graph: Graph, region: Any, y: Tensor, names: tuple[str, ...], seed: int = 0) -> float:
    """By how much some point of the sets crosses a margin's bound by one of the methods; <= 0 if none does."""
    low = reached(graph, region, y, seed)
    found = [least(name, graph, region, y) for name in names]
    apart = [(bound - low)[~low.isinf()] for bound in found if bound is not None]
    return float(torch.cat([gap.nan_to_num(nan=torch.inf) for gap in apart]).max()) if apart else 0.0


@torch.no_grad()
def functionals_crossed(
    graph: Graph, region: Any, seed: int = 0, refine: bool = True, dtype: torch.dtype = torch.float64
) -> float:
    """By how much points cross linear bounds: intervals of all values, and of random functionals of each of them.

    Functionals are of two kinds, as the engine has them: all of a value, and single places. Of sets with one point bounds
    are the functionals' own values, on either side.
    """
    random = torch.Generator().manual_seed(seed)
    passed, bounder = swept(graph, region, dtype, refine)
    some = [values_of(graph, p) for p in points(region, seed)]
    n, worst = len(region.x), [0.0]
    alone = bool((region.lo == region.hi).all())
    for node in graph.nodes:
        if not node.varies or node.shape is None:
            continue
        value: Interval = passed.values[node.name]
        z = torch.stack([each[node.name].detach().reshape(n, -1) for each in some])
        low, high = value.lower.detach().reshape(n, -1), value.upper.detach().reshape(n, -1)
        worst += [float((low - z).max()), float((z - high).max())]
        worst.append(_crossed(bounder, node, z, random, alone))
    return max(worst)


def _crossed(bounder: Bounder, node: Any, z: Tensor, random: torch.Generator, alone: bool) -> float:
    """Of one value z (points, n, size)."""
    _, n, size = z.shape
    owner = torch.arange(n).repeat_interleave(4)
    kind = bounder.dtype
    a = torch.randn(4 * n, size, generator=random, dtype=torch.float64).to(kind)
    a[1::2] = -a[::2]
    place = torch.randint(size, (4 * n,), generator=random)
    sign = torch.tensor([1.0, -1.0], dtype=kind).repeat(2 * n)
    shape = (4 * n * node.shape[0], *node.shape[1:])
    starts = (
        (Dense(a.reshape(shape)), (a * z[:, owner]).sum(2)),
        (Spots(place, sign, node.shape), sign * z[:, owner, place]),
    )
    found = []
    for start, at in starts:
        bound = bounder.lower(node.name, start, owner).double()
        found.append(bound - at.amin(0))
        if alone:
            found.append(at.amax(0) - bound)
    return float(torch.cat(found).nan_to_num(nan=torch.inf).max())
