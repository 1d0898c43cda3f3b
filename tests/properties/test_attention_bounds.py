"""Attention, normalisation, products and pooling: no point crosses interval or linear bounds, and planted bugs are caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ironbound as ib
from ironbound.certification import attention, pooling, products
from ironbound.certification.bounder import swept
from ironbound.certification.coefficients import Dense
from ironbound.certification.graph import Graph, trace
from ironbound.certification.interval import bounds
from ironbound.certification.intervals import Interval
from ironbound.certification.operations import OPERATIONS

TOLERANCE = 1e-9


class Of(nn.Module):
    """A module from a function and parts."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts).flatten(1)


class Joined(nn.Module):
    """The outputs of several modules side by side: one trace for all of them."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x).flatten(1) for part in self.parts], 1)


class Tokens(nn.Module):
    """A class token in front of the patches, positions, one layer of a transformer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(4, 4))
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places)[:, 0]


torch.manual_seed(0)
MASK = torch.ones(3, 3, dtype=torch.bool).tril()
HEADS = nn.MultiheadAttention(4, 2, batch_first=True)
CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "attention": (Joined(
        Of(lambda x: F.scaled_dot_product_attention(3 * x[:, None], 2 * x[:, None], x[:, None] - 1)),
        Of(lambda x: F.scaled_dot_product_attention(x, 4 * x, x - 1, is_causal=True)),
        Of(lambda x: F.scaled_dot_product_attention(x, 4 * x, x, attn_mask=MASK)),
        Of(lambda x, f: (lambda q, k, v: (q @ k.mT / 2).softmax(-1) @ v)(*f(x).chunk(3, -1)), nn.Linear(4, 12)),
        Of(lambda x: torch.einsum("bid,bjd->bij", x, x - 0.5).softmax(1)),
    ), (3, 4)),
    "heads": (Joined(
        Of(lambda x, f: f(x, x, x, need_weights=False)[0], HEADS),
        Of(lambda x, f: torch.cat([part.flatten(1) for part in f(x, x, x, attn_mask=~MASK)], 1), HEADS),
    ), (3, 4)),
    "layer of a transformer": (Tokens(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)), (3, 4)),
    "layer normalised first": (
        Tokens(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu", norm_first=True)), (3, 4),
    ),
    "normalisations": (Joined(
        nn.LayerNorm(4), nn.LayerNorm((3, 4), elementwise_affine=False), nn.InstanceNorm1d(3, affine=True),
        nn.RMSNorm(4, eps=1e-6), nn.Sequential(nn.Unflatten(1, (3, 1)), nn.GroupNorm(3, 3), nn.GroupNorm(1, 3)),
        Of(lambda x: x.var(2) - x.std(1, keepdim=True, correction=0)[:, 0, :3] + x.norm(dim=2)),
    ), (3, 4)),
    "products and the larger of two": (Joined(
        Of(lambda x: x[:, :3] * (1 - x[:, 3:]) - x[:, 1:4] * x[:, 2:3]),
        Of(lambda x: (x[:, :3] - 0.5) / (1 + x[:, 3:] * x[:, 3:])),
        Of(lambda x: torch.maximum(x[:, :3], x[:, 3:]) - 2 * torch.minimum(x[:, :1], x[:, 3:])),
        Of(lambda x: torch.maximum(torch.tensor(0.5), x) - torch.minimum(x, 1 - x)),
    ), (6,)),
    "maxima": (Joined(
        Of(lambda x: x.amax((1, 2)) - 2 * x.amin(2, keepdim=True).sum((1, 3), keepdim=True)[:, 0, 0] + x.max(2).values.sum(1)),
        Of(lambda x: F.max_pool2d(x, (3, 2), (2, 1), padding=1, dilation=(1, 2), ceil_mode=True)),
        Of(lambda x: F.adaptive_max_pool2d(x, (2, 3))), Of(lambda x: F.max_pool3d(x[:, None], (2, 2, 3), ceil_mode=True)),
        Of(lambda x: F.max_pool1d(x[:, 0], 3, 2, padding=1) - F.adaptive_max_pool1d(x[:, 1], 2)),
    ), (2, 5, 4)),
    "chosen and moved": (Joined(
        Of(lambda x: torch.where(MASK, x[:, :, :3] @ x[:, :, :3], -torch.inf).log_softmax(-1).masked_fill(~MASK, 2.0)),
        Of(lambda x: (x.roll(1, 1) - x.cumsum(2)) + F.interpolate(x, scale_factor=2.0, mode="linear")[:, :, :4]),
        nn.Conv1d(3, 2, 3, padding=1, padding_mode="circular"),
    ), (3, 4)),
}  # fmt: skip


