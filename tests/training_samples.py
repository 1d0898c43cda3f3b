"""A tiny task for the tests of training: 6x6 images of three classes, and nets with all that makes training hard to repeat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ironbound import recipes
from ironbound.core.progress import Event
from ironbound.core.rng import forked
from ironbound.defenses.train import (
    Adversarial,
    Alp,
    Awp,
    Composed,
    Dro,
    Free,
    GradAlign,
    Ibp,
    Mart,
    MultiNorm,
    Signs,
    Standard,
    Steps,
    Trades,
    Training,
    train,
)  # fmt: skip
from ironbound.models.model import Model
from ironbound.sets import L1, L2, Linf

EPS = Linf(0.1)
UNION = Linf(0.1) | L2(0.5) | L1(1.0)
OBJECTIVES = {
    "standard": Standard(),
    "pgd": Adversarial(Steps(2)),
    "ibp": Ibp(warmup=0.5, ramp=1, init="ibp"),
}
SCHEMES = {
    **OBJECTIVES,
    "n-fgsm": Adversarial(Steps(1, share=1.0, noise=2.0)),
    "gradalign": GradAlign(),
    "free": Free(repeats=2),
    "trades": Trades(Steps(2, start="nudged")),
    "awp of mart": Awp(Mart(Steps(2, start="nudged"))),
    "alp": Alp(Steps(2)),
    "dro": Dro(Adversarial(Steps(2))),
    "noise": Adversarial(Signs()),
    "e-at": MultiNorm(Adversarial(Steps(2)), how="e-at"),
    "msd": MultiNorm(Trades(Steps(2)), how="msd"),
    "composed": Adversarial(Composed(recipes.pgd(steps=2))),
}
"""Each kind of objective, among them all that carry something from batch to batch."""


def threat_of(objective: Any) -> Any:
    """A set that the objective trains against."""
    return UNION if isinstance(objective, MultiNorm) else EPS


def images(count: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = 0.3 * torch.empty(count, 1, 6, 6).uniform_(generator=generator)
    for label in range(3):
        x[y == label, :, 2 * label : 2 * label + 2] += 0.6
    return x, y


def small_net(seed: int = 0, *, norm: bool = True, dropout: float = 0.2) -> nn.Sequential:
    with forked(seed):
        parts: list[nn.Module] = [nn.Conv2d(1, 6, 3, padding=1)]
        parts += [nn.BatchNorm2d(6)] if norm else []
        parts += [nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(6 * 36, 12), nn.ReLU(), nn.Linear(12, 3)]
        return nn.Sequential(*parts)


def state_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Stop(Exception):
    """A user's interruption."""


def trained(objective: Any = OBJECTIVES["pgd"], net: nn.Module | None = None, **parts: Any) -> Any:
    training = Training(objective, **{"epochs": 2, "batch": 32, "rate": 0.01, **parts})
    return train(Model(small_net() if net is None else net), images(), threat_of(objective), training)


def stop(event: Event) -> None:
    raise Stop
