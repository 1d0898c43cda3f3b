"""The run folder: manifest, one part of results and witnesses per finished pool, checks, report. Crash-safe.

    manifest.json                    what the results depend on
    results/part-00000.parquet       a row per sample and stage; written last of a pool, so that it says "finished"
    witnesses/part-00000.safetensors the adversarial inputs of that pool
    audit.json, report.html          written when all pools are finished

A run folder is data: nothing in it is executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ironbound.auditing.manifest import NAMES
from ironbound.auditing.table import read_part, write_part
from ironbound.core.errors import FingerprintMismatch, RunError
from ironbound.core.store import read_json, read_tensors, write_json, write_tensors


class RunFolder:
    """A folder with a manifest."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @staticmethod
    def begin(path: Path, manifest: dict[str, Any], resume: bool) -> RunFolder:
        """A new run, or the same run gone on with.

        Raises RunError where the folder holds another thing or a run that was not to be resumed, FingerprintMismatch
        where what the results depend on has changed since.
        """
        if (path / "manifest.json").exists():
            if not resume:
                raise RunError(f"{path} already holds a run. Add --resume to go on with it, or give another --out.")
            there = RunFolder.open(path)
            there.must_match(manifest["fingerprints"])
            return there
        if path.is_file() or path.is_symlink():
            raise RunError(f"{path} cannot be a run folder: a file stands in its place. Give another --out.")
        if path.is_dir() and any(entry.name != "lock" for entry in path.iterdir()):
            raise RunError(f"{path} holds other things than a run. Give a new or empty folder as --out.")
        write_json(path / "manifest.json", manifest)
        return RunFolder(path, manifest)

    @staticmethod
    def open(path: str | Path) -> RunFolder:
        """A run that is there. Raises RunError where the folder is none."""
        path = Path(path)
        if not path.is_dir():
            raise RunError(f"{path} is no folder. A run folder is what --out of a run was.")
        manifest = read_json(path / "manifest.json")
        if not isinstance(manifest, dict) or not {"schema", "fingerprints", "pool", "plan"} <= set(manifest):
            raise RunError(f"{path / 'manifest.json'} is not the manifest of a run.")
        return RunFolder(path, manifest)

    def must_match(self, now: dict[str, str], ignoring: tuple[str, ...] = ()) -> None:
        """Raise FingerprintMismatch, with the differences named, unless these fingerprints are those of the run."""
        was = self.manifest["fingerprints"]
        changed = [n for n in NAMES if n not in ignoring and was.get(n) != now.get(n)]
        if changed:
            what = "; ".join(f"{NAMES[n]} was {was.get(n)} and is {now.get(n)}" for n in changed)
            raise FingerprintMismatch(
                f"{self.path} was made with something else: {what}. Use what it was made with, or a new folder."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process writes into a run at a time. Raises RunError where another one does."""
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        handle = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise RunError(
                f"another process is writing into {self.path}. Wait for it, or give another --out."
            ) from None
        try:
            yield
        finally:
            os.close(handle)  # and with it the lock; the file stays, or a third process could lock its successor

    def finished(self) -> list[int]:
        """The numbers of the finished pools."""
        return sorted(int(path.stem.split("-")[1]) for path in (self.path / "results").glob("part-*.parquet"))

    def write(self, number: int, table: Any, notes: dict[str, Any], witnesses: dict[str, Any]) -> None:
        """Commit a pool: witnesses first, results last, each whole or not at all."""
        if witnesses:
            write_tensors(self._witnesses(number), witnesses)
        write_part(self._results(number), table, notes)

    def read(self, number: int) -> tuple[Any, dict[str, Any]]:
        """The results of a pool and its costs."""
        return read_part(self._results(number))

    def witnesses(self, number: int) -> dict[str, Any]:
        """`index` and `adversarial` of a pool's broken samples; empty where there are none."""
        path = self._witnesses(number)
        return read_tensors(path)[0] if path.exists() else {}

    def table(self) -> tuple[Any, list[dict[str, Any]]]:
        """All results as one table, and the costs of each pool. Raises RunError where there are none."""
        import pyarrow as pa

        parts = [self.read(number) for number in self.finished()]
        if not parts:
            raise RunError(f"{self.path} has no finished pool yet. Go on with the run by --resume.")
        return pa.concat_tables([table for table, _ in parts]), [notes for _, notes in parts]

    def _results(self, number: int) -> Path:
        return self.path / "results" / f"part-{number:05d}.parquet"

    def _witnesses(self, number: int) -> Path:
        return self.path / "witnesses" / f"part-{number:05d}.safetensors"
