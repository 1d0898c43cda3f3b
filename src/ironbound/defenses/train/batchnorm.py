"""Batch normalisation in certified training: its running statistics, moved by what the clean inputs gave."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ironbound.certification.interval import BatchStatistics


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
        share = momentum if isinstance(momentum, float) else 1.0 / float(seen)  # None: the mean of all batches
        mean += share * (found.mean.to(mean) - mean)
        var += share * (found.var.to(var) - var)
