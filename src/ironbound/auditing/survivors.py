"""Stages behind the pools: on survivors of the whole data set, which no pool and no shard knows alone.

Their parts stand behind those of the pools and are numbered on, so that they too are whole or absent, and a run that is
killed goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

from torch import Tensor

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.plan import Plan, belongs
from ironbound.auditing.shards import Shard
from ironbound.auditing.verdicts import Verdicts


def facts_of_last(plan: Plan) -> list[dict[str, Any]]:
    """The stages that wait, for the manifest."""
    return [{"name": stage.name, "most": stage.most, "after": stage.after} for stage in plan.last]


def portions(folder: RunFolder) -> Iterator[tuple[str, int, Tensor]]:
    """Of each stage that waits, the parts that it has: stage, number, places of the samples in the data of the run.

    To be asked for one after the other: which samples a stage gets is known when the one before has been written.
    """
    number = _pools(folder)
    for stage in folder.manifest["plan"].get("last", ()):
        places = _chosen(stage, Verdicts.of(folder, before=number))
        for portion in places.split(int(folder.manifest["pool"])) if len(places) else ():
            yield stage["name"], number, portion
            number += 1


def pending(folder: RunFolder) -> list[str]:
    """In words, what has not been run yet of the stages that wait."""
    if Shard.of_manifest(folder.manifest) is not None:
        return [_in_words(stage) for stage in folder.manifest["plan"].get("last", ())]
    done = set(folder.finished())
    for name, number, _ in portions(folder):
        if number not in done:  # what comes after it depends on it
            names = [stage["name"] for stage in folder.manifest["plan"]["last"]]
            return [_in_words(stage) for stage in folder.manifest["plan"]["last"][names.index(name) :]]
    return []


def misplaced(folder: RunFolder) -> list[str]:
    """A sentence for each part of such a stage that has other samples than it should."""
    found, done, numbers = [], set(folder.finished()), range(_pools(folder))
    index, expected = Verdicts.of(folder).index, set(numbers)
    for name, number, places in portions(folder):
        expected.add(number)
        if number not in done:
            break
        rows = folder.read(number)[0]
        same = rows["index"].to_pylist() == index[places.numpy()].tolist() and set(rows["stage"].to_pylist()) == {name}
        found += [] if same else [f"part {number} does not hold what {name!r} was to run on"]
    return found + [f"part {number} is of no pool and no stage" for number in sorted(done - expected)]


def _chosen(stage: dict[str, Any], verdicts: Verdicts) -> Tensor:
    """The survivors that a stage runs on; none where it waits for a stage that broke nothing."""
    names = [name for name in verdicts.stages if stage["after"] and belongs(name, stage["after"])]
    if stage["after"] and not any("broken" in verdicts.stage_rows(name)["verdict"] for name in names):
        return verdicts.places(most=0)
    return verdicts.places("undecided", most=stage["most"])


def _pools(folder: RunFolder) -> int:
    return ceil(int(folder.manifest["data"]["rows"]) / int(folder.manifest["pool"]))


def _in_words(stage: dict[str, Any]) -> str:
    most = "all survivors" if stage["most"] is None else f"the {stage['most']} survivors with the smallest keys"
    return f"{stage['name']} on {most}" + (f", if {stage['after']} breaks one" if stage["after"] else "")
