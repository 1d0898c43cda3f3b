"""Noise of images in [0, 1]; each function: images (n, c, h, w), constants, a random stream an image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ironbound.core.rng import Rng


def gaussian_noise(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Normal noise of standard deviation c."""
    return x + c[0] * draws.normal(tuple(x.shape[1:]), x.dtype)


def shot_noise(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Poisson noise of c photons at full brightness."""
    from scipy.special import pdtr, pdtrik

    share = draws.uniform(tuple(x.shape[1:]), torch.float64, 0, 1).cpu().numpy()
    mean = c[0] * x.detach().double().cpu().numpy()
    with np.errstate(all="ignore"):
        count = np.ceil(pdtrik(share, mean))  # by inversion, as scipy.stats does, whose import takes half a second
        less = np.maximum(count - 1, 0)
        count = np.where(pdtr(less, mean) >= share, less, count)
    photons = torch.from_numpy(np.where((mean > 0) & (count > 0), count, 0.0))
    return (photons / c[0]).to(x.device, x.dtype)


def impulse_noise(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """A share c of the values becomes black or white."""
    share = draws.uniform(tuple(x.shape[1:]), torch.float64, 0, 1)
    return torch.where(share < c[0] / 2, 0.0, torch.where(share >= 1 - c[0] / 2, 1.0, x))


def speckle_noise(x: Tensor, c: tuple[float, ...], draws: Rng) -> Tensor:
    """Normal noise in proportion to each value."""
    return x + x * c[0] * draws.normal(tuple(x.shape[1:]), x.dtype)
