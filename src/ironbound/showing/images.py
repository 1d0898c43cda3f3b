"""Inputs and their changes as pictures: PNG in data: URIs, which need no file beside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FEATURES = 12
"""Changed features that a table shows, the largest changes first."""
SIDES = (160, 112, 80, 56, 40)
"""Pixels of the longer side to which large pictures are cut, the first with which all fit."""
ROOMY = 0.9
"""The share of the room that is planned with: sizes are guessed from some pictures."""
TRIED = 8
"""Pictures that the guess is made from."""


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
    adversarial: Tensor | None
    """None where there is none to show: wrong when clean, certified, or nothing was found."""


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


def shrunk(image: Tensor, side: int) -> Tensor:
    """A picture (C, H, W) with its longer side cut to `side` pixels by averaging; a smaller one as it is."""
    shape = _fitting(image, side)
    return image if shape is None else functional.adaptive_avg_pool2d(image.double(), shape)


def shrunk_change(change: Tensor, side: int) -> Tensor:
    """The same of a change around 0.5: each spot keeps its largest change, where an average would be grey."""
    shape = _fitting(change, side)
    if shape is None:
        return change
    signed = change.double() - 0.5
    up, down = (functional.adaptive_max_pool2d(part, shape) for part in (signed, -signed))
    return 0.5 + torch.where(up >= down, up, -down)


def _fitting(image: Tensor, side: int) -> tuple[int, int] | None:
    height, width = image.shape[1:]
    if max(height, width) <= side:
        return None
    return max(1, round(height * side / max(height, width))), max(1, round(width * side / max(height, width)))


def figures(gallery: Sequence[Picture], room: int) -> list[dict[str, Any]]:
    """The pictures as a page shows them, in `room` bytes: large ones are cut to the first of SIDES with which all fit.

    Where even the smallest is too much, some are left out, evenly: so that none of several kinds goes first.
    """
    shown = list(gallery)
    for side in SIDES:
        tried = [_weight(_figure(picture, side)) for picture in shown[:: max(1, len(shown) // TRIED)]]
        mean = sum(tried) / len(tried) if tried else 0.0
        if mean * len(shown) <= ROOMY * room:
            break
    else:
        most = int(ROOMY * room / mean)
        shown = [shown[k * len(shown) // most] for k in range(most)]
    made, used = list[dict[str, Any]](), 0
    for picture in shown:
        figure = _figure(picture, side)
        used += _weight(figure)
        if used > room:
            break
        made.append(figure)
    return made


def _figure(picture: Picture, side: int) -> dict[str, Any]:
    """One picture in data: URIs: clean, adversarial, change; the change is magnified before it is cut."""
    images, factor, unchanged = [png(shrunk(picture.clean, side))], 1.0, True
    if picture.adversarial is not None:
        change, factor = magnified(picture.clean, picture.adversarial)
        images += [png(shrunk(picture.adversarial, side)), png(shrunk_change(change, side))]
        unchanged = bool((picture.clean == picture.adversarial).all())
    return {"picture": picture, "images": images, "factor": factor, "found": found(picture), "unchanged": unchanged}


def _weight(figure: dict[str, Any]) -> int:
    return sum(map(len, figure["images"]))


def tables(gallery: Sequence[Picture], names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Vectors as tables of the features that changed, the largest changes first."""
    for picture in gallery:
        clean = picture.clean.double().flatten()
        adversarial = clean if picture.adversarial is None else picture.adversarial.double().flatten()
        change = adversarial - clean
        order = change.abs().argsort(descending=True, stable=True)[: int((change != 0).sum())].tolist()
        named = lambda i: names[i] if names is not None else f"{i}"
        rows = [(named(i), float(clean[i]), float(adversarial[i]), float(change[i])) for i in order[:FEATURES]]
        further = len(order) - len(rows)
        yield {"picture": picture, "rows": rows, "further": further, "found": found(picture)}


def found(picture: Picture) -> str:
    """What the second of the three is called."""
    return "witness" if picture.verdict in ("broken", "found") else "closest try"
