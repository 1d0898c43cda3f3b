"""Small data sets and files for the tests of the loaders."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ironbound.data import Data


def made(count: int = 6, x: object = None, **fields: object) -> Data:
    whole = {
        "x": torch.arange(count * 2.0).reshape(count, 2) if x is None else x,
        "y": torch.arange(count) % 3,
        "columns": {"group": [f"g{i}" for i in range(count)]},
        "index": torch.arange(count),
        "classes": None,
        "name": "made",
    }
    return Data(**{**whole, **fields})


def png(pixels: object, kind: str = "PNG", **save: object) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image.save(buffer, kind, **save)
    return buffer.getvalue()


def grey(value: int, size: int = 4) -> np.ndarray:
    return np.full((size, size), value, "uint8")


def parquet(path: Path, columns: dict[str, object], names: list[str] | None = None, label: str = "label") -> Path:
    table = pa.table(columns)
    if names is not None:
        features = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, row_group_size=3)
    return path
