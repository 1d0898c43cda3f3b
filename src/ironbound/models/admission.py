"""What comes through the model's door: inputs and labels checked once, with messages that carry the user's own numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import InputError
from ironbound.core.protocols import Box

# Normalisations that people apply in front of a model, to name the likely one: mean and std a channel.
KNOWN = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST": ((0.1307,), (0.3081,)),
    "[-1, 1]": ((0.5,), (0.5,)),
}


def admitted_inputs(x: Any, box: Box, device: torch.device, dtype: torch.dtype) -> Any:
    """Inputs on the device and in the model's type, finite and within the box. Raises InputError."""
    x = _as_tensors(x)
    if rows.count(x) == 0:
        raise InputError("there are no inputs: the batch or data set is empty.")
    if not isinstance(x, Tensor) or box is None:
        return rows.each(lambda leaf: leaf.to(device, dtype if leaf.is_floating_point() else None), x)
    if x.is_complex() or x.dtype == torch.bool:
        raise InputError(f"inputs are real numbers in {list(box)}; got {x.dtype}.")
    whole, was = not x.is_floating_point(), x.dtype
    x = x.detach().to(device, dtype)
    low, high = (float(end) for end in x.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN shows in both
        bad = (~torch.isfinite(rows.flat(x)).all(1)).nonzero()[:, 0]
        raise InputError(
            f"{len(bad)} of {len(x)} inputs hold NaN or infinity, first rows {bad[:5].tolist()}. Clean the data first."
        )
    if low < box[0] or high > box[1]:
        raise InputError(_out_of_range(x, low, high, box))
    if whole and box[1] - box[0] < 2:
        raise InputError(
            f"inputs are {was} in [{low:g}, {high:g}], but the model takes real numbers in {list(box)}. "
            "Images of integers belong to ironbound.Model(net, range=(0, 255)), or divide them by 255."
        )
    return x


def admitted_labels(y: Any, count: int, classes: int | None, device: torch.device) -> Any:
    """Labels as int64 (n,), one an input, each a class of the model; trees and None pass. Raises InputError."""
    if y is None or isinstance(y, dict):
        return rows.to(y, device) if y is not None else None
    try:
        y = torch.as_tensor(np.asarray(y) if isinstance(y, (list, tuple)) else y)
    except (TypeError, ValueError) as error:
        raise InputError(f"labels are integers, one an input; got {type(y).__name__} ({error}).") from None
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != count:
        hint = " One-hot labels become classes by y.argmax(1)." if y.ndim == 2 and len(y) == count else ""
        raise InputError(f"labels have shape ({count},), one an input; got {tuple(y.shape)}.{hint}")
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise InputError(
            f"labels are whole numbers; got {y.dtype} with values such as {float(y[y != y.round()][0]):g}."
        )
    y = y.to(device, torch.int64)
    worst = (y < 0) if classes is None else (y < 0) | (y >= classes)
    if bool(worst.any()):
        row = int(worst.nonzero()[0, 0])
        known = "0, 1, 2, ..." if classes is None else f"0 to {classes - 1} (the model has {classes} outputs)"
        from_one = classes is not None and bool((y >= 1).all()) and int(y.max()) == classes
        hint = " The labels seem to begin at 1: subtract 1." if from_one else ""
        raise InputError(f"label {int(y[row])} in row {row}; classes are {known}.{hint}")
    return y


def admitted_tree(y: Any, count: int, device: torch.device) -> Any:
    """What a goal needs to know of each input, in tensors on the device: a tree of tables, each of so many rows.

    A list holds one object a row (the boxes of one picture, a dict); a list of plain numbers becomes a tensor. Raises
    InputError where a table has another number of rows.
    """
    if y is None:
        return None
    y = _label_tables(y)
    for table in _tables(y):
        if len(table) != count:
            raise InputError(f"labels have {len(table)} rows for {count} inputs; give one row an input in every part.")
    return rows.to(y, device)


def _label_tables(y: Any) -> Any:
    if isinstance(y, (dict, tuple)):
        parts = {key: _label_tables(part) for key, part in (y.items() if isinstance(y, dict) else enumerate(y))}
        return parts if isinstance(y, dict) else tuple(parts.values())
    if isinstance(y, list) and not all(isinstance(row, (int, float)) for row in y):
        return [
            rows.each(torch.as_tensor, row) if not isinstance(row, np.ndarray) else torch.as_tensor(row) for row in y
        ]
    try:
        return torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"labels are tables of numbers, or trees of them; got {type(y).__name__} ({error}).") from None


