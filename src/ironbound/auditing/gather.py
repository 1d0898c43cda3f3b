"""Shards put together: checked against each other, and their parts copied byte by byte into one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ironbound.auditing.folder import RunFolder, locked
from ironbound.auditing.manifest import NAMES, probes_differ
from ironbound.auditing.shards import Shard, pools_of, samples_of
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.errors import FingerprintMismatch, RunError, UsageError

OWN = {"created", "environment", "origin", "shard", "probes", "fingerprints", "device", "training_mode", "pilot"}
"""What manifests of two shards may differ in, or what is compared apart."""
WORDS = {**NAMES, "pool": "the size of the pools (give all the same --pool)"}


def gathered(shards: Sequence[RunFolder], out: str | Path, resume: bool = False) -> RunFolder:
    """One run of all these shards (see `fitting`) in the folder `out`; `resume` goes on with a merge that was interrupted.

    Raises RunError where the folder holds another thing.
    """
    first, path = shards[0].manifest, Path(out)
    manifest = {key: value for key, value in first.items() if key != "shard"}
    manifest["shards"] = [
        {**shard.manifest["shard"], "created": shard.manifest["created"], "environment": shard.manifest["environment"]}
        for shard in shards
    ]
    with locked(path):
        whole = RunFolder.begin(path, manifest, resume)
        for shard in shards:
            for number in shard.finished():
                whole.adopt(shard, number)
        pools = pools_of(manifest)  # numbers beyond are those of stages that waited for the merge
        if whole.finished()[: len(pools)] != pools or len(Verdicts.of(whole)) != samples_of(manifest):
            raise RunError(f"{path} does not hold the samples of its shards alone. Give a new folder as --out.")
    return whole


def fitting(folders: Sequence[str | Path]) -> list[RunFolder]:
    """The shards in these folders by number, each there once, finished, undamaged and of the same run.

    Raises RunError or FingerprintMismatch with the difference.
    """
    if not folders:
        raise UsageError("a merge is of all shards of a run: name their folders.")
    runs = [RunFolder.open(folder) for folder in folders]
    shards: dict[int, RunFolder] = {}
    for run in runs:
        mine = _finished(run)
        _same(runs[0], run)
        if mine.number in shards:
            raise RunError(f"{shards[mine.number].path} and {run.path} are both {mine}. Name each shard once.")
        shards[mine.number] = run
    of = _shard(runs[0]).of
    missing = [str(number) for number in range(1, of + 1) if number not in shards]
    if missing:
        raise RunError(
            f"of {of} shards there are missing: {', '.join(missing)}. Make them by --shard {missing[0]}/{of}."
        )
    return [shards[number] for number in sorted(shards)]


def _shard(run: RunFolder) -> Shard:
    shard = Shard.of_manifest(run.manifest)
    if shard is None:
        raise RunError(f"{run.path} is an undivided run, and no shard of one. A shard is made by --shard 2/8.")
    return shard


def _finished(run: RunFolder) -> Shard:
    """Which shard this is. Raises RunError where it is not finished, or not what it was when it was."""
    shard = _shard(run)
    if not run.sealed:
        raise RunError(f"{run.path} ({shard}) is not finished: go on with it by --resume.")
    if changed := run.changed():
        raise RunError(f"{run.path} ({shard}) was altered since it was finished: {', '.join(changed[:5])}.")
    if run.finished() != pools_of(run.manifest) or len(Verdicts.of(run)) != samples_of(run.manifest):
        raise RunError(f"{run.path} ({shard}) does not hold the samples of this shard. Its files were altered.")
    return shard


def _same(one: RunFolder, other: RunFolder) -> None:
    """Raise FingerprintMismatch, with the difference, unless both are shards of one run."""
    mine, yours = _shard(one), _shard(other)
    what = f"{one.path} and {other.path} are not of one run"
    if mine.of != yours.of:
        raise FingerprintMismatch(f"{what}: they are {mine} and {yours}.")
    was, now = one.manifest["fingerprints"], other.manifest["fingerprints"]
    changed = [f"{NAMES[n]}, {was.get(n)} and {now.get(n)}" for n in NAMES if was.get(n) != now.get(n)]
    if changed:
        raise FingerprintMismatch(f"{what}: they differ in {'; '.join(changed)}.")
    for key in sorted({*one.manifest, *other.manifest} - OWN):
        a, b = (_common(run.manifest.get(key)) for run in (one, other))
        if a != b:
            raise FingerprintMismatch(f"{what}: they differ in {WORDS.get(key, key)}, {a} and {b}.")
    differ = probes_differ(one.manifest["probes"], other.manifest["probes"])
    if differ:
        raise FingerprintMismatch(f"{what}: {differ}, as if the machines computed otherwise.")


def _common(facts: Any) -> Any:
    return {key: value for key, value in facts.items() if key not in OWN} if isinstance(facts, dict) else facts
