"""Pictures as tensors: decoded with Pillow, floats in [0, 1], channels first, never more pixels than are allowed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import DataError, InputError

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_PIXELS = 1 << 26
"""8192 x 8192. A file of some kilobytes can claim billions of pixels; it is refused before any is decoded."""
GREY = {"1", "L", "LA", "La", "F"}
SIXTEEN_BITS = {"I", "I;16", "I;16L", "I;16B", "I;16N"}


def pictures(sources: Iterable[tuple[str, bytes | Path]]) -> Tensor:
    """Named pictures (content or path) as float32 (n, c, h, w) in [0, 1]; c is 1 where all are grey, else 3.

    Transparency is dropped. Raises DataError naming the picture that cannot be read, InputError where sizes differ.
    """
    decoded: list[Tensor] = []
    first = ""
    for name, source in sources:
        picture = decode(source, name)
        first = first or name
        if decoded and picture.shape[1:] != decoded[0].shape[1:]:
            raise InputError(
                f"the pictures have different sizes: {_size(decoded[0])} ({first}) and {_size(picture)} ({name}). "
                "Resize them to one size first; the model's input size is the natural one."
            )
        decoded.append(picture)
    channels = max((len(picture) for picture in decoded), default=1)
    out = torch.empty(len(decoded), channels, *(decoded[0].shape[1:] if decoded else (0, 0)))
    for row, picture in zip(out, decoded, strict=True):
        row.copy_(picture.expand(channels, -1, -1))
    return out


def common_shape(sources: Iterable[tuple[str, bytes | Path]]) -> tuple[int, int, int]:
    """The shape (c, h, w) that `pictures` would give these, from their headers alone: up to the first one in colour.

    Raises DataError naming the picture that cannot be read.
    """
    height = width = 0
    for name, source in sources:
        mode, size = _opened(source, name, lambda picture: (picture.mode, picture.size))
        if not height:
            width, height = size
        if mode not in GREY and mode not in SIXTEEN_BITS:
            return 3, height, width
    return 1, height, width


def decode(source: bytes | Path, name: str) -> Tensor:
    """One picture, float32 (1 or 3, h, w) in [0, 1]. Raises DataError where it is broken, too large or no picture."""

    def whole(picture: Any) -> Tensor:
        picture.load()
        return _tensor(picture)

    tensor: Tensor = _opened(source, name, whole)
    return tensor


def _opened(source: bytes | Path, name: str, use: Callable[[Any], Any]) -> Any:
    """What a function makes of a picture that is open; of one that claims too much, nothing is decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(_too_large(name, f"it claims {picture.width}x{picture.height}"))
            return use(picture)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_too_large(name, "it claims more than a hundred million")) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not a picture in one of the formats {', '.join(FORMATS)}. Convert it, or leave it out."
        ) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise DataError(f"{name}: the picture cannot be decoded: {error}. It seems damaged; fetch it again.") from error


def picture_of(value: Any) -> Tensor | None:
    """A Pillow image as a tensor, as `decode` gives it; None for anything else."""
    if not type(value).__module__.startswith("PIL."):
        return None
    value.load()
    return _tensor(value)


def _tensor(picture: Any) -> Tensor:
    import numpy as np

    if picture.mode in SIXTEEN_BITS:
        pixels, full = np.asarray(picture).astype("float32"), 65535.0
    elif picture.mode in GREY:
        pixels, full = np.array(picture.convert("L")), 255.0
    else:
        pixels, full = np.array(picture.convert("RGB")), 255.0
    tensor = torch.from_numpy(pixels).float().div_(full)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]}x{picture.shape[1]}"


def _too_large(name: str, claim: str) -> str:
    return (
        f"{name}: the picture is refused, {claim} pixels and at most {MAX_PIXELS:,} are decoded. "
        "If it is meant to be that large, scale it down first."
    )
