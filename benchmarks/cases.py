"""What the benchmarks attack: nets with inputs and labels, at radii where no, some and most inputs break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from nets import DATA, SDP, sdp
from safetensors.torch import load_file
from torch import Tensor, nn

from ironbound.models.zoo import mnist_cnn


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


@dataclass(frozen=True)
class Chosen:
    """What the command line chose."""

    rounds: int = 7
    mnist_weights: Path | None = None
    images: int = 200
    only: str = ""
    seeds: int = 1
    plan: str = "standard"
    """Of the audit."""
    shown: bool = False
    """Whether to show what is kept and run nothing."""
    page: Path | None = None
    """A page to write the audit's tables into."""
    curve: bool | None = None
    """Whether an audit has its curve; None: as the plan says."""

    def keeps(self, name: str) -> bool:
        return self.only.lower() in name.lower()


def for_pgd(chosen: Chosen) -> Iterator[Case]:
    """At no, some and most inputs broken."""
    yield from (case for case in (*_mnist(chosen), *_cifar()) if chosen.keeps(case.name))


def for_autoattack(chosen: Chosen) -> Iterator[Case]:
    """Where adversarially trained nets are compared."""
    trained = () if chosen.mnist_weights is None else (next(c for c in _mnist(chosen) if c.eps == 0.3),)
    small = (Case("MNIST cnn_a_adv, 0.3", *sdp("mnist_cnn_a_adv"), 0.3),) if _there() else ()
    cases = (*trained, *small, *(case for case in _cifar() if case.eps > 1e-3))
    yield from (case for case in cases if chosen.keeps(case.name))


def _mnist(chosen: Chosen) -> Iterator[Case]:
    """Trained weights on test images where a path is given; else first weights, noise, and what the net says of it."""
    net = mnist_cnn().eval().requires_grad_(False)
    if chosen.mnist_weights is None:
        x = torch.empty(64, 1, 28, 28).uniform_(generator=torch.Generator().manual_seed(0))
        yield from (Case(f"MNIST-shaped CNN, {eps:g}", net, x, net(x).argmax(1), eps) for eps in (1e-6, 0.01, 0.05))
        return
    from ironbound.data import load

    net.load_state_dict(load_file(chosen.mnist_weights))
    data = load(str(DATA / "mnist" / "test.parquet"), samples=chosen.images)
    yield Case("MNIST CNN (adversarial), 1e-06, own labels", net, data.x, net(data.x).argmax(1), 1e-6)
    yield Case("MNIST CNN (adversarial), 0.3", net, data.x, data.y, 0.3)


def _there() -> bool:
    found = (SDP / "cifar_sdp.npz").exists()
    if not found:
        print(f"nets of the verifiers' comparison: skipped, {SDP} is not there")
    return found


def _cifar() -> Iterator[Case]:
    """An adversarially trained net and the 200 images on which verifiers are compared; nothing where they are absent."""
    if _there():
        net, x, y = sdp("cifar_cnn_a_adv")
        yield Case("CIFAR cnn_a_adv, 1e-06, own labels", net, x, net(x).argmax(1), 1e-6)
        yield Case("CIFAR cnn_a_adv, 2/255", net, x, y, 2 / 255)
        yield Case("CIFAR cnn_a_adv, 8/255", net, x, y, 8 / 255)
