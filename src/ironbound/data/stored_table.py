"""Inputs that stay in a Parquet table: read forwards in small batches, whatever the size of the table's row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import DataError, InputError
from ironbound.data.images import common_shape, pictures
from ironbound.data.stored import Stored, damaged, must_be_like, uniform

BATCH = 256
"""Rows that are read together: a row group may hold a million."""


class StoredTable(Stored):
    """One column of lists or pictures, or several of numbers side by side; float32.

    Reading on from the last place costs nothing extra; going back within a row group reads it again from its beginning.
    """

    def __init__(self, batches: Batches, kind: str, shape: tuple[int, ...]) -> None:
        super().__init__((batches.total, *shape), torch.float32)
        self.batches, self.kind = batches, kind

    @staticmethod
    def of(path: Path, columns: list[str], kind: str, places: Tensor) -> StoredTable:
        """The inputs of a table; their shape is that of the first row, of `places` where pictures may be grey."""
        batches = Batches(path, columns)
        if kind == "number":
            return StoredTable(batches, kind, (len(columns),))
        if kind == "list":
            _, batch = next(batches.at(places[:1]))
            return StoredTable(
                batches, kind, tuple(floats(batch.column(0)[0].as_py(), f"{path}, row {int(places[0])}").shape)
            )
        return StoredTable(batches, kind, common_shape(_contents(batches, places[:1])))

    def settled(self, places: Tensor) -> Stored:
        """The rows at these places (ascending); of pictures, with as many channels as one of these has."""
        if self.kind == "picture" and self.shape[1] == 1:
            self.shape = torch.Size((len(self), *common_shape(_contents(self.batches, places))))
        return self.chosen(places)

    def read(self, places: Tensor) -> Tensor:
        if self.kind == "picture":
            try:
                return uniform(pictures(_contents(self.batches, places)), self.shape, str(self.batches.path))
            except InputError as error:
                raise InputError(f"{self.batches.path}: {error}") from error
        decoded = self._numbers if self.kind == "number" else self._lists
        return torch.cat([decoded(here, batch) for here, batch in self.batches.at(places)])

    def _numbers(self, here: Tensor, batch: Any) -> Tensor:
        import pyarrow as pa

        out = torch.empty(len(here), batch.num_columns)
        for number, column in enumerate(batch.columns):
            out[:, number] = torch.from_numpy(pa.chunked_array([column]).to_numpy().astype("float64"))
        return out

    def _lists(self, here: Tensor, batch: Any) -> Tensor:
        column, width = batch.column(0), self.shape[1:].numel()
        if self.shape[1:] == (width,):
            flat = column.flatten()
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if flat.null_count == 0 and (lengths == width).all():
                values = flat.to_numpy(zero_copy_only=False).astype("float64").reshape(-1, width)
                return torch.from_numpy(values.astype("float32"))
        rows = []
        for place, value in zip(here.tolist(), column.to_pylist(), strict=True):
            where = f"{self.batches.path}, row {place}"
            rows.append(floats(value, where))
            must_be_like(rows[-1], self.shape[1:], self.dtype, where)
        return torch.stack(rows)


class Batches:
    """Rows of some columns of a Parquet file. The batch that was read last is kept."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        import pyarrow.parquet as pq

        self.path, self.columns = path, columns
        self.file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # not a whole row group at once
        facts = self.file.metadata
        counts = torch.tensor([facts.row_group(group).num_rows for group in range(facts.num_row_groups)])
        self.ends, self.total = counts.cumsum(0), int(counts.sum())
        self.group, self.begin, self.batch = -1, 0, None
        self.coming: Iterator[Any] = iter(())

    def at(self, places: Tensor) -> Iterator[tuple[Tensor, Any]]:
        """The rows at these places (ascending), as record batches, each with its places. Raises DataError for gaps."""
        done = 0
        while done < len(places):
            batch = self._holding(int(places[done]))
            here = places[done : int(torch.searchsorted(places, self.begin + batch.num_rows))]
            within = here - self.begin
            whole_run = int(within[-1] - within[0]) + 1 == len(within)
            some = batch.slice(int(within[0]), len(within)) if whole_run else batch.take(within.numpy())
            for name, column in zip(self.columns, some.columns, strict=True):
                if column.null_count:
                    row = int(here[column.is_null().to_pylist().index(True)])
                    raise DataError(
                        f"{self.path}: column {name!r} has no value in row {row}; drop the row or fill it in."
                    )
            yield here, some
            done += len(here)

    def _holding(self, place: int) -> Any:
        """The batch with this row in it."""
        group = int(torch.searchsorted(self.ends, place, right=True))
        try:
            if group != self.group or place < self.begin:
                self.group, self.batch = group, None
                self.begin = int(self.ends[group - 1]) if group else 0
                self.coming = self.file.iter_batches(BATCH, [group], columns=self.columns, use_threads=False)
            while self.batch is None or place >= self.begin + self.batch.num_rows:
                self.begin += 0 if self.batch is None else self.batch.num_rows
                self.batch = next(self.coming).select(self.columns)
        except Exception as error:  # pyarrow raises ArrowInvalid, OSError, StopIteration and others
            self.group = -1
            raise damaged(self.path, error) from error
        return self.batch


def floats(value: Any, where: str) -> Tensor:
    """A list of numbers, perhaps of lists, as float32. Raises DataError where it has gaps or is ragged."""
    try:
        return torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        said = str(error).strip().split("\n")[0][:200].rstrip(".")
        raise DataError(f"{where}: expected a list of numbers, without gaps; {said}.") from error


def content(value: Any, where: str) -> bytes:
    """The bytes of a picture, plain or as Hugging Face stores them. Raises DataError where they are not in the table."""
    found = value if isinstance(value, bytes) else value.get("bytes")
    if not isinstance(found, bytes):
        raise DataError(f"{where}: the picture's bytes are not in the table; write it with the pictures embedded.")
    return found


def _contents(batches: Batches, places: Tensor) -> Iterable[tuple[str, bytes]]:
    """The pictures at these places, not decoded, each with its place in words."""
    for here, batch in batches.at(places):
        for place, value in zip(here.tolist(), batch.column(0).to_pylist(), strict=True):
            where = f"{batches.path}, row {place}"
            yield where, content(value, where)
