"""Square Attack on binary linear models, where the highest margin in ball and box is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ironbound.core.protocols import Want
from ironbound.models.model import Model
from ironbound.recipes import square
from ironbound.sets import Linf


class Plane(nn.Module):
    """Two logits whose difference is <w, x> over all values."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w / 2)

    def forward(self, x: Tensor) -> Tensor:
        z = (x * self.w).flatten(1).sum(1)
        return torch.stack([-z, z], 1)


def smooth(shape: tuple[int, ...]) -> Tensor:
    """Weights whose signs come in patches, as those of filters on images do."""
    noise = torch.empty(1, *shape, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(3))
    return nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)[0]


def rough(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(4))


def reached(threat: Any, w: Tensor, queries: int, n: int = 8) -> Tensor:
    """The change of the margin that was reached, as a share of the highest there is."""
    x = torch.rand(n, *w.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    label = torch.arange(n) % 2
    attack = square(queries).replace(set=threat, want=Want.STRONGEST)
    result = attack(Model(Plane(w)), x, label)
    region, up = threat.at(x, (0.0, 1.0)), torch.where(label == 0, 1.0, -1.0).double()
    direction = up.view(-1, *[1] * w.ndim) * w
    assert bool(region.contains(result.points).all())
    clean = (direction * x).flatten(1).sum(1)
    best = region.support(direction.expand_as(x).contiguous())[1] - clean
    gain = (direction * result.points).flatten(1).sum(1) - clean
    assert bool((gain <= best * (1 + 1e-9)).all())
    return gain / best


@pytest.mark.parametrize(("shape", "make"), [((1, 8, 8), rough), ((3, 6, 6), smooth)])
def test_linf_comes_within_five_percent_of_the_optimum(shape: tuple[int, ...], make: Any) -> None:
    share = reached(Linf(8 / 255), make(shape), 2000)
    assert float(share.min()) > 0.95


def test_linf_on_vectors_comes_within_five_percent_of_the_optimum() -> None:
    assert float(reached(Linf(0.1), rough((60,)), 2000).min()) > 0.95
