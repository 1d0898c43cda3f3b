"""The small convolutional net of the parity tests: its weights stand in the golden files, so that all sides run the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def small_net() -> nn.Sequential:
    """Inputs (n, 1, 8, 8), ten logits, 1,700 parameters, evaluation mode."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    ).eval()  # fmt: skip


def with_weights(tables: dict[str, Tensor]) -> nn.Sequential:
    """The net with weights as stored, in float64: kernels' last bits then decide nothing."""
    net = small_net()
    net.load_state_dict({name.removeprefix("net."): t for name, t in tables.items() if name.startswith("net.")})
    return net.to(torch.float64)
