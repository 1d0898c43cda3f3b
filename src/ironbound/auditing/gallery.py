"""The pictures of a report: a few clean inputs with their witnesses, kept in the run folder so that it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.inside import around
from ironbound.auditing.report.pictures import Picture
from ironbound.core.predict import predict
from ironbound.core.rng import Rng, content_keys
from ironbound.core.store import read_tensors, write_tensors

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
        out = predict(evidence.model, inputs, Rng.of(evidence.seed, keys), rows=evidence.rows)
        decided = not out.is_floating_point()
        confidence, answer = (torch.ones(len(out)), out) if decided else out.double().softmax(1).max(1)
        tables[f"{name}_answer"], tables[f"{name}_confidence"] = answer.cpu(), confidence.cpu()
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


def is_picture(x: Any) -> bool:
    """Whether rows are pictures: (channels, height, width) with one, three or four channels."""
    return isinstance(x, Tensor) and x.ndim == 4 and x.shape[1] in (1, 3, 4)