class Found:
    """Bounds of a net over boxes around x, and the values at points of the boxes."""

    def __init__(self, net: nn.Module, graph: Graph, x: Tensor, radius: float) -> None:
        self.net, self.x, self.radius = net, x, radius
        random = torch.Generator().manual_seed(1)
        units = torch.eye(graph.out_shape[0], dtype=x.dtype)
        units = torch.cat([units, -units]) if len(units) < 20 else units * (-1) ** torch.arange(len(units))[:, None]
        self.rows = torch.cat([units, torch.randn(6, units.shape[1], generator=random, dtype=x.dtype)])
        with torch.no_grad():
            low, high = bounds(graph, x - radius, x + radius)
            self.interval = low @ self.rows.clamp(min=0).T + high @ self.rows.clamp(max=0).T
            _, bounder = swept(graph, ib.Linf(radius).at(x, None), x.dtype)
            owner = torch.arange(len(x)).repeat_interleave(len(self.rows))
            linear = bounder.lower(graph.output, Dense(self.rows.repeat(len(x), 1)), owner)
        self.linear = linear.view(len(x), -1)
        self.least = self._least(random)

    def _least(self, random: torch.Generator) -> Tensor:
        """The least values found by samples, corners and descent, (n, rows)."""
        least = self.value(self.x)
        for trial in range(14):
            noise = torch.rand(self.x.shape, generator=random, dtype=self.x.dtype) * 2 - 1
            p = self.x + self.radius * (noise if trial % 2 else noise.sign())
            least = torch.minimum(least, self.value(p))
            for _ in range(3 if trial > 7 else 0):
                p = p.requires_grad_()
                (g,) = torch.autograd.grad((self.net(p) @ self.rows[-trial % len(self.rows)]).sum(), p)
                p = (p.detach() - self.radius * g.sign()).clamp(self.x - self.radius, self.x + self.radius)
                least = torch.minimum(least, self.value(p))
        return least

    def value(self, p: Tensor) -> Tensor:
        with torch.no_grad():
            return self.net(p) @ self.rows.T

    def crossed(self) -> float:
        """By how much a point crosses a bound, at most; NaN counts as infinitely far."""
        return max(
            float((bound - self.least).nan_to_num(nan=torch.inf).max()) for bound in (self.interval, self.linear)
        )


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@cache
def case(name: str) -> tuple[nn.Module, Graph, tuple[int, ...]]:
    """The module in float64, its graph, the shape of its inputs."""
    net, shape = CASES[name]
    net = net.eval().double()
    return net, trace(net, drawn(1, *shape)), shape


@pytest.mark.parametrize("name", CASES)
def test_no_point_crosses_the_bounds_of(name: str) -> None:
    net, graph, shape = case(name)
    x = drawn(2, *shape)
    for radius in (0.04, 0.4) if "layer" in name else (0.0, 0.04, 0.4):
        found = Found(net, graph, x, radius)
        assert found.crossed() <= TOLERANCE, f"radius {radius}"
        assert bool(found.interval.isfinite().all())
        if radius == 0:
            torch.testing.assert_close(found.linear, found.value(x), rtol=0, atol=1e-7)


# --------------------------------------------------------------------------------------------------------- tightness
@pytest.mark.parametrize("name", ["attention", "heads", "layer of a transformer", "layer normalised first"])
def test_linear_bounds_are_tighter_than_intervals_of(name: str) -> None:
    net, graph, shape = case(name)
    found = Found(net, graph, drawn(2, *shape), 0.02)
    own = found.value(found.x)
    assert float((own - found.linear).mean()) < 0.6 * float((own - found.interval).mean())


