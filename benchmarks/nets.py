"""The nets of the audit's comparison: what each is, how it is trained, and what it is attacked on.

`case("mnist ibp 0.2")` gives a net with images, labels and radius. Nets that no file of the checkout holds are trained
here once, by Ironbound's own trainer with fixed seeds, and kept as safetensors in a cache folder outside the repository
($IRONBOUND_BENCHMARKS, or ~/.cache/ironbound-benchmarks). From the command line, `python benchmarks/nets.py NAME ...` trains.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.rng import forked
from ironbound.data import load
from ironbound.defenses.train import train, training_named
from ironbound.defenses.train.training import Training

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SDP = DATA / "verify" / "sdp"


def cache() -> Path:
    """The folder of trained weights, peers' results and audits."""
    folder = Path(os.environ.get("IRONBOUND_BENCHMARKS", Path.home() / ".cache" / "ironbound-benchmarks"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cnn_a(channels: int = 1, side: int = 28) -> nn.Sequential:
    """The net of the verifiers' comparison: convolutions of 16 and 32 channels with stride 2, 100 hidden units."""
    flat = 32 * (side // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(flat, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def strided(first: int = 32, second: int = 64, hidden: int = 256, norm: bool = False) -> nn.Sequential:
    """`cnn_a` with more channels for (n, 1, 28, 28), 839,000 weights; with `norm`, batch norm after both convolutions."""
    normed: list[list[nn.Module]] = [[nn.BatchNorm2d(wide)] if norm else [] for wide in (first, second)]
    return nn.Sequential(
        nn.Conv2d(1, first, 4, stride=2, padding=1), *normed[0], nn.ReLU(),
        nn.Conv2d(first, second, 4, stride=2, padding=1), *normed[1], nn.ReLU(),
        nn.Flatten(), nn.Linear(49 * second, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


class Block(nn.Module):
    """A basic block of a ResNet (He et al. 2016, arXiv 1512.03385): two 3x3 convolutions beside a shortcut."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(given, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        same = given == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(given, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
        return (out + self.shortcut(x)).relu()


def resnet(width: int = 12) -> nn.Sequential:
    """A ResNet of three blocks for (n, 3, 32, 32): a stem with stride 2, then 12, 24 and 48 channels; 44,000 weights."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10),
    )  # fmt: skip


def vgg(width: int = 16) -> nn.Sequential:
    """Three convolutions of 16, 32 and 64 channels with batch norm and max pooling, and a linear layer: (n, 3, 32, 32)."""
    layers: list[nn.Module] = []
    for given, wide in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(given, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * width, 10))


class Augmented(nn.Module):
    """In training, images flipped and shifted by up to two pixels, at random; in evaluation, as they are."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        n, _, high, wide = x.shape
        # As dropout does, it draws from the global generator, which the trainer seeds for each batch.
        flip, row, col = (torch.randint(k, (n, 1), device=x.device) for k in (2, 5, 5))  # noqa: TID251
        across = torch.arange(wide, device=x.device)
        rows = (torch.arange(high, device=x.device) + row - 2).clamp(0, high - 1)
        cols = (torch.where(flip == 1, wide - 1 - across, across) + col - 2).clamp(0, wide - 1)
        image = torch.arange(n, device=x.device)
        return x[image[:, None, None], :, rows[:, :, None], cols[:, None, :]].movedim(3, 1).contiguous()


def pooled(width: int = 24) -> nn.Sequential:
    """Images averaged over 2x2 pixels, then three convolutions of 24, 48 and 96 channels and a mean over places."""
    layers: list[nn.Module] = [Augmented(), nn.AvgPool2d(2)]
    for given, wide in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(given, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if wide > width else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


class Normalised(nn.Module):
    def __init__(self, net: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)


def sdp(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A net of the verifiers' comparison with its 200 images, the exact ones."""
    notes = json.loads((SDP / f"{name}.json").read_text())
    channels, side = notes["input"]["shape"][:2]
    net: nn.Module = cnn_a(channels, side)
    net.load_state_dict(load_file(SDP / f"{name}.safetensors"))
    normalisation = notes["normalisation"]
    if any(normalisation["mean"]):
        net = Normalised(net, normalisation["mean"], normalisation["std"])
    arrays = np.load(SDP / notes["files"]["data"])
    x, y = torch.from_numpy(arrays["X"]).float(), torch.from_numpy(arrays["y"]).long()
    return net.eval().requires_grad_(False), x, y


@dataclass(frozen=True)
class Recipe:
    """A net that is trained here."""

    make: Callable[[], nn.Module]
    training: Training
    eps: float
    """The radius it is trained at and attacked at; in units of [0, 1]."""
    data: str = "mnist"
    fit: int = 15_000
    """Images it is trained on: of the train file, drawn with seed 0."""
    images: int = 1000
    """Images it is attacked on: of the test file, drawn with seed 0."""
    start: str | None = None
    """The net whose weights it starts from: at 0.3 a small net learns nothing from first weights (the loss stays ln 10)."""


def _pgd(epochs: int, steps: int = 7) -> Training:
    return training_named("pgd", epochs=epochs, steps=steps, batch=128, cheap=True, rate=1e-3)


TRAINED = {
    "mnist standard 0.1": Recipe(cnn_a, training_named("standard", epochs=6, batch=128, rate=1e-3), 0.1),
    "mnist pgd 0.1": Recipe(cnn_a, _pgd(8), 0.1),
    "mnist pgd 0.3": Recipe(cnn_a, _pgd(6), 0.3, start="mnist pgd 0.2"),
    "mnist ibp 0.2": Recipe(cnn_a, training_named("ibp", epochs=25, batch=100, rate=2e-3), 0.2),
    "cifar resnet 4/255": Recipe(resnet, _pgd(8, steps=5), 4 / 255, "cifar10", images=500),
}
STANDARD = partial(training_named, "standard", batch=128)
STEPS = {"mnist pgd 0.2": Recipe(cnn_a, _pgd(2), 0.2, start="mnist pgd 0.1")}
"""Nets on the way to others: trained, not compared."""
ASIDE = {
    "cifar standard": Recipe(resnet, STANDARD(epochs=10, rate=2e-3), 10 / 255, "cifar10", fit=30_000, images=3000),
    "cifar vgg": Recipe(
        vgg, STANDARD(epochs=6, rate=3e-3, schedule="cosine", weight_decay=5e-4), 10 / 255, "cifar10", 30_000, 3000
    ),
    "cifar pooled": Recipe(
        pooled, STANDARD(epochs=5, rate=3e-3, schedule="cosine", weight_decay=5e-4), 10 / 255, "cifar10", 30_000, 3000
    ),
}
"""Nets of other sections than the audit's."""
EVERY = TRAINED | STEPS | ASIDE
NETS: dict[str, Callable[[], nn.Module]] = {
    "cnn_a": cnn_a, "cnn_a, batch norm": partial(strided, 16, 32, 100, norm=True), "strided": strided, "resnet": resnet,
}  # fmt: skip
"""Nets of the trainings' comparison, by name."""
GIVEN = {
    "cifar sdp 2/255": ("cifar_cnn_a_adv", 2 / 255),
    "cifar sdp 8/255": ("cifar_cnn_a_adv", 8 / 255),
    "mnist sdp 0.3": ("mnist_cnn_a_adv", 0.3),
}
NAMES = (*TRAINED, *GIVEN)


def case(name: str) -> tuple[nn.Module, Tensor, Tensor, float]:
    """Net (in evaluation mode, frozen), images, labels and the radius of Linf. Trains the net where the cache lacks it."""
    if name in GIVEN:
        return *sdp(GIVEN[name][0]), GIVEN[name][1]
    recipe = EVERY[name]
    data = load(str(DATA / recipe.data / "test.parquet"), samples=recipe.images)
    net = recipe.make().eval().requires_grad_(False)
    net.load_state_dict(load_file(weights_of(name)))
    return net, data.x, data.y, recipe.eps


def described(name: str, net: nn.Module) -> dict[str, Any]:
    """For the table of nets: how many weights, and how it was trained."""
    weights = sum(parameter.numel() for parameter in net.parameters())
    if name in GIVEN:
        return {"weights": weights, "training": f"adversarial, as published ({GIVEN[name][0]})", "cpu": None}
    recipe = EVERY[name]
    words = {"standard": "standard", "ibp": "interval bounds, {:g}", "pgd": "adversarial, {:g}"}
    text = words[recipe.training.label].format(recipe.eps)
    text += f": {recipe.training.epochs} epochs of {recipe.fit:,} images"
    cpu = json.loads(weights_of(name).with_suffix(".train.json").read_text())["cpu"]
    if recipe.start is not None:
        before = described(recipe.start, net)
        text, cpu = f"{before['training']}; then {text}", cpu + before["cpu"]
    return {"weights": weights, "training": text, "cpu": cpu}


def slug(name: str) -> str:
    """The name as a file's."""
    return name.replace(" ", "_").replace("/", "-")


def weights_of(name: str) -> Path:
    """The file of a trained net's weights, made where it is not there; beside it how it was trained, as JSON."""
    path = cache() / f"{slug(name)}.safetensors"
    if not path.exists():
        recipe, start = EVERY[name], time.process_time()
        with forked(0):
            net = recipe.make()
        if recipe.start is not None:
            net.load_state_dict(load_file(weights_of(recipe.start)))
        data = load(str(DATA / recipe.data / "train.parquet"), samples=recipe.fit)
        trained = train(ib.Model(net), data, ib.Linf(recipe.eps), recipe.training, progress=_told(name))
        notes: dict[str, Any] = {"training": repr(recipe.training), "fit": recipe.fit, "eps": recipe.eps}
        notes |= {"cpu": time.process_time() - start, "torch": torch.__version__, "history": trained.history}
        path.with_suffix(".train.json").write_text(json.dumps(notes, indent=1))
        save_file({k: v.contiguous() for k, v in trained.model.net.state_dict().items()}, path)
    return path


def _told(name: str) -> Callable[[Any], None]:
    return partial(_tell, name, [time.process_time()])


def _tell(name: str, last: list[float], event: Any) -> None:
    if time.process_time() - last[0] > 20:
        last[0] = time.process_time()
        print(f"{name}: {event}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or TRAINED:
        net, x, y, eps = case(name)
        with torch.no_grad():
            right = int((net(x).argmax(1) == y).sum())
        print(f"{name}: {right} of {len(y)} right when clean; radius {eps:g}", flush=True)


if __name__ == "__main__":
    main()
