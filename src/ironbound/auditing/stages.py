"""Whether the results of a run can have come about: each sample's rows are the stages of the plan, until one decided."""

from __future__ import annotations

from typing import Any

from ironbound.auditing.verdicts import Verdicts

DECIDES = {"clean": "wrong", "bound": "certified", "attack": "broken"}
"""What a kind of stage can find beside "undecided"."""


def contradictions(manifest: dict[str, Any], verdicts: Verdicts) -> list[str]:
    """A sentence for each sample whose rows contradict the plan or each other."""
    kinds, left_out = manifest["kinds"], bool(manifest.get("notes"))  # bounds, where the model has none
    last = [stage["name"] for stage in manifest["plan"].get("last", ())]  # on some survivors only
    stages = [n for n in manifest["plan"]["stages"] if not (left_out and kinds[n] == "bound") and n not in last]
    samples: dict[int, list[dict[str, Any]]] = {}
    for row in verdicts.table.select(["index", "key", "label", "stage", "verdict"]).to_pylist():
        samples.setdefault(row["index"], []).append(row)
    found = ((index, _contradiction(rows, stages, last, kinds)) for index, rows in samples.items())
    return [f"sample {index}: {why}" for index, why in found if why]


def _contradiction(rows: list[dict[str, Any]], stages: list[str], waiting: list[str], kinds: dict[str, str]) -> str:
    names, last = [row["stage"] for row in rows], rows[-1]
    pooled, behind = names[: len(stages)], names[len(stages) :]
    if pooled != stages[: len(pooled)] or behind != [name for name in waiting if name in behind]:
        return f"it went through the stages {names}, and the plan has {[*stages, *waiting]}"
    if len({(row["key"], row["label"]) for row in rows}) > 1:
        return "its rows have different keys or labels"
    if any(row["verdict"] != "undecided" for row in rows[:-1]):
        return "it was gone on with after it was decided"
    if last["verdict"] == "undecided":
        return "" if len(names) >= len(stages) else f"it was left undecided after {names[-1]!r}"
    kind = kinds[last["stage"]]
    return (
        "" if last["verdict"] == DECIDES[kind] else f"a stage of kind {kind!r} cannot find that it is {last['verdict']}"
    )
