"""Batch normalisation in certified training: its running statistics, moved by what the clean inputs gave."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ironbound.certification.interval import BatchStatistics


def frozen(module: nn.Module) -> frozenset[str]:
    """The names of batch normalisations in evaluation mode: their statistics are neither those of a batch nor moved."""
    named = module.named_modules()
    return frozenset(name for name, part in named if isinstance(part, _BatchNorm) and not part.training)


@torch.no_grad()
def moved(module: nn.Module, statistics: Iterable[BatchStatistics]) -> None:
    """Move the running mean and (unbiased) variance of each layer towards one batch's, as torch does in a forward pass."""
    for found in statistics:
        layer = module.get_submodule(found.module)
        mean, var, seen = layer.running_mean, layer.running_var, layer.num_batches_tracked
        if not (isinstance(mean, Tensor) and isinstance(var, Tensor) and isinstance(seen, Tensor)):
            continue
        seen += 1
        momentum = layer.momentum
        share = 1.0 / float(seen) if momentum is None else float(momentum)  # type: ignore[arg-type]  # None: the mean of all
        mean += share * (found.mean.to(mean) - mean)
        var += share * (found.var.to(var) - var)
