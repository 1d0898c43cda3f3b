"""A finished run as a gate may rely on it: whole, as it was when it was finished, and saying what its results hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import HARDENED, RunFolder
from ironbound.auditing.table import VERDICTS
from ironbound.auditing.verdicts import RIGHT, Verdicts
from ironbound.core.errors import BROKEN, RunError
from ironbound.core.store import read_json


@dataclass(frozen=True, eq=False)
class Reading:
    """A run with what it says and all of its verdicts."""

    audit: Audit
    folder: RunFolder
    verdicts: Verdicts

    @property
    def facts(self) -> Any:
        """What audit.json says."""
        return self.audit.facts

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    def right(self, kind: str) -> np.ndarray[Any, Any]:
        """Which samples count for a fraction, bool array (n,)."""
        found: np.ndarray[Any, Any] = np.isin(self.verdicts.verdict, RIGHT[kind])
        return found


def reading(place: str | Path | Audit) -> Reading:
    """The run in a folder; of a hardening the audit of the model that it made.

    Raises RunError where the run is not finished, a shard of one, altered since, or says other counts than its results hold.
    """
    path = place.folder if isinstance(place, Audit) else _audited(Path(place).expanduser())
    try:
        return _read(path)
    except BROKEN as error:
        raise RunError(
            f"{path} cannot be read as a run ({type(error).__name__}: {error}). It was altered or damaged."
        ) from None


def _audited(path: Path) -> Path:
    if not (path / HARDENED).exists():
        return path
    record = read_json(path / HARDENED)
    if not isinstance(record, dict) or record.get("after") != "after":
        raise RunError(f"{path} was trained without audits: audit its weights first, or harden with --audit.")
    return path / "after"


def _read(path: Path) -> Reading:
    audit, folder = Audit.load(path), RunFolder.open(path)
    if "shard" in audit.facts:
        raise RunError(f"{path} is a shard of an audit. Put all shards together by ironbound merge, and ask of that.")
    if not folder.sealed:
        raise RunError(f"{path} is not finished: go on with it by --resume.")
    if altered := folder.changed():
        raise RunError(f"{path} was altered since the run was finished: {', '.join(altered[:5])}.")
    verdicts = Verdicts.of(folder)
    held = {name: verdicts.count(name) for name in VERDICTS}
    shares = {kind: (audit.facts[kind]["count"], audit.facts[kind]["total"]) for kind in RIGHT}
    counted = {kind: (verdicts.count(*names), len(verdicts)) for kind, names in RIGHT.items()}
    if audit.facts["verdicts"] != held or shares != counted:
        raise RunError(f"{path / 'audit.json'} says other counts than the results of the run hold. It was altered.")
    return Reading(audit, folder, verdicts)