def _tables(y: Any) -> list[Any]:
    parts = list(y.values()) if isinstance(y, dict) else y if isinstance(y, tuple) else None
    return [y] if parts is None else [table for part in parts for table in _tables(part)]


def _as_tensors(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            raise InputError(
                "inputs are an array of Python objects; pass a list, one object a row, or an array of numbers."
            )
        return torch.as_tensor(x)
    if isinstance(x, dict):
        return {name: _as_tensors(branch) for name, branch in x.items()}
    if not isinstance(x, (Tensor, list, tuple, dict)):
        raise InputError(f"inputs are a tensor, an array, a list or a tree of them; got {type(x).__name__}.")
    return x


def _out_of_range(x: Tensor, low: float, high: float, box: tuple[float, float]) -> str:
    got = f"inputs lie in [{low:.4g}, {high:.4g}], but the model takes {list(box)}. "
    if low >= 0 and x.ndim == 2:
        ends = f"{min(low, box[0]):.4g}", f"{max(high, box[1]):.4g}"
        return got + (
            f"They are rows of {x.shape[1]} features. If some columns of the table are no inputs, name those that are "
            f"(input=, at the prompt --input). If such values are valid, say ironbound.Model(net, range=({', '.join(ends)})), "
            f"at the prompt --range {','.join(ends)}; a radius means the same in every feature, so rescale them first."
        )
    if low >= 0 and 1 < high <= 255 and box == (0.0, 1.0):
        return (
            got + "If they are images of integers, divide them by 255, or say ironbound.Model(net, range=(0, 255)), "
            "at the prompt --range 0,255."
        )
    if box == (0.0, 1.0) and low < 0:
        name, mean, std = _likely_normalisation(x)
        return (
            got
            + "They look normalised outside the model, where a radius has no unit. Pass them as they were before, in "
            f"[0, 1], and put the normalisation{name} inside: ironbound.Model(net, range=(0, 1), mean={mean}, std={std}). "
            f"To undo it: x * std + mean. If they were never in [0, 1]: ironbound.Model(net, range=({low:.4g}, {high:.4g}))."
        )
    return got + (
        f"Say ironbound.Model(net, range=({min(low, box[0]):.4g}, {max(high, box[1]):.4g})) if such values are valid, "
        "else clamp or rescale them."
    )


def _likely_normalisation(x: Tensor) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Mean and std a channel that would have brought [0, 1] to these values; of the well-known pairs that which fits best."""
    channels = x.transpose(0, 1).reshape(x.shape[1], -1) if x.ndim > 2 else x.reshape(1, -1)
    low, high = channels.amin(1).double(), channels.amax(1).double()
    misfits = {name: _misfit(low, high, *pair) for name, pair in KNOWN.items() if len(pair[0]) in (1, len(low))}
    best = min(misfits, key=misfits.__getitem__)
    if misfits[best] < math.inf:
        return f" (they fit that of {best})", *KNOWN[best]
    scale = 1 / (high - low).clamp_min(1e-12)
    rounded = lambda values: tuple(round(float(v), 3) for v in values)
    return "", rounded(-low * scale), rounded(scale)


def _misfit(low: Tensor, high: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> float:
    """How far from 0 and 1 these ends lie when this pair is undone; inf where they do not fill most of [0, 1] or leave it."""
    low, high = (ends * torch.tensor(std).double() + torch.tensor(mean).double() for ends in (low, high))
    fits = bool(((low > -0.02) & (high < 1.02) & (high - low > 0.8)).all())
    return float((low.abs() + (high - 1).abs()).max()) if fits else math.inf
