"""Inputs that stay where they are, on disk or in a data set: rows are read when they are taken, and no others."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import DataError, InputError, UsageError
from ironbound.core.memory import free_bytes

SHARE = 0.25
"""Of the free memory: inputs that would take more when they are decoded are streamed, unless it is said otherwise."""


class Stored(ABC):
    """Rows of one shape and dtype that are read on demand: what `Data.x` is where data are streamed.

    It has what the rest of the house asks of rows on disk: `shape` (n, ...), `dtype`, `len` and `take`. A new kind of
    source writes `read`.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.dtype = torch.Size(shape), dtype

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def read(self, places: Tensor) -> Tensor:
        """The rows at these places (int64, ascending, none twice), shape (len(places), ...), in memory of their own.

        Raises DataError or InputError where a row cannot be read or is not of the shape of the others.
        """

    def take(self, places: Tensor) -> Tensor:
        """The rows at these places, in their order; places may repeat."""
        if not len(places):
            return torch.empty(0, *self.shape[1:], dtype=self.dtype)
        if bool((places[1:] > places[:-1]).all()):
            return self.read(places)
        wanted, where = places.unique(return_inverse=True)
        return self.read(wanted).index_select(0, where)

    def chosen(self, places: Tensor) -> Stored:
        """Only the rows at these places (ascending, none twice), still where they are."""
        return self if len(places) == len(self) else Chosen(self, places)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, {self.dtype})"


class Chosen(Stored):
    """Some rows of others that are stored."""

    def __init__(self, whole: Stored, places: Tensor) -> None:
        super().__init__((len(places), *whole.shape[1:]), whole.dtype)
        self.whole, self.places = whole, places

    def read(self, places: Tensor) -> Tensor:
        return self.whole.read(self.places[places])


class Mapped(Stored):
    """Rows of an array that is mapped into memory (`numpy.memmap`), perhaps finished by a function of many rows."""

    def __init__(self, array: Any, finished: Callable[[Any], Tensor]) -> None:
        first = finished(array[:1])
        super().__init__((len(array), *first.shape[1:]), first.dtype)
        self.array, self.finished = array, finished

    def read(self, places: Tensor) -> Tensor:
        import numpy as np

        begin, end = int(places[0]), int(places[-1]) + 1
        whole_run = end - begin == len(places)
        rows = np.array(self.array[begin:end]) if whole_run else np.asarray(self.array[places.numpy()])
        _forgotten(self.array)
        return self.finished(rows)


class Files(Stored):
    """Pictures in files of their own, decoded when they are read; all of one size, `channels` (1 or 3) of each."""

    def __init__(self, root: Path, names: list[str], shape: tuple[int, ...]) -> None:
        super().__init__((len(names), *shape), torch.float32)
        self.root, self.names = root, names

    def read(self, places: Tensor) -> Tensor:
        from ironbound.data.images import pictures

        paths = [self.root / self.names[place] for place in places.tolist()]
        return uniform(pictures((str(path), path) for path in paths), self.shape, str(self.root))


class Items(Stored):
    """Inputs of a map-style data set, fetched item by item when they are read."""

    def __init__(
        self, shape: tuple[int, ...], dtype: torch.dtype, numbers: Tensor, fetch: Callable[[int], Any]
    ) -> None:
        super().__init__(shape, dtype)
        self.numbers, self.fetch = numbers, fetch

    def read(self, places: Tensor) -> Tensor:
        rows = []
        for number in self.numbers[places].tolist():
            row = self.fetch(number)
            must_be_like(row, self.shape[1:], self.dtype, f"item {number}")
            rows.append(row)
        return torch.stack(rows)


def streams(asked: bool | None, x: Stored) -> bool:
    """Whether inputs are left where they are: as asked for, else where they would take too much of the free memory."""
    return x.shape.numel() * x.dtype.itemsize > SHARE * free_bytes(torch.device("cpu")) if asked is None else asked


def not_streamed(asked: bool | None, what: str) -> None:
    """Raise UsageError where streaming was asked for, of a source that is read at once."""
    if asked:
        raise UsageError(
            f"stream=True is for Parquet tables of numbers, lists and pictures, arrays on disk, folders of pictures and "
            f"map-style data sets; {what}."
        )


def uniform(pictures: Tensor, shape: tuple[int, ...], where: str) -> Tensor:
    """Pictures that were decoded together, with the channels of all others. Raises InputError for another size."""
    if pictures.shape[2:] != tuple(shape[2:]) or pictures.shape[1] > shape[1]:
        got, others = (f"{size[3]}x{size[2]} with {size[1]} channels" for size in (pictures.shape, shape))
        raise InputError(
            f"{where}: the pictures have different sizes: {others} at first and {got} later. "
            "Resize them to one size first; the model's input size is the natural one."
        )
    return pictures.expand(-1, shape[1], -1, -1) if pictures.shape[1] < shape[1] else pictures


def must_be_like(row: Any, shape: tuple[int, ...], dtype: torch.dtype, where: str) -> None:
    """Raise InputError for a row that is no tensor like the first one."""
    if isinstance(row, Tensor) and row.shape == torch.Size(shape) and row.dtype == dtype:
        return
    got = f"shape {tuple(row.shape)} and {row.dtype}" if isinstance(row, Tensor) else f"a {type(row).__name__}"
    raise InputError(
        f"{where} has {got}, the first row shape {tuple(shape)} and {dtype}. Rows that differ cannot be streamed: bring "
        "them to one shape, or read all into memory by load(..., stream=False)."
    )


def mapped_or_none(array: Any) -> Any:
    """The array, where it lies on disk row by row and is mapped into memory; None for any other."""
    import numpy as np

    whole = isinstance(array, np.memmap) and array.ndim > 0 and array.dtype.kind in "biuf"
    return array if whole and len(array) and array.strides[0] == max(array.strides) else None


def _forgotten(array: Any) -> None:
    """Give the pages that were read back to the system: what a mapping has touched counts as memory of the process.

    Not of a mapping that is copied on writing: the user's changes would be gone.
    """
    if array.mode != "c" and hasattr(mmap, "MADV_DONTNEED") and array._mmap is not None:
        array._mmap.madvise(mmap.MADV_DONTNEED)


def damaged(path: Path, error: Exception) -> DataError:
    """What to say of a file that could be opened, and cannot be read."""
    text = str(error).strip().split("\n")[0][:200].rstrip(".") or type(error).__name__
    return DataError(f"{path}: {text}. The file seems damaged, or was changed while it was read; fetch it again.")
