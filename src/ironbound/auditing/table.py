"""The results of a run: one row a sample and stage, as Arrow tables in Parquet parts."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ironbound.core.errors import RunError
from ironbound.core.store import write_bytes

VERDICTS = ("wrong", "broken", "certified", "undecided")
DATA = "data."
"""Prefix of the data set's own further columns, which stand in the rows of the clean stage."""
COLUMNS: dict[str, str] = {
    "index": "int64",  # the row's number in the data source
    "key": "string",  # hash of the sample's content
    "label": "int64",
    "stage": "string",
    "verdict": "string",  # after this stage
    "prediction": "int64",  # the model's answer: to the input, or to the witness
    "confidence": "float64",  # of that answer
    "margin": "float64",  # attack: the goal's, at the best point; bound: the proven margin of the label
    "size": "float64",  # of the witness, re-measured in float64
    "radius": "float64",  # up to which the sample is certified
    "forward": "int64",
    "backward": "int64",
    "refused": "int64",  # claims that the judge turned down
    "bounding": "float64",  # what bounds cost, in forward rows
}


def schema(further: Sequence[str] = (), kinds: Sequence[Any] = ()) -> Any:
    """The Arrow schema, with the data's further columns."""
    import pyarrow as pa

    own = [pa.field(name, getattr(pa, kind)()) for name, kind in COLUMNS.items()]
    return pa.schema(own + [pa.field(DATA + name, kind) for name, kind in zip(further, kinds, strict=True)])


def table_of(records: Sequence[dict[str, Any]], further: dict[str, Any]) -> Any:
    """An Arrow table; `further` maps names of the data's columns to their Arrow types."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(records), schema=schema(list(further), list(further.values())))


def write_part(path: Path, table: Any, notes: dict[str, Any]) -> None:
    """Write one part, whole or not at all, with notes (costs) beside the schema."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    metadata = {**(table.schema.metadata or {}), b"ironbound": json.dumps(notes).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_part(path: Path, columns: list[str] | None = None) -> tuple[Any, dict[str, Any]]:
    """A part (these columns of it, or all) and its notes. Raises RunError where the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = set(COLUMNS) - set(file.schema_arrow.names)
            notes = json.loads((file.schema_arrow.metadata or {}).get(b"ironbound", b"{}"))
            table = None if missing else file.read(columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as results ({error}). It was altered or damaged.") from None
    if missing:
        raise RunError(f"{path} lacks the columns {sorted(missing)}; it is no part of a run.")
    return table, notes
