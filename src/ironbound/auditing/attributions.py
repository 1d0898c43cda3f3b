"""What a run keeps of why its witnesses fool the model: attributions of a few clean inputs and of their witnesses.

One number is explained at both: the logit of the true class less that of the class that the witness is taken for. It is above
0 at the clean input and below at the witness, and the same function at both, so that the two maps can be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.prices import counted, spent
from ironbound.core.errors import IronboundError, ModelError, RunError, UsageError
from ironbound.core.predict import predict
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng, content_keys
from ironbound.core.store import explained, read_tensors, write_tensors
from ironbound.explaining import Attribution, attribute, cosine, known_method, rank_correlation
from ironbound.explaining.attribution import METHODS, STEPS
from ironbound.showing.attributions import Attributed, Map
from ironbound.showing.images import is_picture

FILE = "attributions.safetensors"
MOST, LEAST = 8, 2
"""Samples: as many as `SHARE` of what the verdicts cost pays for, between these."""
SHARE = 0.05
KEPT = ("clean", "adversarial")

REASONS = {
    "none": "No attack broke a sample, so that there is no witness to set beside its clean input.",
    "kind": "Attributions are drawn of pictures and of vectors of numbers, and these inputs are neither.",
    "model": "Attributions need one function that answers with logits and has gradients; this model draws, or answers otherwise.",
}
"""Why there are none."""


def wanted_methods(methods: str | Sequence[str] | None) -> tuple[str, ...]:
    """The attributions that an audit makes, by name: None the usual ones, "none" (or nothing) none.

    Raises UnknownName for what there is not, UsageError where Captum is named and missing.
    """
    if methods is None:
        return METHODS
    names = methods.split(",") if isinstance(methods, str) else list(methods)
    named = [str(name).strip() for name in names if str(name).strip()]
    if "none" in named and len(named) > 1:
        raise UsageError(f"attributions are 'none', or names of methods; got {', '.join(named)}.")
    return () if named in ([], ["none"]) else tuple(dict.fromkeys(known_method(name) for name in named))


def attributions_of(folder: Path, evidence: Evidence, methods: Sequence[str]) -> dict[str, Any] | None:
    """What the report says of attributions, which are made and stored now; to be called under the lock, unsealed.

    They decide nothing: one that fails is a sentence in the report.
    """
    remove(folder)
    if not methods:
        return None
    why = _reason(evidence)
    if why:
        return {"left_out": why}
    try:
        tables, facts = _made(evidence, methods)
    except Exception as error:  # the user's own module runs here
        said = str(error) if isinstance(error, IronboundError) else f"{type(error).__name__}: {error}"
        return {"left_out": f"They could not be made: {' '.join(said.split())[:300]}"}
    write_tensors(folder / FILE, tables, {"features": json.dumps(_features(evidence))})
    return {**facts, **_measured(tables, facts["methods"])}


def remove(folder: Path) -> None:
    """Take away what an earlier finish left."""
    try:
        (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(explained(folder / FILE, error)) from error


def _reason(evidence: Evidence) -> str:
    """Why there can be none; "" where there can."""
    model, first = evidence.model, evidence.data.first
    vector = isinstance(first, Tensor) and first.ndim == 2 and first.is_floating_point()
    if not is_picture(first) and not vector:
        return REASONS["kind"]
    if model.random or model.outputs in ("decisions", "anything") or Can.GRADIENT not in model.gives:
        return REASONS["model"]
    return "" if evidence.verdicts.count("broken") else REASONS["none"]


def _samples(evidence: Evidence, methods: Sequence[str]) -> Tensor:
    """The broken samples that are looked at: those with the smallest keys, as in the gallery."""
    price = sum(2 * (counted(1, 1) if name == "gradient" else counted(STEPS + 2, STEPS)) for name in methods)
    paid = int(SHARE * spent(evidence.verdicts.costs) // price)
    return evidence.verdicts.places("broken", most=min(MOST, max(LEAST, paid)))


def _made(evidence: Evidence, methods: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables to store, and what was run for them."""
    model, places = evidence.model, _samples(evidence, methods)
    x, y = evidence.samples(places)
    adversarial = evidence.witnesses(places)
    n, both = len(y), torch.cat([x, adversarial])
    out = predict(
        model, adversarial, Rng.of(evidence.seed, content_keys(adversarial, None).to(model.device)), rows=evidence.rows
    )
    rival = out.scatter(1, y[:, None], -math.inf).argmax(1)  # kernels may round to a tie with the label here
    tables: dict[str, Any] = {
        "index": evidence.data.index[places], "label": y.cpu(), "rival": rival.cpu(), "clean": x, "adversarial": adversarial,
    }  # fmt: skip
    forward, backward, gaps = n, 0, []
    for name in methods:
        found = attribute(model, both, y.repeat(2), against=rival.repeat(2), method=name, rows=evidence.rows)
        tables[name] = {"clean": found.values[:n], "adversarial": found.values[n:]}
        tables["score"] = {"clean": found.score[:n].double(), "adversarial": found.score[n:].double()}
        forward, backward = forward + found.forward, backward + found.backward
        if not bool(torch.isfinite(found.values).all() and torch.isfinite(found.score).all()):
            raise ModelError(f"{name} is not finite there.")
        gaps += missing_shares(found) if name == "integrated" else []
    low = 0.0 if model.box is None else model.box[0]
    facts: dict[str, Any] = {
        "methods": list(methods), "samples": n, "baseline": low, "forward": forward, "backward": backward,
    }  # fmt: skip
    return tables, facts | ({"steps": STEPS, "gap": max(gaps)} if gaps else {})


