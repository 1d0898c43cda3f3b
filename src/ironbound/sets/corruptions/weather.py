"""Weather over images in [0, 1]: snow, frost, fog, brightness, spatter."""

from __future__ import annotations

import torch
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.sets.corruptions.blurs import blurred, smeared, zoomed

ICE = (0.86, 0.94, 1.0)
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
GREY = (0.299, 0.587, 0.114)


def snow(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Flakes of thresholded noise, magnified and smeared along their fall, over a whitened image."""
    flakes = c[0] + c[1] * draws.normal((1, *x.shape[2:]), x.dtype)
    flakes = zoomed(flakes, c[2])
    flakes = torch.where(flakes < c[3], 0.0, flakes).clamp(0, 1)
    flakes = smeared(flakes, c[4], c[5], -135 + 90 * draws.fold("angle").unit())
    white = c[6] * x + (1 - c[6]) * torch.maximum(x, 1.5 * _grey(x) + 0.5)
    return white + flakes + flakes.flip(2, 3)


def frost(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Ice over the image. Procedural: ridges of fractal noise, where the published corruption lays photographs of frost."""
    rough = plasma(x, 1.6, draws.fold("rough"))
    smooth = plasma(x, 3.0, draws.fold("smooth"))
    ridges = (1 - (2 * rough - 1).abs()) ** 2
    ice = (0.5 + 0.5 * smooth) * (0.5 + 0.5 * ridges)
    return c[0] * x + c[1] * ice * _tint(ICE, x)


def fog(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Fractal noise of amplitude c[0] added, then all dimmed to the brightness that the image had."""
    most = x.flatten(1).amax(1)[:, None, None, None]
    return (x + c[0] * plasma(x, c[1], draws)) * most / (most + c[0])


def brightness(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """The value of HSV raised by c; hue and saturation stay, and what is black becomes grey."""
    value = x.amax(1, keepdim=True)
    more = (value + c[0]).clamp(0, 1)
    return torch.where(value > 0, x * (more / value.clamp_min(1e-12)), more)


def spatter(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Drops of water (severities 1 to 3) or mud (4 and 5), of thresholded smooth noise.

    Differs: water is as thick as the noise is above its threshold, where the authors' code takes the distance to the
    edges that Canny's method finds, equalised and embossed.
    """
    liquid = blurred(c[0] + c[1] * draws.normal((1, *x.shape[2:]), x.dtype), c[2])
    if c[5] == 0:
        drops = blurred((liquid - c[3]).clamp_min(0), 0.7)
        most = drops.flatten(1).amax(1)[:, None, None, None]
        return x + c[4] * torch.where(most > 0, drops / most.clamp_min(1e-12), 0.0) * _tint(WATER, x)
    drops = blurred((liquid > c[3]).to(x.dtype), c[4])
    drops = torch.where(drops < 0.8, 0.0, drops)
    return x * (1 - drops) + drops * _tint(MUD, x)


def _tint(color: tuple[float, float, float], x: Tensor) -> Tensor:
    """A colour for images of three channels, its luminance for others."""
    if x.shape[1] == 3:
        return x.new_tensor(color)[None, :, None, None]
    return x.new_full((1, 1, 1, 1), sum(a * b for a, b in zip(color, GREY, strict=True)))


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] != 3:
        return x
    return GREY[0] * x[:, :1] + GREY[1] * x[:, 1:2] + GREY[2] * x[:, 2:]


def plasma(x: Tensor, decay: float, draws: Rng) -> Tensor:
    """Fractal noise (n, 1, h, w) in [0, 1] by the diamond-square algorithm; amplitudes fall by decay squared a level."""
    size = 1 << max(1, max(x.shape[2:]) - 1).bit_length()
    field = torch.zeros(len(x), size, size, dtype=torch.float64, device=x.device)
    step, wibble, level = size, 1.0, 0
    while step >= 2:
        half, count = step // 2, size // step
        own = draws.fold("plasma").fold(level)
        noise = own.uniform((3, count, count), torch.float64, -1, 1) * wibble**2
        corners = field[:, ::step, ::step]
        squares = corners + corners.roll(-1, 1)
        squares = squares + squares.roll(-1, 2)
        centres = squares / 4 + noise[:, 0]
        field[:, half::step, half::step] = centres
        up, left = centres + centres.roll(1, 1), centres + centres.roll(1, 2)
        field[:, ::step, half::step] = (up + corners + corners.roll(-1, 2)) / 4 + noise[:, 1]
        field[:, half::step, ::step] = (left + corners + corners.roll(-1, 1)) / 4 + noise[:, 2]
        step, wibble, level = half, wibble / decay, level + 1
    flat = field.flatten(1)
    low, high = flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]
    field = (field - low) / (high - low).clamp_min(1e-12)
    return field[:, None, : x.shape[2], : x.shape[3]].to(x.dtype)
