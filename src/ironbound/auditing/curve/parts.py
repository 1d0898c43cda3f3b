"""The curve in a run folder, one part a pool, and what the report says of it.

    curve/part-00000.parquet       a row a sample: up to where it is certified, from where on it is broken
    curve/part-00000.safetensors   the witnesses that the curve found

A part of a pool is written last, and so means "finished", as a part of the results does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.intervals import Share
from ironbound.auditing.shards import pools_of
from ironbound.auditing.table import write_part
from ironbound.core.errors import RunError
from ironbound.core.store import explained, read_tensors, write_tensors

COLUMNS = {"index": "int64", "key": "string", "certified": "float64", "method": "string", "broken": "float64"}
COSTS = ("forward", "backward", "cpu")


@dataclass(frozen=True, eq=False)
class Reached:
    """Some samples, a row each: where between certified and broken their radius lies."""

    index: np.ndarray[Any, Any]
    """The sample's number in the data source."""
    key: np.ndarray[Any, Any]
    certified: np.ndarray[Any, Any]
    """The largest radius known to be certified, in the threat's unit; 0 where none is."""
    method: np.ndarray[Any, Any]
    """By what that is proved where the curve proved it; "" where the verdict did, or nothing."""
    broken: np.ndarray[Any, Any]
    """The smallest radius known to break it: the size of a witness, 0 where it is wrong when clean, inf where none is known."""

    def __len__(self) -> int:
        return len(self.index)

    @staticmethod
    def joined(parts: Iterable[Reached]) -> Reached:
        """The rows of all parts, one after the other."""
        parts = list(parts)
        return Reached(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))

    def attacked_at(self, radius: float) -> int:
        """How many no point within this radius is known to break."""
        return int((self.broken > radius).sum())

    def certified_at(self, radius: float) -> int:
        """How many are right and certified at this radius; at 0 all that are right, for there is one point alone."""
        return int(((self.certified >= radius) & (self.broken > 0)).sum())


def write(folder: RunFolder, number: int, rows: Reached, notes: dict[str, Any], witnesses: dict[str, Any]) -> None:
    """Commit the curve of a pool: witnesses first, the rows last, each whole or not at all."""
    import pyarrow as pa

    if witnesses:
        write_tensors(_witnesses(folder, number), witnesses)
    columns = {name: pa.array(getattr(rows, name), getattr(pa, kind)()) for name, kind in COLUMNS.items()}
    write_part(_rows(folder, number), pa.table(columns), notes)


def read(folder: RunFolder, number: int) -> tuple[Reached, dict[str, Any]]:
    """The rows of a pool and its notes. Raises RunError where the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _rows(folder, number)
    try:
        table = pq.read_table(path, partitioning=None)
        notes = json.loads((table.schema.metadata or {})[b"ironbound"])
        columns = [table[name].to_numpy(zero_copy_only=False) for name in COLUMNS]
        costs = [notes["settings"], *(notes[name] for name in COSTS)]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read as part of a curve ({error}). It was altered or damaged; take it away, and --resume "
            "makes it again."
        ) from None
    assert len(costs) == 1 + len(COSTS)
    return Reached(*columns), notes


def witnesses(folder: RunFolder, number: int) -> dict[str, Any]:
    """`index` and `adversarial` of the witnesses that the curve found in a pool; empty where there are none."""
    path = _witnesses(folder, number)
    return read_tensors(path)[0] if path.exists() else {}


def numbers(folder: RunFolder) -> list[int]:
    """The pools whose curve is finished."""
    return [number for number in pools_of(folder.manifest) if _rows(folder, number).exists()]


def remove(folder: RunFolder) -> None:
    """Take the curve away, the rows first: what is left without them was never finished."""
    for kind in ("*.parquet", "*.safetensors"):
        for path in (folder.path / "curve").glob(kind):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise RunError(explained(path, error)) from error
    with suppress(OSError):
        (folder.path / "curve").rmdir()


def curve_facts(folder: RunFolder, total: int) -> dict[str, Any]:
    """What the report says of the curve, out of `total` samples of the run. Raises RunError where parts are missing."""
    pools = pools_of(folder.manifest)
    missing = sorted(set(pools) - set(numbers(folder)))
    if missing:
        raise RunError(f"{folder.path} has no curve of part {missing[0]}: go on with it by --resume.")
    read_ = [read(folder, number) for number in pools]
    settings = read_[0][1]["settings"]
    if any(notes["settings"] != settings for _, notes in read_):
        raise RunError(f"{folder.path / 'curve'} holds parts of different curves. Take it away, and --resume makes it.")
    rows = Reached.joined(part for part, _ in read_)
    share = lambda count: Share.of(count, len(rows)).as_dict()
    return {
        "radii": settings["radii"], "own": settings["own"], "steps": settings["steps"],
        "samples": len(rows), "total": total,
        "attacked": [share(rows.attacked_at(radius)) for radius in settings["radii"]],
        "certified": [share(rows.certified_at(radius)) for radius in settings["radii"]],
        "cost": {name: sum(notes[name] for _, notes in read_) for name in COSTS},
    }  # fmt: skip


def _rows(folder: RunFolder, number: int) -> Path:
    return folder.path / "curve" / f"part-{number:05d}.parquet"


def _witnesses(folder: RunFolder, number: int) -> Path:
    return folder.path / "curve" / f"part-{number:05d}.safetensors"