def missing_shares(found: Attribution) -> list[float]:
    """Of each input the gap of completeness, as a share of its values' magnitudes, or of the sum that is due if that is more.

    1 where gradients are masked, so that all values are 0 and the score changes all the same.
    """
    if found.gap is None or found.baseline_score is None:
        return []
    due = (found.score.double() - found.baseline_score.double()).abs()
    size = torch.maximum(found.values.flatten(1).double().abs().sum(1), due)
    return torch.where(size > 0, found.gap.abs() / size, 0.0).tolist()


def _features(evidence: Evidence) -> list[str]:
    """The names of the columns that make a vector, where the run knows them."""
    source = ((evidence.manifest or {}).get("origin") or {}).get("data") or {}
    named = source.get("input") if isinstance(source, dict) else None
    width = evidence.data.first.shape[1]
    return [str(name) for name in named] if isinstance(named, (list, tuple)) and len(named) == width else []


def _measured(tables: dict[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """How alike the attributions of the clean inputs and of their witnesses are: medians over the samples."""
    alike = {}
    for name in methods:
        pair = tables[name]["clean"], tables[name]["adversarial"]
        alike[name] = {"cosine": _median(cosine(*pair)), "rank": _median(rank_correlation(*pair))}
    return {"alike": alike}


def _median(values: Tensor) -> float | None:
    known = values[~values.isnan()]
    return float(known.quantile(0.5)) if len(known) else None


def contradicted(folder: Path, facts: dict[str, Any], broken: set[int]) -> list[str]:
    """What audit.json says of attributions and the stored ones do not. `broken`: the row numbers of the broken samples."""
    said = facts.get("attributions")
    there = (folder / FILE).exists()
    if not isinstance(said, dict) or "methods" not in said:
        return [f"{FILE} is there, and audit.json says otherwise"] if there else []
    if not there:
        return [f"{FILE} is missing, and audit.json says otherwise"]
    tables, _ = read_tensors(folder / FILE)
    if not {"index", "label", "rival", "score", *KEPT, *said["methods"]} <= set(tables):
        return [f"{FILE} does not hold what audit.json says"]
    again = _measured(tables, said["methods"])["alike"]
    numbers = tables["index"].tolist()
    alike = all(_close(again[name][key], said["alike"][name][key]) for name in again for key in ("cosine", "rank"))
    if not alike or len(numbers) != said["samples"] or not set(numbers) <= broken:
        return ["audit.json: 'attributions' does not follow from the stored ones"]
    return []


def _close(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def attributed(folder: Path, facts: dict[str, Any]) -> list[Attributed]:
    """The stored attributions of a run, as the report shows them; none of a run that made none."""
    said = facts.get("attributions") or {}
    if "methods" not in said or not (folder / FILE).exists():
        return []
    tables, notes = read_tensors(folder / FILE)
    names, limits = facts["data"]["classes"], facts["model"]["range"]
    named = lambda label: names[int(label)] if int(label) < len(names) else str(int(label))
    pairs = {name: (tables[name]["clean"], tables[name]["adversarial"]) for name in said["methods"]}
    alike = {name: (cosine(*pair).tolist(), rank_correlation(*pair).tolist()) for name, pair in pairs.items()}
    low, high = limits or (float(tables["clean"].min()), float(tables["clean"].max()))
    drawn = tables["clean"].ndim == 4
    shown = lambda rows: ((rows.float() - low) / ((high - low) or 1.0)).clamp(0, 1) if drawn else rows
    clean, adversarial = (shown(tables[name]) for name in KEPT)
    return [
        Attributed(
            index=int(tables["index"][i]), label=named(tables["label"][i]), rival=named(tables["rival"][i]),
            clean=clean[i], adversarial=adversarial[i],
            scores=(float(tables["score"]["clean"][i]), float(tables["score"]["adversarial"][i])),
            maps=tuple(Map(name, a[i], b[i], alike[name][0][i], alike[name][1][i]) for name, (a, b) in pairs.items()),
            features=tuple(json.loads(notes.get("features", "[]"))),
        )
        for i in range(len(tables["index"]))
    ]  # fmt: skip
