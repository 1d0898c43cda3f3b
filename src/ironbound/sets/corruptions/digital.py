"""What happens to images in [0, 1] on their way: contrast, saturation, warping, coarse pixels, JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ironbound.core.errors import InputError
from ironbound.core.rng import Rng
from ironbound.sets.corruptions.blurs import blurred
from ironbound.sets.warp import bilinear


def contrast(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Each channel drawn towards its mean."""
    flat = x.flatten(2).double()
    mean = (flat.cumsum(2)[:, :, -1:] / flat.shape[2]).to(x.dtype)[..., None]  # summed in order, whoever is beside it
    return (x - mean) * c[0] + mean


def saturate(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """The saturation of HSV times c[0] plus c[1]; images of one channel have none and stay. Grey becomes reddish."""
    if x.shape[1] != 3:
        return x
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    had = torch.where(value > 0, (value - least) / value.clamp_min(1e-12), 0.0)
    has = (had * c[0] + c[1]).clamp(0, 1)
    colored = value - (value - x) * (has / had.clamp_min(1e-12))
    red = torch.cat([value, value * (1 - has), value * (1 - has)], 1)
    return torch.where(had > 0, colored, red)


def elastic_transform(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """A random affine map that moves three points by up to c[2] pixels, then a smooth random displacement of c[0]."""
    high, wide = x.shape[2:]
    row = torch.arange(high, dtype=torch.float64, device=x.device)[:, None].expand(len(x), high, wide)
    column = torch.arange(wide, dtype=torch.float64, device=x.device).expand(len(x), high, wide)
    affine = _affine(x, c[2], draws.fold("affine"))
    down, right = affine(row, column)
    down, right = affine(row, column)
    warped = bilinear(x, _reflected(down, high), _reflected(right, wide))
    if c[0] == 0:
        return warped
    steps = draws.fold("steps").uniform((2, high, wide), torch.float64, -1, 1)
    steps = c[0] * blurred(steps, c[1], reach=3)
    return bilinear(warped, _reflected(row + steps[:, 0], high), _reflected(column + steps[:, 1], wide))


def _affine(x: Tensor, most: float, draws: Rng) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Where each pixel comes from, when three points around the middle move by up to `most` pixels."""
    high, wide = x.shape[2:]
    middle, arm = (high // 2, wide // 2), max(1, min(high, wide) // 3)
    was = torch.tensor([[arm, arm], [-arm, arm], [-arm, -arm]], dtype=torch.float64, device=x.device)  # rows, columns
    now = was + draws.uniform((3, 2), torch.float64, -most, most)
    a, b = (now[:, 0] - now[:, 2]), (now[:, 1] - now[:, 2])
    f, g = was[0] - was[2], was[1] - was[2]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    wide_ = lambda value: value[:, None, None]

    def source(row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        down, right = row - middle[0] - wide_(now[:, 2, 0]), column - middle[1] - wide_(now[:, 2, 1])
        s = (down * wide_(b[:, 1]) - right * wide_(b[:, 0])) / wide_(area)
        t = (right * wide_(a[:, 0]) - down * wide_(a[:, 1])) / wide_(area)
        return middle[0] + was[2, 0] + s * f[0] + t * g[0], middle[1] + was[2, 1] + s * f[1] + t * g[1]

    return source


def _reflected(line: Tensor, side: int) -> Tensor:
    """Places mirrored back into the image."""
    if side == 1:
        return torch.zeros_like(line)
    place = line.remainder(2 * (side - 1))
    return torch.where(place <= side - 1, place, 2 * (side - 1) - place)


def pixelate(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Fewer pixels along each side, a share c, each the mean of its box, and back."""
    for axis in (2, 3):
        side = x.shape[axis]
        few = max(1, int(side * c[0]))
        scale = side / few
        lines = []
        for i in range(few):  # as Pillow's BOX
            low, high = int((i + 0.5) * scale - 0.5 * scale + 0.5), int((i + 0.5) * scale + 0.5 * scale + 0.5)
            low, high = max(0, low), min(side, max(high, low + 1))
            lines.append(sum(x.select(axis, k) for k in range(low, high)) / (high - low))
        places = ((torch.arange(side, device=x.device) + 0.5) * few / side).floor().long().clamp(0, few - 1)
        x = torch.stack([torch.as_tensor(line) for line in lines], axis).index_select(axis, places)
    return x


def jpeg_compression(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Stored as JPEG of quality c and read again, in 8 bits. Raises InputError for other than 1 or 3 channels."""
    from PIL import Image

    if x.shape[1] not in (1, 3):
        raise InputError(f"JPEG holds images of 1 or 3 channels; got {x.shape[1]}.")
    pixels = (x.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    out = []
    for image in pixels:
        array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy()
        file = io.BytesIO()
        Image.fromarray(array).save(file, format="JPEG", quality=int(c[0]))
        read = np.asarray(Image.open(file), dtype=np.float64) / 255
        out.append(torch.from_numpy(read if read.ndim == 3 else read[:, :, None]).permute(2, 0, 1))
    return torch.stack(out).to(x.device, x.dtype) if out else x
