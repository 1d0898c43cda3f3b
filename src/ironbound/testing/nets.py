"""Small nets and data for trials of attacks: rows that do not feel each other, any number of classes, some inputs easy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.protocols import Box
from ironbound.core.rng import Rng
from ironbound.models.model import Model
from ironbound.testing.around import inputs

HIDDEN = 12


class RowWise(nn.Linear):
    """A linear layer that sums each row by itself: matrix products differ in the last bits with the size of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, out)."""
        return (x[:, None, :] * self.weight).sum(2) + self.bias


class Tiny(nn.Module):
    """A net of two layers for inputs of any shape, with batch norm and dropout, which only evaluation mode keeps apart.

    It centres its inputs by the middle of `box`, so that it behaves alike on every range. `classes` = 1: one logit.
    """

    def __init__(
        self, shape: Sequence[int], classes: int, box: Box = (0.0, 1.0), dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        low, high = (-0.5, 0.5) if box is None else box
        self.middle, self.width = (low + high) / 2, high - low
        values = torch.Size(shape).numel()
        self.first, self.norm = nn.utils.skip_init(RowWise, values, HIDDEN), nn.BatchNorm1d(HIDDEN)
        self.drop, self.last = nn.Dropout(0.3), nn.utils.skip_init(RowWise, HIDDEN, classes)
        generator = torch.Generator().manual_seed(classes)
        for layer in (self.first, self.last):
            size = layer.weight.shape[1] ** -0.5
            layer.weight.data.normal_(0, 2 * size, generator=generator)
            layer.bias.data.normal_(0, 0.3, generator=generator)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        h = self.first(((x - self.middle) * (2 / self.width)).flatten(1))
        return self.last(self.drop(self.norm(h).relu()))


class Flat(nn.Module):
    """Answers the same whatever it sees: class 0, with gradients of zero."""

    def __init__(self, classes: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.arange(classes, 0, -1, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.logits + 0 * x.flatten(1)[:, :1]


class Holes(nn.Module):
    """Another net that answers NaN where the first value of an input is above a limit."""

    def __init__(self, net: nn.Module, limit: float) -> None:
        super().__init__()
        self.net, self.limit = net, limit

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes), NaN in the bad rows."""
        bad = x.flatten(1)[:, :1] > self.limit
        return torch.where(bad, torch.nan, self.net(x))


@dataclass(frozen=True)
class WhiteNoise:
    """A transformation that adds normal noise, keyed by row."""

    sigma: float

    def __call__(self, x: Tensor, rng: Rng) -> Tensor:
        """x with noise."""
        return x + self.sigma * rng.fold("noise").normal(tuple(x.shape[1:]), x.dtype)


class Front(nn.Module):
    """A defense in front of a net: values rounded to 64 levels, which have a gradient of zero."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape of x."""
        return (x * 64).round() / 64


@dataclass(frozen=True)
class Data:
    """What `fit` gives: a model, inputs and labels, of which the last is wrong from the start."""

    model: Model
    x: Tensor
    y: Tensor

    def __iter__(self) -> Any:
        return iter((self.model, self.x, self.y))


def fit(shape: Sequence[int], classes: int, n: int, box: Box = (0.0, 1.0), dtype: torch.dtype = torch.float64) -> Data:
    """A Tiny model, n inputs in the box and the labels that the model gives them; the last label is the least likely one.

    The inputs are those of 8 n whose margins are spread most evenly, so that some attacks succeed and some fail.
    """
    net = Tiny(shape, classes, box, torch.float64).eval()
    pool = inputs(8 * n, shape, box, torch.float32).double()
    with torch.no_grad():
        out = net(pool)
    out = torch.cat([torch.zeros_like(out), out], 1) if classes == 1 else out
    top = out.topk(2, dim=1).values
    chosen = (top[:, 0] - top[:, 1]).argsort()[torch.arange(n) * 8 + 2]
    y = out[chosen].argmax(1)
    y[-1] = out[chosen[-1]].argmin()
    return Data(Model(net.to(dtype).train(), range=box), pool[chosen].to(dtype), y)
