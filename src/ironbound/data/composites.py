"""Composites of the bundled digits: small pictures with a map of classes and a box for each digit, made in a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.data.digits import digits
from ironbound.data.request import Request

SIZE = 24
DIGIT = 8
INK, NOISE = 0.6, 0.3


@dataclass(frozen=True, eq=False)
class Composites:
    """Faint pictures of two digits each on noise, at random places in the left and in the right half.

    x: float32 (n, 1, 24, 24) in [0, 1]. maps: int64 (n, 24, 24), 0 the background, 1 + the digit where its ink is.
    boxes: float32 (n, 2, 4), (x0, y0, x1, y1) in pixels, of the left and of the right one. classes: int64 (n, 2).
    """

    x: Tensor
    maps: Tensor
    boxes: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.x)


def composites(count: int, seed: int = 0, split: str = "train") -> Composites:
    """`count` pictures of bundled digits of the split ("train" or "test"); a function of the seed alone."""
    pool = digits(split, Request())
    rng = Rng.of(seed, torch.arange(count)).fold("composites").fold(split)
    x, maps = torch.zeros(count, 1, SIZE, SIZE), torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    boxes, classes = [], []
    row, grid = torch.arange(count)[:, None, None], torch.arange(DIGIT)
    for half in range(2):
        mine = rng.fold(half)
        chosen = mine.fold("digit").integers(0, len(pool))
        left = half * SIZE // 2 + mine.fold("left").integers(0, SIZE // 2 - DIGIT + 1)
        top = mine.fold("top").integers(0, SIZE - DIGIT + 1)
        down, right = top[:, None, None] + grid[None, :, None], left[:, None, None] + grid[None, None, :]
        ink, label = pool.x[chosen, 0], pool.y[chosen]
        x[row, 0, down, right] = ink
        maps[row, down, right] = torch.where(ink > 0.25, 1 + label[:, None, None], 0)
        boxes.append(torch.stack([left, top, left + DIGIT, top + DIGIT], 1).float())
        classes.append(label)
    noise = rng.fold("noise").uniform((1, SIZE, SIZE), torch.float32, 0.0, NOISE)
    x = (INK * x + noise).clamp(0, 1)
    return Composites(x, maps, torch.stack(boxes, 1), torch.stack(classes, 1))
