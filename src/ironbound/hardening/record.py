"""What a hardening leaves beside its audits, in harden.json: how the model was trained, on what, and what that took."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import HARDENED
from ironbound.auditing.manifest import environment, threat_facts
from ironbound.auditing.report.hardening import render_hardening
from ironbound.core.attack import Attack
from ironbound.core.describe import described, fingerprint
from ironbound.core.errors import RunError
from ironbound.core.rank import Rank
from ironbound.core.store import read_json, read_tensors, write_json, write_text
from ironbound.core.version import __version__
from ironbound.data.dataset import Data
from ironbound.defenses.train.checkpoint import STATE
from ironbound.defenses.train.training import Training
from ironbound.models.model import Model

RECORD, WEIGHTS = HARDENED, "model.safetensors"
SCHEMA = 1
"""Counted up where what stands in the record changes its form."""
CLIMBS = "gradient steps"
"""What an inner attack does that is not said to be another: it steps along the gradient of its loss."""


def write_record(
    folder: Path, model: Model, fit: Data, test: Data, threat: Any, training: Training, history: Sequence[dict[str, Any]],
    **audits: Any,
) -> None:  # fmt: skip
    """Write harden.json, the last file of a hardening: its presence says that the training and its audits are finished.

    audits: "before" and "after", each an Audit, or None where there was none.
    """
    attacks = inner_attacks(training, history)
    met = bool(attacks) or any(_number(row.get("eps")) for row in history)  # plain training never looks at the threat
    parts = (getattr(threat, "parts", None) or (threat,)) if met else ()
    record = {
        "schema": SCHEMA,
        "ironbound": __version__,
        "method": training.label,
        "training": described(training),
        "trained_on": {
            "attacks": attacks,
            "norms": [getattr(part, "norm", type(part).__name__) for part in parts],
            "threat": {**threat_facts(threat, model.box), "fingerprint": fingerprint(threat)},
            "data": {"name": fit.name, "rows": len(fit)},
        },
        "took": {**spent(history), "rows": rows_run(folder / "training")},
        "measured_on": {"name": test.name, "rows": len(test)},
        "device": str(model.device),
        "processes": Rank.of().world,
        "environment": environment(),
        **{name: None if audit is None else name for name, audit in audits.items()},
        "weights": WEIGHTS,
    }
    write_json(folder / RECORD, record)


def read_record(folder: Path) -> dict[str, Any]:
    """What a finished hardening left. Raises RunError where there is none, or one of another version."""
    if not (folder / RECORD).exists() and (folder / "training").is_dir():
        raise RunError(f"{folder} holds a hardening that is not finished ({RECORD} is missing): go on by --resume.")
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise RunError(f"{folder / RECORD} is not what a hardening of this version wrote.")
    return record


def write_page(folder: Path) -> None:
    """Write report.html of a finished hardening, from its folder alone. Raises what `read_record` and `Audit.load` raise."""
    record = read_record(folder)
    audits: dict[str, Any] = {name: Audit.load(folder / name).facts for name in ("before", "after") if record[name]}
    at = _position(folder)
    data = record["trained_on"]["data"]
    text = render_hardening(
        record["method"], audits, at["history"],
        best=at["best"], stopped=at["stopped"], recoveries=at["recoveries"], settings=record["training"],
        data=f"trained on {data['rows']:,} rows of {data['name']}",
    )  # fmt: skip
    write_text(folder / "report.html", text)


def history_of(folder: Path) -> list[dict[str, Any]]:
    """The history of a finished hardening, a row an epoch."""
    return list(_position(folder)["history"])


def _position(folder: Path) -> dict[str, Any]:
    """What the checkpoint says of the way of the training."""
    _, notes = read_tensors(folder / "training" / STATE, only="")
    return dict(json.loads(notes["position"]))


def spent(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a training took, from its history: epochs, and seconds by the clock and, where it is known, of the processor.

    Seconds are those of its updates, interruptions left out.
    """
    total = lambda name: sum(row[name] for row in history) if history and all(name in row for row in history) else None
    return {"epochs": len(history), "seconds": total("seconds") or 0.0, "cpu": total("cpu")}


def rows_run(training: Path) -> int | None:
    """The model rows that a training took, as its checkpoint counts them; None where there is none."""
    if not (training / STATE).exists():
        return None
    _, notes = read_tensors(training / STATE, only="")
    return int(json.loads(notes["position"])["rows"])


def inner_attacks(training: Any, history: Sequence[dict[str, Any]]) -> list[str]:
    """The kinds of attack that a training meets, as comparing/kinds.py tells them apart; none of one that meets none.

    Of an attack of the engine the name of its search. Of others what the history says: who reports accuracy under an inner
    attack has one, and it steps along gradients.
    """
    composed = sorted({type(attack.search).__name__ for attack in _attacks_in(training)})
    met = any(_number(row.get("attacked_accuracy")) for row in history)
    return composed or ([CLIMBS] if met else [])


def _attacks_in(part: Any) -> list[Attack]:
    """The attacks of the engine among the parts of a training."""
    if isinstance(part, Attack):
        return [part]
    if not is_dataclass(part) or isinstance(part, type):
        return []
    return [attack for field in fields(part) for attack in _attacks_in(getattr(part, field.name))]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
