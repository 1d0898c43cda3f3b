"""Averages of the weights over a training: what is validated and given back in place of the last weights.

Exponential: after each update a <- d a + (1 - d) w with d = min(decay, (1 + t) / (10 + t)) after t updates, so that the
start is soon forgotten. Stochastic weight averaging ("swa"): the mean of the weights at the ends of the epochs from a
share of the training on (Izmailov et al. 2018, arXiv 1803.05407, algorithm 1). Both help adversarial training (Gowal et
al. 2020, arXiv 2010.03593, section 4.3).

Running statistics of batch normalisation are averaged as the weights are. Those of the mean of distant weights are not
the mean of theirs, so that with "swa" they settle by some batches more, passed as in training (`settled`).
Differs from Izmailov et al., who pass all data once more: the running statistics forget the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SETTLING = 30
"""Batches by which running statistics settle: with the usual momentum of 0.1 all but 4% of them is new."""
WARM_UP = 10


class Average:
    """The average of a net's floating-point parameters and buffers. `kind` is a decay, "swa" or None for none."""

    def __init__(self, net: nn.Module, kind: Any, start: float) -> None:
        self.net, self.kind, self.start = net, kind, start
        self.count = 0
        """Updates (exponential) or epochs ("swa") that are in it."""
        self.mean: dict[str, Tensor] = {}

    @property
    def there(self) -> bool:
        """Whether there is anything to give back."""
        return self.count > 0

    @torch.no_grad()
    def updated(self) -> None:
        """After an update of the weights."""
        if isinstance(self.kind, float):
            self._moved(1 - min(self.kind, (1 + self.count) / (WARM_UP + self.count)))

    @torch.no_grad()
    def ended(self, share: float) -> None:
        """After an epoch, the end of which is at this share of the training."""
        if self.kind == "swa" and share > self.start:
            self._moved(1 / (1 + self.count))

    def _moved(self, weight: float) -> None:
        """Towards the present weights by that share of the way."""
        now = _floating(self.net)
        if self.there:
            torch._foreach_lerp_(list(self.mean.values()), list(now.values()), weight)
        else:
            self.mean = {name: tensor.detach().clone() for name, tensor in now.items()}
        self.count += 1

    def tables(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"mean": self.mean, "count": torch.tensor(self.count)} if self.there else {}

    def put(self, tables: dict[str, Any]) -> None:
        """As the checkpoint says."""
        self.count = int(tables["count"]) if tables else 0
        now = _floating(self.net)
        self.mean = {name: kept.to(now[name], copy=True) for name, kept in tables.get("mean", {}).items()}

    @torch.no_grad()
    def swap(self) -> dict[str, Tensor]:
        """Put the average into the net; what was there comes back."""
        before = {
            name: tensor.detach().clone() for name, tensor in (*self.net.named_buffers(), *_floating(self.net).items())
        }
        fill(self.net, self.mean)
        return before

    @contextmanager
    def swapped(self, settle: Callable[[], None]) -> Iterator[None]:
        """The net with the average inside, and as it was outside; the net as it is where there is no average."""
        if not self.there:
            yield
            return
        before = self.swap()
        try:
            settle()
            yield
        finally:
            fill(self.net, before)


@torch.no_grad()
def fill(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy tensors into the net's parameters and buffers of those names."""
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def has_statistics(net: nn.Module) -> bool:
    """Whether a training pass moves statistics that an evaluation pass reads."""
    return any(isinstance(part, _BatchNorm) and part.training and part.track_running_stats for part in net.modules())


def _floating(net: nn.Module) -> dict[str, Tensor]:
    """What is averaged: trained parameters, and buffers that are no counts. Frozen ones are what they are."""
    named = [(name, tensor) for name, tensor in net.named_parameters() if tensor.requires_grad]
    return {name: tensor for name, tensor in (*named, *net.named_buffers()) if tensor.is_floating_point()}
