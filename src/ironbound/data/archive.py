"""NumPy archives: read member by member, every size checked before it is read, never unpickled."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import DataError, InputError
from ironbound.data.arrays import of_array
from ironbound.data.dataset import Data
from ironbound.data.files import of_file
from ironbound.data.request import Request, numbered

SMALL = 1 << 28
RATIO = 200
"""Deflate packs zeros a thousand times. What unpacks to more than SMALL bytes and RATIO times its size is refused."""


@dataclass(frozen=True)
class Header:
    """What an array claims to be."""

    shape: tuple[int, ...]
    dtype: Any


def from_npz(path: Path, request: Request) -> Data:
    """Data of an archive with inputs (x, X, images, data) and labels (y, labels, targets), arrays of one length.

    uint8 inputs are pictures: scaled to [0, 1], (n, h, w) and (n, h, w, 3) brought to channels first. Other dtypes
    stay. Arrays of one value a row are columns. Raises DataError where it is damaged, hostile or not of this form.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive, request)
    except (DataError, InputError):
        raise
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a complete .npz archive ({error}). Write it again with numpy.savez.") from error
    except Exception as error:  # zipfile and numpy raise ValueError, zlib.error, EOFError, RuntimeError and others
        raise DataError(f"{path}: the archive cannot be read: {error}. Write it again with numpy.savez.") from error


def _read(path: Path, archive: zipfile.ZipFile, request: Request) -> Data:
    _must_be_honest(path, archive)
    members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}
    headers = {name: _header(path, archive, info) for name, info in members.items()}
    names, where = list(headers), str(path)
    source, label = request.one_input(names, where), request.label_in(names, where)
    total = _length(path, source, headers[source])
    if _length(path, label, headers[label]) != total:
        raise DataError(
            f"{path}: {source!r} has {total} rows but {label!r} has {headers[label].shape[0]}; expected as many."
        )
    places = request.rows(total)
    further = [n for n in names if n not in (source, label) and _is_column(headers[n], total)]
    labels, classes = numbered(of_array(_array(archive, members[label])), None, where)
    return of_file(
        path,
        x=_inputs(_array(archive, members[source]), places, path, source),
        y=labels[places] if isinstance(labels, Tensor) else rows.take(labels, places),
        columns={name: _array(archive, members[name])[places.numpy()].tolist() for name in further},
        index=places,
        classes=classes,
    )


def _inputs(array: Any, places: Tensor, path: Path, name: str) -> Any:
    if array.dtype.kind not in "biufU":
        raise DataError(f"{path}: {name!r} is of dtype {array.dtype}; expected numbers or text.")
    x = of_array(array[places.numpy()])
    if not isinstance(x, Tensor) or x.dtype != torch.uint8:
        return x
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2)
    return (x[:, None] if x.ndim == 3 else x).float().div_(255).contiguous()


def _must_be_honest(path: Path, archive: zipfile.ZipFile) -> None:
    claimed, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
    if claimed > SMALL and claimed > RATIO * packed:
        raise DataError(
            f"{path}: refused as a decompression bomb: its {packed:,} bytes claim to unpack to {claimed:,}. "
            "If it is meant so, write it uncompressed with numpy.savez."
        )


def _header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """The header of one member. Raises DataError where it holds objects or claims another size than it has."""
    from numpy.lib import format as npy

    with archive.open(info) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        begin = file.tell()
    if dtype.hasobject:
        raise DataError(
            f"{path}: {info.filename!r} holds pickled Python objects and is refused: reading them would run code. "
            "Save plain arrays of numbers or text: numpy.savez(path, x=x, y=y.astype('int64'))."
        )
    claimed = begin + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != info.file_size:
        raise DataError(
            f"{path}: {info.filename!r} claims {shape} of {dtype}, {claimed:,} bytes, and has {info.file_size:,}. "
            "It is damaged or hostile; write it again with numpy.savez."
        )
    return Header(tuple(shape), dtype)


def _length(path: Path, name: str, header: Header) -> int:
    if not header.shape:
        raise DataError(f"{path}: {name!r} is a single value; expected an array with one entry a row.")
    return header.shape[0]


def _is_column(header: Header, total: int) -> bool:
    return header.shape == (total,) and header.dtype.kind in "biufU"


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    from numpy.lib import format as npy

    with archive.open(info) as file:
        return npy.read_array(file, allow_pickle=False)
