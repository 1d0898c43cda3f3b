"""The pictures of a report: a few clean inputs with their witnesses, kept in the run folder so that it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.inside import around
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.errors import RunError
from ironbound.core.rng import Rng, content_keys
from ironbound.core.store import read_tensors, write_tensors
from ironbound.showing.images import Picture, is_picture
from ironbound.showing.seen import answers

MOST = 24


def keep_gallery(folder: Path, evidence: Evidence) -> None:
    """Store broken samples (those with the smallest keys) and their witnesses, where they are pictures."""
    places = evidence.verdicts.places("broken", most=MOST)
    if not is_picture(evidence.data.first) or len(places) == 0 or evidence.model.box is None:
        return
    x, y = evidence.samples(places)
    adversarial = evidence.witnesses(places)
    tables: dict[str, Any] = {
        "clean": x,
        "adversarial": adversarial,
        "label": y.cpu(),
        "index": evidence.data.index[places],
    }
    for name, inputs in (("clean", x), ("adversarial", adversarial)):
        keys = content_keys(x, y).to(evidence.model.device)
        said = answers(evidence.model, inputs, Rng.of(evidence.seed, keys), evidence.rows)
        if said is None:
            return
        tables[f"{name}_answer"], tables[f"{name}_confidence"] = said
    region = around(evidence.threat, places, x, evidence.model.box)
    tables["size"] = region.size(evidence.points(region, places, adversarial)).cpu()
    write_tensors(folder / "gallery.safetensors", tables)


def pictures(folder: Path, facts: dict[str, Any]) -> list[Picture]:
    """The gallery of a run folder as the report shows it, in [0, 1]."""
    path = folder / "gallery.safetensors"
    if not path.exists():
        return []
    tables, _ = read_tensors(path)
    names, (low, high) = facts["data"]["classes"], facts["model"]["range"] or (0.0, 1.0)
    named = lambda label: names[int(label)] if int(label) < len(names) else str(int(label))
    shown = lambda image: ((image.float() - low) / (high - low)).clamp(0, 1)
    return [
        Picture(
            index=int(tables["index"][i]), label=named(tables["label"][i]), clean_answer=named(tables["clean_answer"][i]),
            adversarial_answer=named(tables["adversarial_answer"][i]), clean_confidence=float(tables["clean_confidence"][i]),
            adversarial_confidence=float(tables["adversarial_confidence"][i]), verdict="broken", size=float(tables["size"][i]),
            clean=shown(tables["clean"][i]), adversarial=shown(tables["adversarial"][i]),
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
