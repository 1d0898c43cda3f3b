"""Attributions as pictures and tables: heat maps whose hue is the sign, with marks and words that say the same.

A map has no background of its own: what matters little is transparent, so that it reads on light and on dark pages. Orange
and blue are told apart by people with any of the common deficiencies of colour vision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ironbound.showing.images import encoded, png

FOR, AGAINST = (213, 94, 0), (0, 114, 178)
"""Vermillion and blue of Okabe and Ito's palette: what speaks for the class, and what against."""
FINEST = 64
"""Cells along a side of a map; of a larger input each is the mean of several values."""
PICTURE = 96
"""Pixels along a side of the picture beside them, at most."""
CELLS = 8
"""Cells along a side among which the strongest are marked."""
MARKS = 3
FEATURES = 6
"""Of a vector, as many as a table shows."""
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")
TITLES = {"gradient": "Gradient", "integrated": "Integrated gradients"}


@dataclass(frozen=True)
class Map:
    """The attributions of one method at a clean input and at its witness, in the shape of the input."""

    method: str
    clean: Tensor
    adversarial: Tensor
    cosine: float
    rank: float


@dataclass(frozen=True)
class Attributed:
    """One sample with its attributions. `scores`: logit of the true class less that of the rival, clean and as witness."""

    index: int
    label: str
    rival: str
    """The class that the witness is taken for."""
    clean: Tensor
    """Shape (C, H, W) in [0, 1]; or (features,) in the model's own units."""
    adversarial: Tensor
    scores: tuple[float, float]
    maps: tuple[Map, ...]
    features: tuple[str, ...] = ()


def title(method: str) -> str:
    """What a method is called on the page."""
    return TITLES.get(method, method.partition(":")[2] + " (Captum)" if ":" in method else method)


def panels(shown: Sequence[Attributed], room: int) -> Iterator[dict[str, Any]]:
    """Samples as the page shows them, until `room` bytes of pictures are used up. All are pictures, or all are vectors."""
    for one in shown:
        maps = [{"title": title(m.method), "cosine": m.cosine, "rank": m.rank} for m in one.maps]
        panel: dict[str, Any] = {"sample": one, "maps": maps}
        if one.clean.ndim == 1:
            yield {**panel, "tables": [_table(one, each) for each in one.maps]}
            continue
        heats = [_heats(one, each) for each in one.maps]
        images = [png(_fitted(image, PICTURE)) for image in (one.clean, one.adversarial)]
        sides = [
            {"name": name, "score": one.scores[i], "image": images[i], "heats": [pair[i] for pair in heats]}
            for i, name in enumerate(("clean", "witness"))
        ]
        panel["bytes"] = sum(map(len, images)) + sum(len(each["image"]) for pair in heats for each in pair)
        room -= panel["bytes"]
        if room < 0:
            return
        yield {**panel, "sides": sides}


def _heats(one: Attributed, each: Map) -> list[dict[str, Any]]:
    """Both heat maps of a method, on one scale."""
    cells = [_fitted(values.double().sum(0, keepdim=True), FINEST)[0] for values in (each.clean, each.adversarial)]
    both = torch.cat([values.abs().flatten() for values in cells])
    scale = float(both.quantile(0.99)) or float(both.max()) or 1.0
    return [{"image": heat(values / scale), "marks": marks(values), **_words(values, one)} for values in cells]


def _fitted(image: Tensor, most: int) -> Tensor:
    """A picture (C, H, W) with at most so many cells along a side, each the mean of what it covers."""
    size = min(image.shape[1], most), min(image.shape[2], most)
    return (
        image if size == tuple(image.shape[1:]) else adaptive_avg_pool2d(image[None].float(), size)[0].to(image.dtype)
    )


def heat(values: Tensor) -> str:
    """A map (H, W) in about [-1, 1] as a data: URI: the hue is the sign, the opacity the size."""
    known = values.nan_to_num().clamp(-1, 1)
    hue = torch.where((known >= 0)[..., None], torch.tensor(FOR), torch.tensor(AGAINST))
    opacity = (known.abs() * 255).round()[..., None].long()
    return encoded(torch.cat([hue, opacity], 2).to(torch.uint8).numpy())


def marks(values: Tensor) -> list[dict[str, Any]]:
    """The strongest of at most 8 x 8 cells with their signs; places in percent of the width and the height."""
    cells = _fitted(values[None], CELLS)[0]
    high, wide = cells.shape
    order = cells.abs().flatten().argsort(descending=True, stable=True)[:MARKS].tolist()
    sizes = [(i, float(cells.flatten()[i])) for i in order]
    return [
        {"x": 100 * (i % wide + 0.5) / wide, "y": 100 * (i // wide + 0.5) / high, "sign": "+" if size > 0 else "\u2212"}
        for i, size in sizes
        if size != 0
    ]


def _words(values: Tensor, one: Attributed) -> dict[str, Any]:
    """The same in words, a line a side: its sign, its share of all, the class that it speaks for, where it is strongest."""
    total = float(values.abs().sum())
    sides = (("+", one.label, values.clamp_min(0)), ("\u2212", one.rival, (-values).clamp_min(0)))
    lines = [
        f"{sign} {100 * float(part.sum()) / total:.0f}% for {name}{_where(part)}"
        for sign, name, part in sides
        if total > 0
    ]
    return {"lines": lines or ["no value matters"]}


def _short(name: str) -> str:
    """A class for a narrow place; the caption has it whole."""
    return name if len(name) <= 16 else f"{name[:15]}\N{HORIZONTAL ELLIPSIS}"


def _where(part: Tensor) -> str:
    """In which ninth of the picture most of a part lies."""
    if not float(part.sum()) > 0 or min(part.shape) < 3:
        return ""
    ninths = [
        (float(cell.sum()), f"{row} {across}")
        for row, band in zip(ROWS, part.tensor_split(3, 0), strict=True)
        for across, cell in zip(COLUMNS, band.tensor_split(3, 1), strict=True)
    ]
    return f", {max(ninths, key=lambda ninth: ninth[0])[1]}".replace("middle centre", "centre")


def signed(value: float) -> str:
    """A number with its sign, three digits."""
    return f"{value:+.3g}".replace("-", "\u2212")


def _table(one: Attributed, each: Map) -> dict[str, Any]:
    """The features of a vector whose attributions are the largest, clean or as witness."""
    clean, witness = each.clean.double(), each.adversarial.double()
    size = torch.maximum(clean.abs(), witness.abs())
    order = size.argsort(descending=True, stable=True)[:FEATURES].tolist()
    scale = float(size.max()) or 1.0
    named = lambda i: one.features[i] if one.features else f"{i}"
    rows = [
        {
            "name": named(i), "inputs": (float(one.clean[i]), float(one.adversarial[i])),
            "parts": [(float(v[i]), float(v[i]) / scale) for v in (clean, witness)],
        }
        for i in order
    ]  # fmt: skip
    return {"title": title(each.method), "rows": rows, "further": len(clean) - len(rows)}
