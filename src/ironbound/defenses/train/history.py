"""The history of a training as a file, training/history.parquet: a row an epoch, columns with their meaning."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ironbound.core.store import write_bytes

FILE = "history.parquet"
COLUMNS = {
    "epoch": "from 1",
    "loss": "mean over the epoch's updates, nats",
    "clean_accuracy": "share of the training samples right without a change, as they went by; null where not measured",
    "attacked_accuracy": "share of the training samples that withstood the inner attack, as they went by",
    "certified_accuracy": "share of the training samples with positive margins by bounds, as they went by",
    "eps": "the radius trained at in the last batch, input units",
    "kappa": "the weight of the clean loss in the last batch",
    "rate": "the learning rate of the last update",
    "seconds": "wall time, with validation and with what a recovery threw away",
    "validation_clean": "share of the validation rows right without a change, after the epoch",
    "validation_attacked": "share of the validation rows right under attack, after the epoch: an upper bound",
    "validation_rows": "how many these are",
    "recoveries": "how often the training had gone back after catastrophic overfitting",
}
WHOLE = ("epoch", "validation_rows", "recoveries")


def write_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write all of it, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = lambda name: pa.int64() if name in WHOLE else pa.float64()
    named = lambda name: pa.field(name, kind(name), metadata={"description": COLUMNS[name]})
    table = pa.Table.from_pylist(
        [{name: row.get(name) for name in COLUMNS} for row in history], pa.schema([named(name) for name in COLUMNS])
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(folder / FILE, buffer.getvalue())
