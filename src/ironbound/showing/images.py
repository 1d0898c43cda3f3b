"""Inputs and their changes as pictures: PNG in data: URIs, which need no file beside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FEATURES = 12
"""Changed features that a table shows, the largest changes first."""


@dataclass(frozen=True)
class Picture:
    """One sample: the clean input and what the attack made of it. Where the model names no class, answers are ""."""

    index: int
    label: str
    clean_answer: str
    adversarial_answer: str
    clean_confidence: float
    adversarial_confidence: float
    verdict: str
    size: float
    clean: Tensor
    """Shape (C, H, W) in [0, 1]; or (features,) in the model's own units."""
    adversarial: Tensor


def is_picture(x: Any) -> bool:
    """Whether rows are pictures: (channels, height, width) with one, three or four channels."""
    return isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] in (1, 3, 4)


def magnified(clean: Tensor, adversarial: Tensor) -> tuple[Tensor, float]:
    """The signed change around mid-grey, magnified so that the largest one fills [0, 1], and the factor.

    Where nothing changed at all, the picture is grey and the factor 1.
    """
    change = adversarial.detach().double() - clean.detach().double()
    largest = float(change.abs().amax()) if change.numel() else 0.0
    factor = 0.5 / largest if largest > 0 else 1.0
    return (0.5 + factor * change).clamp(0, 1), factor


def png(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as a data: URI; other than 1 or 3 channels are averaged to grey."""
    channels = image.detach().cpu().double()
    if channels.shape[0] not in (1, 3):
        channels = channels.mean(dim=0, keepdim=True)
    pixels = (channels.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    return encoded(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())


def encoded(array: Any) -> str:
    """Bytes (H, W), (H, W, 3) or (H, W, 4) as a PNG in a data: URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def figures(gallery: Sequence[Picture], room: int) -> Iterator[dict[str, Any]]:
    """The pictures as a page shows them, until `room` bytes are used up."""
    for picture in gallery:
        change, factor = magnified(picture.clean, picture.adversarial)
        images = [png(image) for image in (picture.clean, picture.adversarial, change)]
        room -= sum(map(len, images))
        if room < 0:
            return
        unchanged = bool((picture.clean == picture.adversarial).all())
        yield {"picture": picture, "images": images, "factor": factor, "found": found(picture), "unchanged": unchanged}


def tables(gallery: Sequence[Picture], names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Vectors as tables of the features that changed, the largest changes first."""
    for picture in gallery:
        clean, adversarial = picture.clean.double().flatten(), picture.adversarial.double().flatten()
        change = adversarial - clean
        order = change.abs().argsort(descending=True, stable=True)[: int((change != 0).sum())].tolist()
        named = lambda i: names[i] if names is not None else f"{i}"
        rows = [(named(i), float(clean[i]), float(adversarial[i]), float(change[i])) for i in order[:FEATURES]]
        further = len(order) - len(rows)
        yield {"picture": picture, "rows": rows, "further": further, "found": found(picture)}


def found(picture: Picture) -> str:
    """What the second of the three is called."""
    return "witness" if picture.verdict in ("broken", "found") else "closest try"
