"""Attention, normalisation, products and pooling: no point crosses interval or linear bounds, and planted bugs are caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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


class Tokens(nn.Module):
    """A class token in front of the patches, positions, one layer of a transformer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(4, 4))
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places)[:, 0]


def attended(x: Tensor, layer: nn.Module, **how: Any) -> Tensor:
    return layer(x, x, x, **how)[0]


torch.manual_seed(0)
MASK = torch.ones(3, 3, dtype=torch.bool).tril()
HEADS = nn.MultiheadAttention(4, 2, batch_first=True)
CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "attention": (Of(lambda x: F.scaled_dot_product_attention(3 * x, 2 * x, x - 1)), (2, 3, 4)),
    "attention, causal": (Of(lambda x: F.scaled_dot_product_attention(x, 4 * x, x - 1, is_causal=True)), (3, 4)),
    "attention, masked": (Of(lambda x: F.scaled_dot_product_attention(x, 4 * x, x, attn_mask=MASK)), (3, 4)),
    "attention by hand": (
        Of(lambda x, f: (lambda q, k, v: (q @ k.transpose(1, 2) / 2).softmax(-1) @ v)(*f(x).chunk(3, -1)), nn.Linear(4, 12)),
        (3, 4),
    ),
    "scores by einsum": (Of(lambda x: torch.einsum("bid,bjd->bij", x, x - 0.5).softmax(1)), (3, 4)),
    "heads": (Of(attended, HEADS), (3, 4)),
    "heads, masked": (Of(lambda x, f: attended(x, f, attn_mask=~MASK), HEADS), (3, 4)),
    "shares of heads": (Of(lambda x, f: f(x, x, x)[1], HEADS), (3, 4)),
    "layer of a transformer": (Tokens(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)), (3, 4)),
    "layer normalised first": (
        Tokens(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu", norm_first=True)),
        (3, 4),
    ),
    "layer norm": (Of(lambda x, f: f(x), nn.LayerNorm(5)), (3, 5)),
    "layer norm over two": (nn.Sequential(nn.LayerNorm((3, 4), elementwise_affine=False), nn.Flatten()), (3, 4)),
    "group norm": (nn.Sequential(nn.GroupNorm(2, 4), nn.Flatten()), (4, 2, 2)),
    "instance norm": (nn.Sequential(nn.InstanceNorm1d(3, affine=True), nn.Flatten()), (3, 4)),
    "rms norm": (nn.Sequential(nn.RMSNorm(4, eps=1e-6), nn.Flatten()), (2, 4)),
    "product": (Of(lambda x: x[:, :3] * (1 - x[:, 3:]) - x[:, 1:4] * x[:, 2:3]), (6,)),
    "quotient": (Of(lambda x: (x[:, :3] - 0.5) / (1 + x[:, 3:] * x[:, 3:])), (6,)),
    "variance": (Of(lambda x: x.var(2) - x.std(1, keepdim=True, correction=0)[:, 0, :3] + x.norm(dim=2)), (3, 4)),
    "larger of two": (Of(lambda x: torch.maximum(x[:, :3], x[:, 3:]) - 2 * torch.minimum(x[:, :1], x[:, 3:])), (6,)),
    "larger than constants": (Of(lambda x: torch.maximum(torch.tensor(0.5), x) - torch.minimum(x, 1 - x)), (4,)),
    "chosen": (Of(lambda x: torch.where(MASK, x @ x, -torch.inf).log_softmax(-1).masked_fill(~MASK, 2.0)), (3, 3)),
    "largest": (Of(lambda x: x.amax((1, 2)) - 2 * x.amin(2, keepdim=True).sum((1, 3)) + x.max(2).values.sum(1)), (2, 3, 3)),
    "max pooling": (Of(lambda x: F.max_pool2d(x, (3, 2), (2, 1), padding=1, dilation=(1, 2), ceil_mode=True)), (2, 5, 4)),
    "max pooling of rows": (Of(lambda x: F.max_pool1d(x, 3, 2, padding=1) - F.adaptive_max_pool1d(x, 4)), (2, 7)),
    "max pooling of volumes": (Of(lambda x: F.max_pool3d(x, 2, ceil_mode=True)), (1, 3, 2, 3)),
    "adaptive max pooling": (Of(lambda x: F.adaptive_max_pool2d(x, (2, 3))), (2, 5, 4)),
    "moved": (
        Of(lambda x: (x.roll(1, 1) - x.cumsum(2))[:, None] + F.interpolate(x, scale_factor=2.0, mode="linear")[:, None, :, :4]),
        (3, 4),
    ),
    "wrapped round": (Of(lambda x, f: f(x), nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular")), (2, 4)),
}  # fmt: skip


class Found:
    """Bounds of a net over boxes around x, and the values at points of the boxes."""

    def __init__(self, net: nn.Module, graph: Graph, x: Tensor, radius: float) -> None:
        self.net, self.x, self.radius = net, x, radius
        random = torch.Generator().manual_seed(1)
        units = torch.eye(graph.out_shape[0], dtype=x.dtype)
        self.rows = torch.cat([units, -units, torch.randn(6, len(units), generator=random, dtype=x.dtype)])
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
        for trial in range(20):
            noise = torch.rand(self.x.shape, generator=random, dtype=self.x.dtype) * 2 - 1
            p = self.x + self.radius * (noise if trial % 2 else noise.sign())
            least = torch.minimum(least, self.value(p))
            for _ in range(3 if trial > 10 else 0):
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


@pytest.mark.parametrize("name", CASES)
def test_no_point_crosses_the_bounds_of(name: str) -> None:
    net, shape = CASES[name]
    net = net.eval()
    graph = trace(net.float(), torch.zeros(1, *shape) + 0.1)
    net, x = net.double(), drawn(2, *shape)
    for radius in (0.0, 0.03, 0.4):
        found = Found(net, graph, x, radius)
        assert found.crossed() <= TOLERANCE, f"radius {radius}"
        assert bool(found.interval.isfinite().all())
        if radius == 0:
            torch.testing.assert_close(found.linear, found.value(x), rtol=0, atol=1e-7)
    net.float()
