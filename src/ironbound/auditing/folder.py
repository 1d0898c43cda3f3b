"""The run folder: manifest, one part of results and witnesses per finished pool, checks, report. Crash-safe.

    manifest.json                    what the results depend on
    results/part-00000.parquet       a row per sample and stage; written last of a pool, so that it says "finished"
    witnesses/part-00000.safetensors the adversarial inputs of that pool
    curve/part-00000.*               robust accuracy against radius, likewise a part a pool (see curve/parts.py)
    audit.json, report.html          written when all pools are finished
    gallery.safetensors              the pictures of the report
    attributions.safetensors         what spoke for the answers to a few of them (see attributions.py)
    digests.json                     the digest of every other file but the report's, written last: the run is sealed

A run folder is data: nothing in it is executed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ironbound.auditing.manifest import NAMES, probes_differ, said
from ironbound.auditing.shards import Shard, places_of
from ironbound.auditing.table import read_part, write_part
from ironbound.core.errors import FingerprintMismatch, RunError
from ironbound.core.store import (
    explained,
    file_digest,
    read_json,
    read_tensors,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)

SEAL = "digests.json"
UNSEALED = ("lock", "report.html", "found.html", SEAL)
"""What may change afterwards: pages can be rendered anew."""


NEEDED = {"schema", "fingerprints", "pool", "plan", "kinds", "threat", "model", "data", "seed", "probes", "environment"}
FINGERPRINTED = ("plan", "kinds", "bounds", "settings", "seed", "threat")
"""What follows from the fingerprinted things, so that it cannot differ where these are equal."""
HARDENED = "harden.json"
"""What a finished hardening has beside its audits; that of what it made is in its folder after/."""


class RunFolder:
    """A folder with a manifest."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @staticmethod
    def begin(path: Path, manifest: dict[str, Any], resume: bool) -> RunFolder:
        """A new run, or the same run gone on with; to be called under the lock.

        Raises RunError where `usable` does or a part is damaged, FingerprintMismatch where what the results depend on
        has changed since.
        """
        usable(path, resume)
        _swept(path)
        if not (path / "manifest.json").exists():
            write_json(path / "manifest.json", manifest)
            return RunFolder(path, manifest)
        there = RunFolder.open(path)
        there.must_match(manifest["fingerprints"], words=manifest)
        there._must_follow(manifest)
        was, now = (Shard.of_manifest(m) or "undivided" for m in (there.manifest, manifest))
        if was != now:
            raise RunError(f"{path} holds a run that is {was}, and not {now}. Give each shard a folder of its own.")
        differ = probes_differ(there.manifest["probes"], manifest["probes"])
        if differ:
            raise FingerprintMismatch(f"{path}: {differ}. Use what it was made with, or a new folder.")
        altered = [name for name in there.altered() if (path / name).exists()]  # what is gone is made again
        if altered:
            raise RunError(
                f"{path} was altered since the run was finished: {', '.join(altered[:5])}. Use a new folder."
            )
        for number in there.finished():
            there._must_hold(number)
        return there

    @staticmethod
    def open(path: str | Path) -> RunFolder:
        """A run that is there. Raises RunError where the folder is none."""
        path = Path(path)
        if not path.is_dir():
            raise RunError(f"{path} is no folder. A run folder is what --out of a run was.")
        manifest = read_json(path / "manifest.json")
        if not isinstance(manifest, dict) or not set(manifest) >= NEEDED:
            raise RunError(f"{path / 'manifest.json'} is not the manifest of a run.")
        return RunFolder(path, manifest)

    def must_match(
        self, now: dict[str, str], ignoring: tuple[str, ...] = (), words: dict[str, Any] | None = None
    ) -> None:
        """Raise FingerprintMismatch, with the differences named, unless these fingerprints are those of the run.

        words: the other run's manifest, to name its threat, plan and data as people do, and not by fingerprints alone.
        """
        was = self.manifest["fingerprints"]
        changed = [n for n in NAMES if n not in ignoring and was.get(n) != now.get(n)]
        if changed:
            what = "; ".join(
                f"{NAMES[n]} was {was.get(n)}{said(self.manifest, n)} and is {now.get(n)}{said(words or {}, n)}"
                for n in changed
            )
            raise FingerprintMismatch(
                f"{self.path} was made with something else: {what}. Use what it was made with, or a new folder."
            )

    def _must_follow(self, manifest: dict[str, Any]) -> None:
        """Raise RunError where words that follow from equal fingerprints differ: a run that is gone on with reads them."""
        for name in FINGERPRINTED:
            if self.manifest.get(name) != json.loads(json.dumps(manifest.get(name))):
                raise RunError(
                    f"{self.path / 'manifest.json'}: {name!r} is not what was fingerprinted. It was altered; use a new folder."
                )

    def _must_hold(self, number: int) -> None:
        """Raise RunError where a part has not as many samples as its pool, or one behind the pools begins any."""
        begun = sum(stage == "clean" for stage in self.read(number)[0]["stage"].to_pylist())
        if begun != len(places_of(self.manifest, number)):
            raise RunError(
                f"{self._results(number)} begins {begun} samples, and its pool has {len(places_of(self.manifest, number))}. It "
                "or the size of the pools in manifest.json was altered; use a new folder."
            )

    def seal(self) -> None:
        """Note the digest of every file, so that `verify` sees the change of a single bit."""
        write_json(self.path / SEAL, {name: file_digest(self.path / name) for name in self._files()})

    def unseal(self) -> None:
        """Take the digests away before a file changes: there are none, or they are true."""
        try:
            (self.path / SEAL).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(explained(self.path / SEAL, error)) from error

    def replace(self, name: str, text: str) -> None:
        """Write a file of a sealed run anew: its digest is the new one, those of all others stay what they were."""
        digests = self._digests()
        self.unseal()
        write_text(self.path / name, text)
        write_json(self.path / SEAL, {**digests, name: file_digest(self.path / name)})

    @property
    def sealed(self) -> bool:
        """Whether the digests are there."""
        return (self.path / SEAL).exists()

    def altered(self) -> list[str]:
        """The files that are not what they were when the run was sealed, or are gone; none where it is not sealed."""
        was = self._digests()
        return [n for n in was if not (self.path / n).is_file() or file_digest(self.path / n) != was[n]]

    def added(self) -> list[str]:
        """The files that came after the run was sealed."""
        was = self._digests()
        return [name for name in self._files() if name not in was]

    def changed(self) -> list[str]:
        """The files that are not what they were when the run was sealed, and parts that came after it."""
        parts = ("results/", "witnesses/", "curve/")
        return [*self.altered(), *(name for name in self.added() if name.startswith(parts))]

    def _digests(self) -> dict[str, str]:
        digests = read_json(self.path / SEAL) if self.sealed else {}
        if not isinstance(digests, dict):
            raise RunError(f"{self.path / SEAL} holds no digests. It was altered or damaged.")
        return digests

    def _files(self) -> list[str]:
        files = (path for path in self.path.rglob("*") if path.is_file() and not _temporary(path))
        return sorted(name for path in files if (name := path.relative_to(self.path).as_posix()) not in UNSEALED)

    def finished(self) -> list[int]:
        """The numbers of the finished pools. Raises RunError for a part that no run has written."""
        names = [path.stem.removeprefix("part-") for path in (self.path / "results").glob("part-*.parquet")]
        strange = [name for name in names if not (name.isdecimal() and name == f"{int(name):05d}")]
        if strange:
            raise RunError(
                f"{self.path / 'results'} holds part-{strange[0]}.parquet, which no run writes. Take it away."
            )
        return sorted(int(name) for name in names)

    def write(self, number: int, table: Any, notes: dict[str, Any], witnesses: dict[str, Any]) -> None:
        """Commit a pool: witnesses first, results last, each whole or not at all."""
        self.unseal()
        if witnesses:
            write_tensors(self._witnesses(number), witnesses)
        write_part(self._results(number), table, notes)

    def adopt(self, other: RunFolder, number: int) -> None:
        """Commit a pool that another run finished, byte by byte. Raises RunError where another one is there already."""
        if self._results(number).exists():
            if file_digest(self._results(number)) != file_digest(other._results(number)):
                raise RunError(f"{self._results(number)} is not the part of {other.path}. Give another --out.")
            return
        self.unseal()
        if other._witnesses(number).exists():
            write_bytes(self._witnesses(number), other._witnesses(number).read_bytes())
        write_bytes(self._results(number), other._results(number).read_bytes())

    def read(self, number: int) -> tuple[Any, dict[str, Any]]:
        """The results of a pool and its costs."""
        return read_part(self._results(number))

    def witnesses(self, number: int) -> dict[str, Any]:
        """`index` and `adversarial` of a pool's broken samples; empty where there are none."""
        path = self._witnesses(number)
        return read_tensors(path)[0] if path.exists() else {}

    def witnessed(self, number: int) -> Any:
        """The row numbers of a pool's broken samples alone, int64 array (n,)."""
        path = self._witnesses(number)
        found = read_tensors(path, only="index")[0] if path.exists() else {}
        return torch.as_tensor(found.get("index", ()), dtype=torch.int64).numpy()

    def parts(self, columns: list[str] | None, before: int | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The results of each part, or of those with lower numbers, and their costs, one at a time; of these columns, or all.

        Raises RunError where there are none.
        """
        numbers = [number for number in self.finished() if before is None or number < before]
        if not numbers:
            raise RunError(f"{self.path} has no finished pool yet. Go on with the run by --resume.")
        for number in numbers:
            yield read_part(self._results(number), columns)

    def _results(self, number: int) -> Path:
        return self.path / "results" / f"part-{number:05d}.parquet"

    def _witnesses(self, number: int) -> Path:
        return self.path / "witnesses" / f"part-{number:05d}.safetensors"


def usable(path: Path, resume: bool) -> None:
    """Raise RunError where the folder holds another thing, or a run that was not to be gone on with."""
    if (path / "manifest.json").exists():
        if not resume:
            raise RunError(f"{path} already holds a run. Add --resume to go on with it, or give another --out.")
        return
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path} is a link that leads nowhere. Give another --out.")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} cannot be a run folder: a file stands in its place. Give another --out.")
    if path.is_dir() and any(entry.name != "lock" and not _temporary(entry) for entry in path.iterdir()):
        raise RunError(f"{path} holds other things than a run. Give a new or empty folder as --out.")


def copied_run(path: Path, out: Path) -> None:
    """Copy a run into a new folder, manifest last. Raises RunError where something is there or it cannot be written."""
    usable(out, resume=False)
    files = [
        file for file in sorted(path.rglob("*")) if file.is_file() and not _temporary(file) and file.name != "lock"
    ]
    for file in sorted(files, key=lambda file: file.name == "manifest.json"):
        write_bytes(out / file.relative_to(path), file.read_bytes())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process writes into a run at a time; the folder is made where there is none.

    Raises RunError where another process does, or the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / "lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise RunError(explained(path / "lock", error)) from error
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)  # and with it the lock; the file stays, or a third process could lock its successor


def _lock(handle: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):  # nor on this file system
            return
        raise RunError(f"another process is writing into {path}. Wait for it, or give another --out.") from None


def _temporary(path: Path) -> bool:
    """Whether a file is one that a process wrote when it was killed (see store.write_bytes)."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _swept(path: Path) -> None:
    """Take away what killed processes left; under the lock nobody else is writing."""
    for folder in (path, path / "results", path / "witnesses", path / "curve"):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
