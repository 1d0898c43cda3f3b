"""NumPy archives: read member by member, every size checked before it is read, never unpickled."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import Any

from ironbound.core.errors import DataError, UsageError
from ironbound.data.dataset import Data
from ironbound.data.members import Header, of_members
from ironbound.data.request import Request

SMALL = 1 << 28
RATIO = 200
"""Deflate packs zeros a thousand times. What unpacks to more than SMALL bytes and RATIO times its size is refused."""


def from_npz(path: Path, request: Request) -> Data:
    """Data of an archive with inputs (x, X, images, data) and labels (y, labels, targets), arrays of one length.

    Arrays of one value a row are columns. Raises DataError where it is damaged, hostile or not of this form.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive, request)
    except (DataError, UsageError):
        raise
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a complete .npz archive ({error}). Write it again with numpy.savez.") from error
    except Exception as error:  # zipfile and numpy raise ValueError, zlib.error, EOFError, RuntimeError and others
        raise DataError(f"{path}: the archive cannot be read: {error}. Write it again with numpy.savez.") from error


def _read(path: Path, archive: zipfile.ZipFile, request: Request) -> Data:
    _must_be_honest(path, archive)
    members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}
    headers = {name: _header(path, archive, info) for name, info in members.items()}
    return of_members(
        path,
        headers,
        lambda name: _array(archive, members[name]),
        lambda name: _mapped(path, archive, members[name]),
        request,
    )


def _must_be_honest(path: Path, archive: zipfile.ZipFile) -> None:
    claimed, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
    if claimed > SMALL and claimed > RATIO * packed:
        raise DataError(
            f"{path}: refused as a decompression bomb: its {packed:,} bytes claim to unpack to {claimed:,}. "
            "If it is meant so, write it uncompressed with numpy.savez."
        )


def _header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """The header of one member. Raises DataError where it holds objects or claims another size than it has."""
    (shape, _, dtype), begin = _opening(archive, info)
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


def _opening(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[Any, bool, Any], int]:
    """Shape, whether it lies column by column, and dtype of a member; the byte at which its numbers begin."""
    from numpy.lib import format as npy

    with archive.open(info) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return read(file), file.tell()


def _mapped(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    """A member that is not compressed as a mapped array; None for any other."""
    import numpy as np

    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        return None
    (shape, by_column, dtype), begin = _opening(archive, info)
    if dtype.kind not in "biuf" or not math.prod(shape):
        return None
    with path.open("rb") as file:  # the local header, whose own extra field may be longer than the directory says
        file.seek(info.header_offset)
        local = struct.unpack("<4s5H3I2H", file.read(30))
    offset = info.header_offset + 30 + local[9] + local[10] + begin
    return np.memmap(path, dtype, "r", offset, shape, "F" if by_column else "C")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    from numpy.lib import format as npy

    with archive.open(info) as file:
        return npy.read_array(file, allow_pickle=False)
