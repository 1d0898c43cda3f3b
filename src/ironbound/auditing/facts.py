"""What audit.json says of a run, counted from its results: the one thing that reports, forms and gates are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ironbound.auditing.checks.budget import cost_of
from ironbound.auditing.checks.confidence import grade
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.gaps import gaps_of
from ironbound.auditing.shards import Shard
from ironbound.auditing.slices import by_class, by_column
from ironbound.auditing.survivors import pending
from ironbound.auditing.table import VERDICTS
from ironbound.auditing.verdicts import Verdicts

SCHEMA = 2
"""Of audit.json, counted up where what stands in it changes its form."""


def facts_of(
    folder: RunFolder, verdicts: Verdicts, checks: Sequence[Any], curve: dict[str, Any] | None = None,
    attributions: dict[str, Any] | None = None, slice_by: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Everything a report says, as plain data (see report/schema.py)."""
    manifest = folder.manifest
    clean, attacked, certified = verdicts.clean, verdicts.attacked, verdicts.certified
    waits = {stage["name"] for stage in manifest["plan"].get("last", ()) if stage["after"]}
    stages = [_stage(folder, verdicts, s) for s in manifest["plan"]["stages"] if s not in waits or s in verdicts.stages]
    named, waiting = manifest["data"]["classes"], pending(folder)
    return {
        "schema": SCHEMA, "ironbound": manifest["ironbound"], "created": manifest["created"],
        "title": f"{manifest['model']['name']} on {manifest['data']['name']}",
        "model": {
            "name": manifest["model"]["name"], "fingerprint": manifest["fingerprints"]["model"],
            "parameters": manifest["model"]["parameters"], "outputs": manifest["model"]["outputs"],
            "range": manifest["model"]["range"],
        },
        "data": {
            "name": manifest["data"]["name"], "fingerprint": manifest["fingerprints"]["data"],
            "rows": manifest["data"]["rows"], "samples": len(verdicts), "classes": named,
        },
        "threat": manifest["threat"], "plan": manifest["plan"],
        "clean": clean.as_dict(), "attacked": attacked.as_dict(), "certified": certified.as_dict(),
        "bracket": {"low": certified.fraction, "high": attacked.fraction, "interval": [certified.low, attacked.high]},
        "verdicts": {name: verdicts.count(name) for name in VERDICTS},
        "stages": stages, **groups_facts(verdicts, named, slice_by), "checks": list(checks),
        "confidence": grade(list(checks), (attacked.high - attacked.low) / 2) if checks else _unchecked(folder, waiting),
        "pending": waiting,
        "notes": [*_below_chance(verdicts, len(named)), *manifest.get("notes", []), *manifest["plan"].get("notes", [])],
        "cost": {
            **{key: sum(stage[key] for stage in stages) for key in ("forward", "backward", "bounding", "seconds", "cpu")},
            "checks": cost_of(checks),
        },
        "pilot": _pilot(manifest),
        "seed": manifest["seed"], "environment": manifest["environment"], "fingerprints": manifest["fingerprints"],
        **({"shard": manifest["shard"]} if "shard" in manifest else {}),
        **({"curve": curve} if curve is not None else {}),
        **({"attributions": attributions} if attributions is not None else {}),
    }  # fmt: skip


def groups_facts(verdicts: Verdicts, named: Sequence[str], slice_by: Sequence[str] | None) -> dict[str, Any]:
    """The classes, the slices and their gaps."""
    classes, slices = by_class(verdicts, named), by_column(verdicts, slice_by)
    asked = {} if slice_by is None else {"slice_by": list(slice_by)}
    return {"classes": classes, "slices": slices, **asked, "gaps": gaps_of(classes, slices)}


def _below_chance(verdicts: Verdicts, named: int) -> list[str]:
    """A sentence where the model is worse than guessing: then most likely labels or preprocessing are not its own."""
    classes, clean = max(named, int(verdicts.label.max()) + 1), verdicts.clean
    if clean.high >= 1 / classes:
        return []
    return [
        f"Only {clean.fraction:.1%} are right when clean, less than guessing among {classes} classes: check that labels, the "
        "order of the classes and the preprocessing are those of the model."
    ]


def _pilot(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """What the pilot of an adaptive plan was and took; None where there was none."""
    facts = manifest["plan"].get("pilot")
    if "samples" not in (facts or {}):
        return None
    counts = {"samples": facts["samples"], "forward": facts["forward"], "backward": facts["backward"]}
    return {**counts, "bounding": round(facts["bounding"]), **manifest.get("pilot", {})}


def _unchecked(folder: RunFolder, waiting: Sequence[str]) -> dict[str, str]:
    """What is said of a run that was not checked."""
    manifest, shard = folder.manifest, Shard.of_manifest(folder.manifest)
    too = "".join(f", and so is {stage}" for stage in waiting)
    if shard is not None:
        text = (
            f"This is {shard}, of {manifest['data']['rows']:,} samples in all. The checks are pending{too}: "
            "ironbound merge, which puts all shards together, makes up for that."
        )
    else:
        text = (
            f"The shards were merged without the model, so that the checks are pending{too}. Merge them again with "
            "--resume and the model (--model, --data) to make up for that."
        )
    return {"grade": "none", "text": text}


def _stage(folder: RunFolder, verdicts: Verdicts, name: str) -> dict[str, Any]:
    costs, kind = verdicts.stage_costs(name), folder.manifest["kinds"][name]
    whole = {key: round(costs[key]) for key in ("entered", "decided", "forward", "backward", "bounding")}
    return {"name": name, "kind": kind, **whole, "seconds": costs["seconds"], "cpu": costs["cpu"]}
