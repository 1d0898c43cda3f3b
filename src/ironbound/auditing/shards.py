"""Shards: an audit in n parts on any number of machines, each a run folder of its own that `merge` puts together.

The pools of the whole run are dealt out in turn: shard i of n has the pools i - 1, i - 1 + n, ... in the order of the data,
so that data sorted by class are spread. A pool in a shard is the pool of the undivided run, and has its number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import Any

from ironbound.core.errors import RunError, UsageError


@dataclass(frozen=True)
class Shard:
    """One of `of` parts, numbered from 1."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"shards are numbered from 1 to their count, as in 1/8 to 8/8; got {self.number}/{self.of}."
            )

    @staticmethod
    def parse(text: str) -> Shard:
        """ "2/8" as the second of eight. Raises UsageError for anything else."""
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text) if isinstance(text, str) else None
        if found is None:
            raise UsageError(f'a shard is written as "2/8", the second of eight; got {text!r}.')
        return Shard(int(found[1]), int(found[2]))

    @staticmethod
    def of_manifest(manifest: dict[str, Any]) -> Shard | None:
        """Which shard a run is; None for an undivided run. Raises RunError where the manifest makes no sense."""
        facts = manifest.get("shard")
        if facts is None:
            return None
        try:
            return Shard(int(facts["number"]), int(facts["of"]))
        except (KeyError, TypeError, ValueError, UsageError):
            raise RunError(f"manifest.json names the shard {facts!r}, which there cannot be. It was altered.") from None

    def facts(self) -> dict[str, int]:
        """For the manifest."""
        return {"number": self.number, "of": self.of}

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


def size_of(shard: Shard | None, rows: int, pool: int | None, usual: int) -> int:
    """Samples a pool: as asked for, else the usual number, less where not every shard would have a pool.

    Raises UsageError where there are fewer pools than shards.
    """
    size = pool or (usual if shard is None else max(1, min(usual, rows // shard.of)))
    if shard is not None and ceil(rows / size) < shard.of:
        way = f"Take pools of {rows // shard.of}, or fewer shards." if rows >= shard.of else "Take fewer shards."
        raise UsageError(f"{rows} samples in pools of {size} are too few for {shard.of} shards. {way}")
    return size


def pools_of(manifest: dict[str, Any]) -> list[int]:
    """The numbers of the pools that a run has when it is finished."""
    total = ceil(int(manifest["data"]["rows"]) / int(manifest["pool"]))
    shard = Shard.of_manifest(manifest)
    return list(range(total) if shard is None else range(shard.number - 1, total, shard.of))


def places_of(manifest: dict[str, Any], pool: int) -> range:
    """The places in the data of the run of a pool's samples."""
    rows, size = int(manifest["data"]["rows"]), int(manifest["pool"])
    return range(pool * size, min(rows, (pool + 1) * size))


def samples_of(manifest: dict[str, Any]) -> int:
    """How many samples a run has when it is finished."""
    return sum(len(places_of(manifest, pool)) for pool in pools_of(manifest))
