"""Blurs of images in [0, 1], summed shift by shift so that no image feels the others."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.sets.color import REACH, gaussian
from ironbound.sets.warp import bilinear


def blurred(x: Tensor, sigma: float, reach: float = REACH) -> Tensor:
    """A Gaussian of so many pixels, cut after `reach` standard deviations."""
    each = torch.full((len(x),), sigma, dtype=torch.float64, device=x.device)
    taps = [min(math.ceil(reach * sigma), side - 1) for side in x.shape[2:]]
    return gaussian(gaussian(x, each, taps[0], 2), each, taps[1], 3)


def gaussian_blur(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """A Gaussian of c pixels."""
    return blurred(x, c[0])


def glass_blur(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """A Gaussian, pixels exchanged with neighbours one after the other, and a Gaussian again.

    Differs: the first blur is not rounded to 8 bits.
    """
    high, wide = x.shape[2:]
    reach, rounds = max(1, round(c[1])), int(c[2])
    if min(high, wide) <= 2 * reach:
        return blurred(x, c[0])
    rows, columns = range(high - reach, reach, -1), range(wide - reach, reach, -1)
    place = np.tile(np.arange(high * wide), (len(x), 1))
    each = np.arange(len(x))
    for number in range(rounds):
        own = draws.fold("round").fold(number)
        shape = (2, len(rows), len(columns))
        steps = own.uniform(shape, torch.float64, -reach, reach).floor().long().clamp(-reach, reach - 1).cpu().numpy()
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                here, there = row * wide + column, (row + steps[:, 1, i, j]) * wide + column + steps[:, 0, i, j]
                kept = place[:, here].copy()
                place[:, here] = place[each, there]
                place[each, there] = kept
    index = torch.from_numpy(place).to(x.device)[:, None].expand(-1, x.shape[1], -1)
    return blurred(blurred(x, c[0]).flatten(2).gather(2, index).view_as(x), c[0])


def defocus_blur(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """A disk of radius c[0] pixels, its edge smoothed by a Gaussian of c[1]; beyond the image it is mirrored."""
    radius, alias = c
    half = 8 if radius <= 8 else math.floor(radius)
    line = torch.arange(-half, half + 1, dtype=torch.float64)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).double()
    soft = 1 if radius <= 8 else 2
    bell = torch.exp(-(torch.arange(-soft, soft + 1, dtype=torch.float64) ** 2) / (2 * alias**2))
    bell = bell / bell.sum()
    kernel = torch.nn.functional.conv2d(
        (disk / disk.sum())[None, None], (bell[:, None] * bell)[None, None], padding=2 * soft
    )[0, 0]
    middle, out = len(kernel) // 2, torch.zeros_like(x)
    for i, j in (kernel > 1e-9).nonzero().tolist():
        out = out + float(kernel[i, j]) * _mirrored(_mirrored(x, i - middle, 2), j - middle, 3)
    return out / float(kernel[kernel > 1e-9].sum())


def _mirrored(x: Tensor, shift: int, axis: int) -> Tensor:
    """x read so many pixels further along an axis; the edge is not repeated."""
    length = x.shape[axis]
    if shift == 0 or length == 1:
        return x
    place = (torch.arange(length, device=x.device) + shift).remainder(2 * (length - 1))
    return x.index_select(axis, torch.where(place < length, place, 2 * (length - 1) - place))


def motion_blur(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Half a Gaussian along a line, at a random angle of at most 45 degrees to the horizontal."""
    return smeared(x, c[0], c[1], -45 + 90 * draws.fold("angle").unit())


def smeared(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """x averaged along a line from each pixel at an angle in degrees (n,), with weights of half a Gaussian.

    Differs: taps are read between pixels, where ImageMagick takes the nearest one.
    """
    high, wide = x.shape[2:]
    turn = angle.double()[:, None, None] * (math.pi / 180)
    row = torch.arange(high, dtype=torch.float64, device=x.device)[:, None]
    column = torch.arange(wide, dtype=torch.float64, device=x.device)
    taps = 2 * max(1, round(radius)) + 1
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(taps)]
    out = torch.zeros_like(x)
    for k, weight in enumerate(weights):
        if weight > 1e-6:
            r, s = row - k * turn.sin() + 0 * column, column + k * turn.cos() + 0 * row
            out = out + weight * bilinear(x, r, s)
    return out / sum(weight for weight in weights if weight > 1e-6)


def zoom_blur(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """The mean of the image and of itself magnified by 1, 1 + c[1], ... up to c[0]."""
    factors = np.arange(1, c[0], c[1])
    out = x
    for factor in factors:
        out = out + zoomed(x, float(factor))
    return out / (len(factors) + 1)


def zoomed(x: Tensor, factor: float) -> Tensor:
    """The middle of x, magnified to all of it."""
    lines = []
    for side in x.shape[2:]:
        middle = (side - 1) / 2
        lines.append(middle + (torch.arange(side, dtype=torch.float64, device=x.device) - middle) / factor)
    row, column = torch.meshgrid(*lines, indexing="ij")
    return bilinear(x, row.expand(len(x), -1, -1), column.expand(len(x), -1, -1))
