"""The pictures of a report: samples of every verdict and class, broken ones with their witnesses, kept in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.inside import around
from ironbound.auditing.verdicts import Verdicts, turns
from ironbound.core.errors import RunError
from ironbound.core.rng import Rng, content_keys
from ironbound.core.store import read_tensors, write_tensors
from ironbound.showing.images import Picture, is_picture
from ironbound.showing.seen import answers

ORDER = ("broken", "undecided", "certified", "wrong")
"""Of the verdicts in the gallery, and the numbers that stand for them in its file."""
MOST = {"broken": 36, "undecided": 12, "certified": 12, "wrong": 12}
"""Samples of each verdict; of the broken ones, with more classes than that, one of each class up to `WIDEST`."""
WIDEST = 100
BYTES = 32 << 20
"""Of all inputs that are kept; where they take more, fewer are, but never fewer than `LEAST` of a verdict."""
LEAST = 2


def keep_gallery(folder: Path, evidence: Evidence) -> None:
    """Store samples of each verdict, spread over the classes, and the witnesses of the broken ones.

    Only of pictures and vectors; of each class those with the smallest keys.
    """
    first = evidence.data.first
    picture = is_picture(first)
    if not picture and not (isinstance(first, Tensor) and first.ndim == 2 and first.is_floating_point()):
        return
    if picture and evidence.model.box is None:
        return
    places = chosen(evidence.verdicts, first[0].numel() * first.element_size())
    numbers = np.concatenate([np.full(len(found), code) for code, found in enumerate(places)])
    if len(numbers) == 0:
        return
    every, broken = torch.from_numpy(np.concatenate(places)), torch.from_numpy(places[0])
    x, y = evidence.samples(every)
    tables: dict[str, Any] = {
        "clean": x,
        "label": y.cpu(),
        "index": evidence.data.index[every],
        "verdict": torch.from_numpy(numbers),
    }
    keys = content_keys(x, y).to(evidence.model.device)
    if not _heard(evidence, "clean", x, keys, tables):
        return
    if len(broken):
        near, adversarial = x[: len(broken)], evidence.witnesses(broken)
        tables["adversarial"] = adversarial
        if not _heard(evidence, "adversarial", adversarial, keys[: len(broken)], tables):
            return
        region = around(evidence.threat, broken, near, evidence.model.box)
        tables["size"] = region.size(evidence.points(region, broken, adversarial)).cpu()
    write_tensors(folder / "gallery.safetensors", tables)


def _heard(evidence: Evidence, name: str, inputs: Any, keys: Tensor, tables: dict[str, Any]) -> bool:
    """Note what the model says of the inputs; False where it names no classes."""
    said = answers(evidence.model, inputs, Rng.of(evidence.seed, keys), evidence.rows)
    if said is not None:
        tables[f"{name}_answer"], tables[f"{name}_confidence"] = said
    return said is not None


def chosen(verdicts: Verdicts, weight: int) -> list[np.ndarray[Any, Any]]:
    """The places of the samples to keep, verdict by verdict in ORDER; each sample takes `weight` bytes.

    The classes take turns, each with its smallest keys first, so that rare ones are there; then they stand class by class.
    """
    most = dict(MOST)
    most["broken"] = max(most["broken"], min(WIDEST, len(np.unique(verdicts.label))))
    share = BYTES / max(1, weight * (sum(most.values()) + most["broken"]))  # a broken one is kept twice
    found = []
    for verdict in ORDER:
        places = np.flatnonzero(verdicts.verdict == verdict)
        places = places[np.argsort(verdicts.digest[places], kind="stable")]
        labels = verdicts.label[places]
        by_turns = np.lexsort((np.arange(len(places)), turns(labels)))
        kept = by_turns[: max(LEAST, int(most[verdict] * min(1.0, share)))]
        found.append(places[kept[np.lexsort((kept, labels[kept]))]])
    return found


def pictures(folder: Path, facts: dict[str, Any]) -> list[Picture]:
    """The gallery of a run folder as the report shows it: pictures in [0, 1], vectors in the model's own units."""
    path = folder / "gallery.safetensors"
    if not path.exists():
        return []
    tables, _ = read_tensors(path)
    names, (low, high) = facts["data"]["classes"], facts["model"]["range"] or (0.0, 1.0)
    named = lambda label: names[int(label)] if int(label) < len(names) else str(int(label))
    shown = lambda x: x.float() if x.ndim == 1 else ((x.float() - low) / (high - low)).clamp(0, 1)
    witnessed = len(tables.get("adversarial", ()))
    codes = tables.get("verdict", torch.zeros(witnessed, dtype=torch.int64))  # earlier runs kept broken ones alone
    return [
        Picture(
            index=int(tables["index"][i]), label=named(tables["label"][i]), clean_answer=named(tables["clean_answer"][i]),
            adversarial_answer=named(tables["adversarial_answer"][i]) if i < witnessed else "",
            clean_confidence=float(tables["clean_confidence"][i]),
            adversarial_confidence=float(tables["adversarial_confidence"][i]) if i < witnessed else float("nan"),
            verdict=ORDER[int(codes[i])], size=float(tables["size"][i]) if i < witnessed else 0.0,
            clean=shown(tables["clean"][i]), adversarial=shown(tables["adversarial"][i]) if i < witnessed else None,
        )
        for i in range(len(tables["index"]))
    ]  # fmt: skip


def witness_reader(folder: RunFolder, verdicts: Verdicts) -> Any:
    """From a sample's place to a table of its witness ("adversarial", "points"); the part that was read last is kept."""
    from ironbound.core import rows

    parts = [(number, folder.witnessed(number)) for number in folder.finished()]
    index = np.concatenate([mine for _, mine in parts])
    part = np.concatenate([np.full(len(mine), number) for number, mine in parts])
    row = np.concatenate([np.arange(len(mine)) for _, mine in parts])
    order = np.argsort(index, kind="stable")
    last: dict[int, Any] = {}

    def witness(place: int, table: str = "adversarial") -> Any:
        wanted = int(verdicts.index[place])
        found = np.searchsorted(index, wanted, "right", sorter=order) - 1  # the later one, of two
        if found < 0 or index[order[found]] != wanted:
            raise RunError(f"{folder.path} has no witness of sample {wanted}, which it says is broken.")
        number = int(part[order[found]])
        if number not in last:
            last.clear()
            last[number] = folder.witnesses(number)
        return rows.take(last[number].get(table), torch.tensor([int(row[order[found]])]))

    return witness
