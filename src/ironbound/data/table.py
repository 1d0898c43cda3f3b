"""Parquet tables: pictures as Hugging Face stores them, text, lists, or the numeric columns as one vector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import DataError, InputError, UsageError
from ironbound.data.arrays import stacked
from ironbound.data.dataset import Data
from ironbound.data.files import of_file
from ironbound.data.images import pictures
from ironbound.data.request import INPUTS, Request, known, numbered
from ironbound.data.stored import not_streamed, streams
from ironbound.data.stored_table import StoredTable, content, floats


def from_parquet(path: Path, request: Request) -> Data:
    """Data of a table; only the pictures and texts of the subset are decoded.

    The input is the column that `input=` names, or else one called image, text or the like that holds more than a
    number; or else all numeric columns together, float32 in the order of the file. Every other column of single values
    is kept. Raises DataError where the file is damaged or a column is missing or has gaps.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return _read(path, file, request)
    except (DataError, UsageError):
        raise
    except Exception as error:  # pyarrow raises ArrowInvalid, OSError, NotImplementedError and others
        raise DataError(
            f"{path}: not a readable Parquet file: {_short(error)}. It seems damaged; fetch it again."
        ) from error


def _read(path: Path, file: Any, request: Request) -> Data:
    schema, total = file.schema_arrow, file.metadata.num_rows
    names, where = list(schema.names), str(path)
    if total == 0:
        raise DataError(f"{path}: the table has no rows; at least one is needed.")
    label = request.label_in(names, where)
    inputs = _inputs(schema, label, request, where)
    places = request.rows(total)
    kept = [
        n for n in names if n not in (label, *inputs) and kind_of(schema.field(n).type) in ("number", "text", "value")
    ]
    scalars = file.read(columns=[label, *kept])
    _must_be_full(path, label, scalars.column(label))
    labels, classes = numbered(_labels(scalars.column(label)), _class_names(schema.metadata, label), where)
    return of_file(
        path,
        x=_inputs_of(path, file, inputs, places, request.stream),
        y=rows.take(labels, places),
        columns={name: scalars.column(name).take(places.numpy()).to_pylist() for name in kept},
        index=places,
        classes=classes,
    )


def _inputs_of(path: Path, file: Any, inputs: list[str], places: Tensor, stream: bool | None) -> Any:
    """The inputs of the chosen rows, in memory or left in the table."""
    kind = kind_of(file.schema_arrow.field(inputs[0]).type)
    if kind == "text":
        not_streamed(stream, f"{inputs[0]!r} in {path} is text")
    else:
        stored = StoredTable.of(path, inputs, kind, places)
        if streams(stream, stored.chosen(places)):
            return stored.settled(places)
    return _vectors(path, file, inputs, places) if kind == "number" else _rows(path, file, inputs[0], places)


def kind_of(kind: Any) -> str:
    """What a column holds: number, text, picture, list, value (dates, decimals) or other."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or (types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
    ):
        return "picture"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "list"
    return "other" if types.is_nested(kind) else "value"


def _inputs(schema: Any, label: str, request: Request, where: str) -> list[str]:
    """The input columns: one of any kind, or several of numbers."""
    kinds = {name: kind_of(schema.field(name).type) for name in schema.names}
    named = request.inputs(schema.names, where)
    if len(named) > 1 or (named and kinds[named[0]] == "number"):
        other = [name for name in named if kinds[name] != "number"]
        if other:
            raise DataError(f"{where}: several input columns make one vector and hold numbers; {other} do not.")
        return named
    if named and kinds[named[0]] not in ("value", "other"):
        return named
    if named:
        raise DataError(
            f"{where}: column {named[0]!r} holds {schema.field(named[0]).type}; expected pictures, text, lists or "
            "numbers. Name another column with input=..."
        )
    found = known(
        INPUTS, [name for name in schema.names if name != label and kinds[name] in ("picture", "text", "list")]
    )
    numbers = [name for name in schema.names if name != label and kinds[name] == "number"]
    if found is None and not numbers:
        columns = ", ".join(f"{name!r} ({schema.field(name).type})" for name in schema.names[:20])
        raise DataError(f"{where}: no input column was found; it has {columns}. Name the one to use with input=...")
    return [found] if found is not None else numbers


def _labels(column: Any) -> Any:
    """Numbers as a tensor, text as a list."""
    if kind_of(column.type) == "text":
        return column.to_pylist()
    return torch.tensor(column.to_pylist())


def _vectors(path: Path, file: Any, inputs: list[str], places: Tensor) -> Tensor:
    """Numeric columns side by side, float32 (n, columns)."""
    table = file.read(columns=inputs)
    out = torch.empty(len(places), len(inputs))
    for number, name in enumerate(inputs):
        _must_be_full(path, name, table.column(name))
        values = table.column(name).to_numpy().astype("float64")
        out[:, number] = torch.from_numpy(values)[places]
    return out


def _rows(path: Path, file: Any, name: str, places: Tensor) -> Any:
    """Pictures, texts or lists of the chosen rows."""
    kind = kind_of(file.schema_arrow.field(name).type)
    values = _values(path, file, name, places)
    if kind == "text":
        return [value for _, value in values]
    if kind == "list":
        return stacked([floats(value, row) for row, value in values])
    try:
        return pictures((row, content(value, row)) for row, value in values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _values(path: Path, file: Any, name: str, places: Tensor) -> Iterator[tuple[str, Any]]:
    """The chosen values of a column, each with its place in words; one row group at a time."""
    begin = 0
    for group in range(file.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        here = places[(places >= begin) & (places < end)]
        if len(here):
            column = file.read_row_group(group, columns=[name]).column(name).take((here - begin).numpy())
            for row, value in zip(here.tolist(), column.to_pylist(), strict=True):
                if value is None:
                    raise DataError(f"{path}: column {name!r} has no value in row {row}; drop the row or fill it in.")
                yield f"{path}, row {row}", value
        begin = end


def _must_be_full(path: Path, name: str, column: Any) -> None:
    if column.null_count:
        gaps = [row for row, missing in enumerate(column.is_null().to_pylist()) if missing]
        raise DataError(
            f"{path}: column {name!r} has no value in {len(gaps)} rows, first in rows {gaps[:5]}. "
            "Drop these rows or fill them in, or name other columns with input= and label=."
        )


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> list[str] | None:
    """The names in Hugging Face's description of the columns, where there is one."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200].rstrip(".") or type(error).__name__
