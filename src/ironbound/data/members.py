"""Named arrays of one length as data: what an .npz archive and a folder of .npy files have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import DataError
from ironbound.data.arrays import of_array
from ironbound.data.dataset import Data
from ironbound.data.files import of_file
from ironbound.data.request import Request, numbered
from ironbound.data.stored import Mapped, mapped_or_none, not_streamed, streams


@dataclass(frozen=True)
class Header:
    """What an array claims to be."""

    shape: tuple[int, ...]
    dtype: Any


def from_npy_folder(path: Path, request: Request) -> Data:
    """Data of a folder with arrays such as x.npy and y.npy. Raises DataError where one is damaged or holds objects."""
    import numpy as np

    def opened(name: str) -> Any:
        file = path / f"{name}.npy"
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy raises ValueError, EOFError, OSError and others
            raise DataError(f"{file}: not a readable array ({error}). Write it again with numpy.save.") from error

    arrays = {file.stem: opened(file.stem) for file in sorted(path.glob("*.npy"))}
    headers = {name: Header(array.shape, array.dtype) for name, array in arrays.items()}
    return of_members(path, headers, arrays.__getitem__, arrays.__getitem__, request)


def of_members(
    path: Path, headers: dict[str, Header], read: Callable[[str], Any], mapped: Callable[[str], Any], request: Request
) -> Data:
    """Data of inputs (x, X, images, data), labels (y, labels, targets) and columns, arrays of one length.

    read: an array in memory, by its name; mapped: on disk, or None where that cannot be. uint8 inputs are pictures:
    scaled to [0, 1], (n, h, w) and (n, h, w, 3) brought to channels first. Other dtypes stay.
    """
    names, where = list(headers), str(path)
    source, label = request.one_input(names, where), request.label_in(names, where)
    total = _length(path, source, headers[source])
    if _length(path, label, headers[label]) != total:
        raise DataError(
            f"{path}: {source!r} has {total} rows but {label!r} has {headers[label].shape[0]}; expected as many."
        )
    places = request.rows(total)
    further = [n for n in names if n not in (source, label) and _is_column(headers[n], total)]
    labels, classes = numbered(of_array(read(label)), None, where)
    return of_file(
        path,
        x=_inputs(path, source, read, mapped, places, request.stream),
        y=labels[places] if isinstance(labels, Tensor) else rows.take(labels, places),
        columns={name: read(name)[places.numpy()].tolist() for name in further},
        index=places,
        classes=classes,
    )


def _inputs(path: Path, name: str, read: Any, mapped: Any, places: Tensor, stream: bool | None) -> Any:
    on_disk = mapped_or_none(mapped(name))
    if on_disk is None:
        not_streamed(stream, f"{name!r} in {path} is compressed, or not numbers stored row by row (use numpy.save)")
    else:
        stored = Mapped(on_disk, _finished).chosen(places)
        if streams(stream, stored):
            return stored
    array = read(name)
    if array.dtype.kind not in "biufU":
        raise DataError(f"{path}: {name!r} is of dtype {array.dtype}; expected numbers or text.")
    return _finished(array[places.numpy()])


def _finished(array: Any) -> Any:
    x = of_array(array)
    if not isinstance(x, Tensor) or x.dtype != torch.uint8:
        return x
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2)
    return (x[:, None] if x.ndim == 3 else x).float().div_(255).contiguous()


def _length(path: Path, name: str, header: Header) -> int:
    if not header.shape:
        raise DataError(f"{path}: {name!r} is a single value; expected an array with one entry a row.")
    return header.shape[0]


def _is_column(header: Header, total: int) -> bool:
    return header.shape == (total,) and header.dtype.kind in "biufU"
