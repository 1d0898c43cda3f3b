"""Random changes of images before they are trained on, each a function of the sample and the epoch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Box
from ironbound.core.rng import Rng

TRANSFORMS = ("flip", "crop", "flip+crop")


def transformed(
    x: Float[Tensor, "n c h w"], kinds: str, padding: int, rng: Rng, box: Box = None
) -> Float[Tensor, "n c h w"]:
    """The images, each mirrored with probability one half ("flip") and moved by up to `padding` pixels ("crop").

    The usual augmentation for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2). What comes in at an edge
    is 0, or the end of the range `box` that is next to it. Raises UsageError for inputs that are no images.
    """
    must_be_images(x)
    if "crop" in kinds:
        x = _moved(x, padding, rng.fold("crop"), 0.0 if box is None else min(max(0.0, box[0]), box[1]))
    if "flip" in kinds:
        mirrored = rng.fold("flip").integers(0, 2).bool()
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    return x


def must_be_images(x: object) -> None:
    """Refuse what has no rows and columns of pixels."""
    if not isinstance(x, Tensor) or x.ndim != 4:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise UsageError(f"transform is for images (n, channels, height, width); got {got}. Leave it out.")


def _moved(x: Tensor, padding: int, rng: Rng, fill: float) -> Tensor:
    """Each image cut from its padded self, at an offset of its own."""
    _, channels, height, width = x.shape
    padded = F.pad(x, (padding,) * 4, value=fill)
    down, right = (rng.fold(name).integers(0, 2 * padding + 1).to(x.device) for name in ("down", "right"))
    rows = (down[:, None] + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width, device=x.device))[:, None, None, :]
    image = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
    return padded[image, channel, rows, columns]
