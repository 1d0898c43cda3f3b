"""Whether the results of a run can have come about: each sample's rows are the stages of the plan, until one decided."""

from __future__ import annotations

from typing import Any

import numpy as np

from ironbound.auditing.verdicts import Names, Verdicts

WIDTH = 1 << 16
"""More than there are verdicts."""
DECIDES = {"clean": "wrong", "bound": "certified", "attack": "broken"}
"""What a kind of stage can find beside "undecided"."""


def contradictions(manifest: dict[str, Any], verdicts: Verdicts) -> list[str]:
    """A sentence for each sample whose rows contradict the plan or each other."""
    kinds, left_out = manifest["kinds"], bool(manifest.get("notes"))  # bounds, where the model has none
    last = [stage["name"] for stage in manifest["plan"].get("last", ())]  # on some survivors only
    stages = [n for n in manifest["plan"]["stages"] if not (left_out and kinds[n] == "bound") and n not in last]
    courses, course = courses_of(verdicts, len(manifest["plan"]["stages"]) + 1)
    why = [_contradiction(rows, stages, last, kinds) for rows in courses]
    wrong = np.flatnonzero(np.array([bool(text) for text in why])[course])
    return [f"sample {verdicts.index[i]}: {why[course[i]]}" for i in wrong]


def courses_of(verdicts: Verdicts, most: int) -> tuple[list[list[dict[str, Any]]], np.ndarray[Any, Any]]:
    """The different courses that samples took, as rows of stage and verdict, and which of them each sample took.

    A million samples take some dozens of courses. Keys and labels in the rows are as unequal as those of the samples that
    took the course. Of more than `most` rows the last are one.
    """
    stages, said = Names(), Names()
    steps = np.zeros((len(verdicts), most + 1), np.int32)  # a code for each row; and whether keys or labels differ
    order, past = np.argsort(verdicts.index, kind="stable"), np.zeros(len(verdicts), np.int64)
    ascending = verdicts.index[order]
    for table, _ in verdicts.folder.parts(["index", "key", "label", "stage", "verdict"], verdicts.before):
        at = order[np.searchsorted(ascending, table["index"].to_numpy())]
        same = np.array(table["key"].to_pylist(), dtype=object) == verdicts.key_of(at)
        steps[at[~same | (table["label"].to_numpy() != verdicts.label[at])], most] = 1
        codes = stages.codes(table["stage"]).astype(np.int32) * WIDTH + said.codes(table["verdict"]) + 1
        by_sample = np.argsort(at, kind="stable")
        mine, counts = np.unique(at, return_counts=True)
        rank = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        whose = at[by_sample]
        steps[whose, np.minimum(past[whose] + rank, most - 1)] = codes[by_sample]
        past[mine] += counts
    found, course = np.unique(steps, axis=0, return_inverse=True)
    return [_rows_of(steps_, stages.names, said.names) for steps_ in found.tolist()], course.reshape(-1)


def _rows_of(steps: list[int], stages: list[str], said: list[str]) -> list[dict[str, Any]]:
    *codes, differ = steps
    pairs = [divmod(code - 1, WIDTH) for code in codes if code]
    return [
        {"stage": stages[stage], "verdict": said[verdict], "key": str(number * differ), "label": 0}
        for number, (stage, verdict) in enumerate(pairs)
    ]


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