def test_one_product_is_exact_where_the_factors_keep_their_signs() -> None:
    net = Of(lambda x: x[:, :4] * x[:, 4:])
    graph = trace(net, torch.zeros(1, 8))
    x = torch.tensor([[1.0, 1, -1, -1, 2, -2, 2, -2]], dtype=torch.float64)
    found = Found(net, graph, x, 0.5)
    torch.testing.assert_close(found.linear[:, :8], found.interval[:, :8], rtol=0, atol=1e-12)
    torch.testing.assert_close(found.linear[:, :8], found.least[:, :8], rtol=0, atol=1e-12)


def test_linear_bounds_of_a_normalisation_are_never_far_behind_its_intervals() -> None:
    net = nn.Sequential(nn.LayerNorm(5), nn.Flatten()).double()
    x = torch.full((1, 2, 5), 0.5, dtype=torch.float64)  # all equal: the scale goes to infinity
    found = Found(net, trace(net, x), x, 0.5)
    assert bool((found.linear >= found.interval - 1e-6).all())
    assert float(found.interval[:, :20].min()) > -2 - 1e-6  # sqrt(5 - 1)


def test_what_is_equal_for_all_shares_has_no_slack() -> None:
    net = Of(lambda x: x.softmax(1).sum(1, keepdim=True))
    found = Found(net, trace(net, torch.zeros(1, 5)), 8 * drawn(2, 5), 2.0)
    torch.testing.assert_close(found.linear[:, :2], torch.tensor([[1.0, -1.0]] * 2).double(), rtol=0, atol=1e-12)


def test_intervals_of_matrix_products_hold_every_corner_and_are_exact_for_shares() -> None:
    random = torch.Generator().manual_seed(3)
    a, b = (torch.randn(200, 2, 2, generator=random, dtype=torch.float64) for _ in range(2))
    r, s = (torch.rand(200, 2, 2, generator=random, dtype=torch.float64) for _ in range(2))
    node: Any = None
    for low in (a - r, (a - r).abs()):  # any signs; shares
        first, second = Interval(low, low + 2 * r), Interval(b - s, b + s)
        ends = [x[:, :, :, None] * y[:, None] for x in (first.lower, first.upper) for y in (second.lower, second.upper)]
        least, most = torch.stack(ends).amin(0).sum(2), torch.stack(ends).amax(0).sum(2)
        found = products.matrices(node, first, second)
        assert bool((found.lower <= least + TOLERANCE).all() & (found.upper >= most - TOLERANCE).all())
    torch.testing.assert_close(found.lower, least)
    torch.testing.assert_close(found.upper, most)


