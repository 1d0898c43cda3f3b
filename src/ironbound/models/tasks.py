"""Small models whose answers are no classes: embeddings, maps, boxes. Trained on bundled digits within seconds.

For examples, tests and tries of one's own attacks; see docs/defenses.md. What they learn is a function of the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.core.rng import forked
from ironbound.data.composites import DIGIT, SIZE, composites
from ironbound.data.digits import digits
from ironbound.data.request import Request

CELL = 2
"""Pixels of a cell of the detector's grid: a box of a digit's size may begin at every cell."""


class Embedder(nn.Module):
    """Pictures (n, 1, 8, 8) in, embeddings of unit length (n, 16) out: digits of a class lie near each other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 4 * 4, 16),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, 16)."""
        return F.normalize(self.body(x), dim=1)


class Segmenter(nn.Module):
    """Pictures (n, 1, height, width) in, logits of 11 classes a pixel out: 0 the background, 1 + the digit."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.near = _block(1, width)
        self.far = nn.Sequential(
            nn.MaxPool2d(2), _block(width, 2 * width), _block(2 * width, 4 * width, 2), _block(4 * width, 4 * width),
            nn.Upsample(scale_factor=2),
        )  # fmt: skip
        self.last = nn.Conv2d(5 * width, 11, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, 11, height, width)."""
        near = self.near(x)
        out: Tensor = self.last(torch.cat([near, self.far(near)], 1))
        return out


class Detector(nn.Module):
    """Pictures (n, 1, 24, 24) in, {"boxes": (n, 81, 4), "scores": (n, 81)} out: scores in [0, 1], boxes in pixels.

    One box of a digit's size begins at each cell of a grid; the net says whether a digit is there, and moves the box.
    """

    grid: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        places = (SIZE - DIGIT) // CELL + 1
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, DIGIT // CELL), nn.ReLU(), nn.Conv2d(2 * width, 3, 1),
        )  # fmt: skip
        across = torch.arange(places).float() * CELL
        left, top = across.repeat(places), across.repeat_interleave(places)
        self.register_buffer("grid", torch.stack([left, top, left + DIGIT, top + DIGIT], 1), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Boxes and scores."""
        logits, moves = self.heads(x)
        return {"boxes": self.grid + torch.cat([moves, moves], 2), "scores": logits.sigmoid()}

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of scores (n, 81) and moves of the boxes (n, 81, 2), in pixels."""
        out = self.body(x).flatten(2)
        return out[:, 0], out[:, 1:].transpose(1, 2).tanh() * CELL


def _block(into: int, out: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(into, out, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


def trained_embedder(seed: int = 0, epochs: int = 8) -> Embedder:
    """Learns to tell digits apart by the cosine to a prototype of each class (about 2 s on one core)."""
    data = digits("train", Request())
    with forked(seed):
        net, prototypes = Embedder(), nn.Linear(16, 10, bias=False).weight
    loss = lambda at: F.cross_entropy(10 * net(data.x[at]) @ F.normalize(prototypes, dim=1).T, data.y[at])
    return _trained(net, loss, len(data), epochs, seed, [prototypes])


def trained_segmenter(seed: int = 0, epochs: int = 6, pictures: int = 1000) -> Segmenter:
    """Learns the class of every pixel of composites (about 15 s on one core)."""
    data = composites(pictures, seed)
    with forked(seed):
        net = Segmenter()
    weight = torch.ones(11).index_fill(0, torch.tensor([0]), 0.3)  # most pixels are background
    return _trained(net, lambda at: F.cross_entropy(net(data.x[at]), data.maps[at], weight), len(data), epochs, seed)


def trained_detector(seed: int = 0, epochs: int = 10, pictures: int = 1000) -> Detector:
    """Learns where the digits of composites are (about 5 s on one core)."""
    data = composites(pictures, seed)
    with forked(seed):
        net = Detector()
    gap = data.boxes[:, None, :, :2] - net.grid[None, :, None, :2]  # (n, cells, digits, 2)
    far, which = gap.abs().amax(3).min(2)
    move = gap.gather(2, which[:, :, None, None].expand(-1, -1, 1, 2))[:, :, 0]
    near, unsure = far < CELL / 2 + 0.1, far < CELL + 0.1

    def loss(at: Tensor) -> Tensor:
        logits, moves = net.heads(data.x[at])
        wanted = near[at].float()
        found = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        kept = ~unsure[at] | near[at]  # boxes half off may say what they like
        return (found * kept).sum() / kept.sum() * 10 + F.mse_loss(moves[near[at]], move[at][near[at]])

    return _trained(net, loss, len(data), epochs, seed)


def _trained(net: Any, loss: Callable[[Tensor], Tensor], count: int, epochs: int, seed: int, more: Any = ()) -> Any:
    optimiser = torch.optim.Adam([*net.parameters(), *more], 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=epochs * -(-count // 32))
    with torch.enable_grad(), forked(seed):
        for _ in range(epochs):
            for at in torch.randperm(count).split(32):  # noqa: TID251 - inside `forked`
                optimiser.zero_grad()
                loss(at).backward()
                optimiser.step()
                schedule.step()
    return net.eval()
