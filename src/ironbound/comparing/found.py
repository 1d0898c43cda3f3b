"""What there is to compare: the audits in the folders of `harden` and `audit`, with the training of each model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import RunFolder
from ironbound.core.errors import RunError, UsageError
from ironbound.hardening.record import RECORD, read_record

OUTCOME = "compare.json"
Role = Literal["start", "trained", "audited"]
"""A model as a training found it; as it left it; or one that was audited by itself."""


@dataclass(frozen=True, eq=False)
class Found:
    """A model in one audit."""

    name: str
    role: Role
    audit: Audit
    training: dict[str, Any] | None
    """The record of the training that made this model (hardening/record.py); None where no folder says."""
    start: str | None = None
    """The fingerprint of the model that this training began with, where that was audited."""

    @property
    def run(self) -> RunFolder:
        """The folder of the audit."""
        return RunFolder.open(self.audit.folder)

    @property
    def model(self) -> str:
        """The fingerprint of the model."""
        return str(self.audit.facts["fingerprints"]["model"])

    @property
    def scope(self) -> tuple[str, str, str]:
        """What must be equal for two figures to stand side by side: data and samples, threat, and the plan's name."""
        facts = self.audit.facts
        return facts["fingerprints"]["data"], facts["fingerprints"]["threat"], facts["plan"]["name"]


def found_in(places: Iterable[str | Path]) -> tuple[list[Found], list[Skipped]]:
    """All models in these folders, and in the folders of runs among them; each starting model once in each scope.

    Folders that hold nothing to compare (not finished, not audited, a shard) are skipped, and why is said, as long as another
    one does. Raises RunError for a path that is no folder or where none is usable, UsageError where nothing is there.
    """
    found, skipped, first = list[Found](), list[Skipped](), None
    for path in _folders(places):
        try:
            found += _hardened(path) if (path / RECORD).exists() else [_audited(path)]
        except RunError as error:
            first = first or error
            skipped.append(Skipped(str(path), str(error)))
    if not found and first is not None:
        raise first
    if not found:
        raise UsageError("there is nothing to compare: give the folders that were --out of harden or audit.")
    return _told_apart(_once(_trainings_known(found))), skipped


@dataclass(frozen=True)
class Skipped:
    """A folder that holds nothing to compare."""

    folder: str
    why: str


def _folders(places: Iterable[str | Path]) -> list[Path]:
    """Folders of runs, those in folders of several; what earlier comparisons left is passed over."""
    found = list[Path]()
    for place in places:
        path = Path(place).expanduser()
        if not path.is_dir():
            raise RunError(f"{path} is no folder. Give the folders that were --out of harden or audit.")
        if _is_run(path):
            found.append(path)
        elif not (path / OUTCOME).exists():
            inside = sorted(folder for folder in path.iterdir() if folder.is_dir() and _is_run(folder))
            if not inside:
                raise RunError(f"{path} holds no run. Give the folders that were --out of harden or audit.")
            found += inside
    return list(dict.fromkeys(path.resolve() for path in found))


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in (RECORD, "manifest.json", "training"))


def _hardened(path: Path) -> list[Found]:
    """The model as it was and as it became. Raises RunError where neither was audited."""
    record = read_record(path)
    if record["after"] is None:
        raise RunError(
            f"{path} was trained without audits, so that no figure of it is evidence of robustness: audit its weights "
            f"({path / str(record['weights'])}) first, harden with --audit, or leave the folder out."
        )
    after = Found(path.name, "trained", Audit.load(path / record["after"]), record)
    if record["before"] is None:
        return [after]
    start = Found(f"{path.name} (start)", "start", Audit.load(path / record["before"]), None)
    return [start, replace(after, start=start.model)]


def _audited(path: Path) -> Found:
    if (path / "training").is_dir():
        read_record(path)  # says that the hardening is not finished
    audit = Audit.load(path)
    if "shard" in audit.facts:
        raise RunError(f"{path} is a shard of an audit. Put all shards together by ironbound merge, and compare that.")
    return Found(path.name, "audited", audit, None)


def _trainings_known(found: Sequence[Found]) -> list[Found]:
    """An audit of a model that one of the trainings made (other threats, other plans) is of a trained model, too."""
    made = {one.model: one for one in found if one.training is not None}
    same = lambda one: replace(one, training=made[one.model].training, start=made[one.model].start)
    return [same(one) if one.role == "audited" and one.model in made else one for one in found]


def _once(found: Sequence[Found]) -> list[Found]:
    """Starting models first, and each once in its scope: several trainings mostly begin with the same one."""
    seen, kept = set[Any](), list[Found]()
    for one in sorted(found, key=lambda one: one.role != "start"):
        if one.role != "start" or (one.scope, one.model) not in seen:
            kept.append(one)
        if one.role == "start":
            seen.add((one.scope, one.model))
    return kept


def _told_apart(found: Sequence[Found]) -> list[Found]:
    """Names that are one's own within a scope: folders of one name by their parents' names."""
    names = [(one.scope, one.name) for one in found]
    parent = lambda one: one.audit.folder.parent if one.role == "audited" else one.audit.folder.parents[1]
    return [
        replace(one, name=f"{parent(one).name}/{one.name}") if names.count((one.scope, one.name)) > 1 else one
        for one in found
    ]
