"""What the benchmarks attack: a net with inputs and labels, at radii where no, some and most inputs break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ironbound.models.zoo import mnist_cnn

SDP = Path(__file__).resolve().parents[2] / "shared" / "data" / "verify" / "sdp"


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    net: nn.Module
    x: Tensor
    y: Tensor
    eps: float

    @property
    def step(self) -> float:
        return self.eps / 10


def mnist() -> Iterator[Case]:
    """Untrained weights and inputs of noise; labels are what the net says."""
    net = mnist_cnn().eval().requires_grad_(False)
    x = torch.empty(64, 1, 28, 28).uniform_(generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    for eps in (1e-6, 0.01, 0.05):
        yield Case(f"MNIST-shaped CNN, {eps:g}", net, x, y, eps)


def cifar() -> Iterator[Case]:
    """An adversarially trained net and the 200 images on which verifiers are compared; nothing where they are absent."""
    if not (SDP / "cifar_sdp.npz").exists():
        print(f"CIFAR net: skipped, {SDP} is not there")
        return
    net, arrays = _cifar_net(), np.load(SDP / "cifar_sdp.npz")
    x, y = torch.from_numpy(arrays["X"]), torch.from_numpy(arrays["y"])
    yield Case("CIFAR cnn_a_adv, 1e-06, own labels", net, x, net(x).argmax(1), 1e-6)
    yield Case("CIFAR cnn_a_adv, 2/255", net, x, y, 2 / 255)
    yield Case("CIFAR cnn_a_adv, 8/255", net, x, y, 8 / 255)


class _Normalised(nn.Module):
    def __init__(self, net: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)


def _cifar_net() -> nn.Module:
    notes = json.loads((SDP / "cifar_cnn_a_adv.json").read_text())
    net = nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    net.load_state_dict(load_file(SDP / "cifar_cnn_a_adv.safetensors"))
    normalisation = notes["normalisation"]
    return _Normalised(net, normalisation["mean"], normalisation["std"]).eval().requires_grad_(False)
