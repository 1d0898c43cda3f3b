"""Finished run folders with verdicts of one's choice, written in milliseconds: for the tests of gates and of what logs runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ironbound.auditing.facts import facts_of
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.table import table_of
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.store import write_json
from report_samples import check

CHECKED = (check(1), check(2), check(3))


def verdicts(wrong: int = 0, broken: int = 0, certified: int = 0, undecided: int = 0) -> list[str]:
    """So many of each, in this order."""
    counts = {"wrong": wrong, "broken": broken, "certified": certified, "undecided": undecided}
    return [name for name, count in counts.items() for _ in range(count)]


def key_of(sample: int) -> str:
    """The hash of an invented sample."""
    return hashlib.blake2b(str(sample).encode(), digest_size=16).hexdigest()


def written(
    path: Path, said: Sequence[str], *, samples: Sequence[int] | None = None, checks: Sequence[Any] = CHECKED, model: str = "m",
    seal: bool = True, mistake: int = 1, **changes: Any,
) -> Path:  # fmt: skip
    """A finished run: a verdict a sample; `samples` numbers them, and equal numbers are equal content.

    mistake: how far from its label the answer to a wrong sample is. changes: of the manifest, merged into what is there.
    """
    samples = range(len(said)) if samples is None else samples
    manifest = _merged(_manifest(len(said), model), changes)
    write_json(path / "manifest.json", manifest)
    folder = RunFolder(path, manifest)
    folder.write(0, table_of(_records(said, samples, mistake), {}), {"costs": _costs(said)}, {})
    facts = facts_of(folder, Verdicts.of(folder), list(checks))
    write_json(path / "audit.json", facts)
    if seal:
        folder.seal()
    return path


def _records(said: Sequence[str], samples: Sequence[int], mistake: int) -> list[dict[str, Any]]:
    rows = []
    for place, (verdict, sample) in enumerate(zip(said, samples, strict=True)):
        label = sample % 10
        clean = label if verdict != "wrong" else (label + mistake) % 10
        row = {"index": place, "key": key_of(sample), "label": label, "prediction": clean, "confidence": 0.9}
        rows.append({**row, "stage": "clean", "verdict": "wrong" if verdict == "wrong" else "undecided"})
        if verdict != "wrong":
            rows.append({**row, "stage": "pgd", "verdict": verdict})
    return rows


def _costs(said: Sequence[str]) -> dict[str, dict[str, float]]:
    entered = sum(verdict != "wrong" for verdict in said)
    spent = {"seconds": 0.5, "cpu": 0.25, "bounding": 0}
    return {
        "clean": {"entered": len(said), "decided": len(said) - entered, "forward": len(said), "backward": 0, **spent},
        "pgd": {"entered": entered, "decided": 0, "forward": 11 * entered, "backward": 10 * entered, **spent},
    }


def _manifest(rows: int, model: str) -> dict[str, Any]:
    prints = {name: f"{name}-1" for name in ("data", "threat", "plan", "seed", "code")}
    return {
        "schema": 1, "ironbound": "0.1.0", "created": "2026-11-02T09:30:00+00:00",
        "model": {"name": model, "outputs": "logits", "range": [0.0, 1.0], "parameters": 100},
        "data": {"name": "made", "rows": rows, "classes": list("0123456789"), "columns": []},
        "threat": {"spec": "linf:0.1", "norm": "linf", "radius": 0.1, "text": "each input value may change by at most 0.1"},
        "plan": {"name": "pgd", "stages": ["clean", "pgd"]}, "kinds": {"clean": "clean", "pgd": "attack"}, "bounds": {},
        "settings": {}, "seed": 0, "pool": rows, "origin": {}, "probes": [[0.0, 1.0]], "environment": {"python": "3.11"},
        "fingerprints": {**prints, "model": f"model-{model}"},
    }  # fmt: skip


def _merged(facts: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(facts[key], value) for key, value in changes.items() if isinstance(facts.get(key), dict)}
    return {**facts, **changes, **both}