def test_intervals_of_a_normalisation_are_exact_over_the_box() -> None:
    low, high = torch.tensor([[-1.0, 0.5, -3.0]]).double(), torch.tensor([[2.0, 1.0, -0.5]]).double()
    wide = Interval(torch.zeros(1, 1).double(), torch.full((1, 1), 1e9).double())
    node: Any = None
    found = products.scaled_by_rms(node, Interval(low, high), wide, [1], 0.1, False)
    grid = torch.stack(
        torch.meshgrid(
            *[torch.linspace(float(a), float(b), 61) for a, b in zip(low[0], high[0], strict=True)], indexing="ij"
        ),
        -1,
    )
    values = (grid * torch.rsqrt(grid.square().mean(-1, keepdim=True) + 0.1)).reshape(-1, 3).double()
    torch.testing.assert_close(found.lower[0], values.amin(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.upper[0], values.amax(0), rtol=0, atol=1e-5)


POOLED = {
    "plain": lambda x: F.max_pool2d(x, 2),
    "padded": lambda x: F.max_pool2d(x, (3, 2), (2, 1), padding=1, dilation=(1, 2), ceil_mode=True),
    "adaptive": lambda x: F.adaptive_max_pool2d(x, (3, 2)),
    "over a dimension": lambda x: x.amax(2),
}


@pytest.mark.parametrize("name", POOLED)
def test_windows_are_those_of_the_pooling(name: str) -> None:
    net = Of(POOLED[name])
    node = next(
        node for node in trace(net, torch.zeros(1, 2, 7, 5)).nodes if node.op in OPERATIONS and "view" not in node.op
    )
    x = torch.randn(3, 2, 7, 5, generator=torch.Generator().manual_seed(4))
    planes = pooling._maxima(node, Interval(x, x))  # of points: the largest value, exactly
    values = x.transpose(2, 3).reshape(3, 10, 7) if name == "over a dimension" else x.flatten(2)
    expected = net(x).reshape(planes.under.shape)
    torch.testing.assert_close(values.gather(2, planes.under), expected)
    torch.testing.assert_close(values.gather(2, planes.over) * planes.slope + planes.lift, expected)


# ------------------------------------------------------------------------------------------------------ planted bugs
@contextmanager
def planted(op: str, **rules: Any) -> Iterator[None]:
    """An operation with other rules."""
    honest = OPERATIONS[op]
    OPERATIONS[op] = replace(honest, **rules)
    try:
        yield
    finally:
        OPERATIONS[op] = honest


def swapped(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The factors' coefficients change places."""

    def wrong(node: Any, a: Any, rows: Any) -> Any:
        back = rule(node, a, rows)
        (first, x), (second, y) = back.parts
        return back._replace(parts=[(first, y.reshape(x.shape)), (second, x.reshape(y.shape))])

    return wrong


def unsigned(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The slack of negative coefficients is taken with their sign."""

    def wrong(node: Any, a: Any, rows: Any) -> Any:
        return rule(node, a, rows)._replace(bias=-rule(node, -a, rows).bias)

    return wrong


def tilted(part: str, by: float) -> Callable[..., Any]:
    """Planes of shares of which one part is off."""
    honest = attention._shares

    def wrong(node: Any, x: Interval) -> Any:
        made = honest(node, x)
        return made._replace(**{part: getattr(made, part) + by})

    return wrong


@cache
def graph_of(net: nn.Module) -> Graph:
    """The graph, made once."""
    return trace(net, drawn(1, 4))


SQUARES = Of(lambda x: x.view(-1, 2, 2) @ (x.view(-1, 2, 2) - 0.3))
SHARES = Of(lambda x: (4 * x).softmax(1))
TIMES = Of(lambda x: x[:, :2] * (x[:, 2:] - 1))
BUGS: dict[str, tuple[nn.Module, str, Any]] = {
    "factors swapped": (TIMES, "product", {"backward": swapped(products.multiplied)}),
    "no absolute value": (TIMES, "product", {"backward": unsigned(products.multiplied)}),
    "matrices swapped": (SQUARES, "bmm.default", {"backward": swapped(products.multiplied_matrices)}),
    "matrices without absolute value": (SQUARES, "bmm.default", {"backward": unsigned(products.multiplied_matrices)}),
    "no radius": (SQUARES, "bmm.default", {"interval": lambda node, a, b: Interval(a.lower @ b.lower, a.upper @ b.upper)}),
}  # fmt: skip


def caught(net: nn.Module, graph: Graph) -> float:
    """By how much a point crosses a bound."""
    return max(Found(net, graph, drawn(3, 4), radius).crossed() for radius in (0.05, 0.3))


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name: str) -> None:
    net, op, rules = BUGS[name]
    graph = graph_of(net)
    assert caught(net, graph) <= TOLERANCE
    with planted(op, **rules):
        assert caught(net, graph) > 1e-4


@pytest.mark.parametrize(("part", "by"), [("below", 0.01), ("above", -0.01), ("low", -0.05), ("high", 0.05)])
def test_a_plane_of_shares_that_is_off_is_caught(part: str, by: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_shares", tilted(part, by))
    assert caught(SHARES, graph_of(SHARES)) > 1e-4


def test_a_pooling_plane_that_is_too_low_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Of(lambda x: x.amax(1, keepdim=True))
    graph = trace(net, drawn(1, 4))
    assert caught(net, graph) <= TOLERANCE
    honest = pooling._maxima
    monkeypatch.setattr(pooling, "_maxima", lambda node, x: honest(node, x)._replace(lift=honest(node, x).lift - 0.01))
    assert caught(net, graph) > 1e-4
