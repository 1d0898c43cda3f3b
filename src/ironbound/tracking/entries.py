"""What there is to log of a run, told alike for every tracker: figures, curves, settings, words and files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ironbound.auditing.gate.reading import reading
from ironbound.auditing.report import wording
from ironbound.core.text import shown
from ironbound.hardening.record import RECORD, history_of, read_record

SHARES = ("clean", "attacked", "certified")
COSTS = ("forward", "backward", "bounding", "seconds", "cpu")


@dataclass(frozen=True)
class Entries:
    """A run as trackers take it. Every figure stands beside its threat, its samples and the state of its checks."""

    name: str
    sentence: str
    """What was found, with threat, samples, interval and the state of the checks."""
    params: dict[str, str]
    """What the run was made with."""
    tags: dict[str, str]
    """What is said of it."""
    metrics: dict[str, float]
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Of each name, steps from 0 or 1 with their values."""
    files: list[tuple[Path, str]] = field(default_factory=list)
    """Files to keep with it, each with the folder among the artifacts where it goes."""


def entries_of(place: str | Path) -> Entries:
    """What there is to log of an audit's folder, or of a hardening's.

    Raises RunError where it is not finished, a shard, or was altered since.
    """
    path = Path(place).expanduser()
    return _of_hardening(path) if (path / RECORD).exists() else _of_audit(path)


def _of_audit(path: Path) -> Entries:
    read = reading(path)
    facts, name = read.facts, read.path.resolve().name
    return Entries(
        name=name,
        sentence=wording.sentence(facts),
        params=_params(facts),
        tags={"kind": "audit", **_tags(facts)},
        metrics=finite(_metrics(facts)),
        series={key: steps for key, steps in _curve(facts).items() if steps},
        files=[(read.path / "audit.json", ""), (read.path / "report.html", "")],
    )


def _of_hardening(path: Path) -> Entries:
    record = read_record(path)
    audits: dict[str, Any] = {name: reading(path / name).facts for name in ("before", "after") if record[name]}
    met, took = record["trained_on"], record["took"]
    params = {
        "method": record["method"], "trained on": met["data"]["name"], "trained on.rows": met["data"]["rows"],
        "trained on.threat": met["threat"]["spec"], "device": record["device"], "processes": record["processes"],
        **{f"training.{key}": value for key, value in record["training"].items() if key},
    }  # fmt: skip
    metrics: dict[str, Any] = {f"took/{name}": took[name] for name in ("epochs", "seconds", "cpu", "rows")}
    tags = {"kind": "hardening"}
    files = [(path / RECORD, ""), (path / "report.html", ""), (path / "training" / "history.parquet", "training")]
    sentence = "Not audited: no figure of this training is evidence of robustness."
    for name, facts in audits.items():
        params |= {f"{name}.{key}": value for key, value in _params(facts).items()}
        metrics |= {f"{name}/{key}": value for key, value in _metrics(facts).items()}
        tags |= {f"{name}.{key}": value for key, value in _tags(facts).items()}
        files += [(path / name / file, name) for file in ("audit.json", "report.html")]
    if audits:
        sentence = wording.comparison(list(audits.items()))
    return Entries(
        name=path.resolve().name,
        sentence=sentence,
        params={key: shown(value) for key, value in params.items()},
        tags=tags,
        metrics=finite(metrics),
        series=_epochs(history_of(path)),
        files=files,
    )


def _params(facts: Any) -> dict[str, str]:
    """What an audit was made with."""
    model, data, threat = facts["model"], facts["data"], facts["threat"]
    values = {
        "model": model["name"], "model.parameters": model["parameters"], "model.range": model["range"],
        "data": data["name"], "data.rows": data["rows"], "data.samples": data["samples"],
        "threat": threat["spec"], "threat.norm": threat["norm"], "threat.radius": threat["radius"],
        "plan": facts["plan"]["name"], "plan.stages": ", ".join(facts["plan"]["stages"]), "seed": facts["seed"],
        "ironbound": facts["ironbound"],
        **{f"fingerprint.{name}": value for name, value in facts["fingerprints"].items()},
        **{f"environment.{name}": value for name, value in facts["environment"].items()},
    }  # fmt: skip
    return {name: shown(value) for name, value in values.items()}


def _tags(facts: Any) -> dict[str, str]:
    """What is said of an audit as a whole: how far it can be believed."""
    named = lambda result: ", ".join(c["name"] for c in facts["checks"] if c["result"] == result)
    tags = {
        "grade": facts["confidence"]["grade"], "checks": wording.checks_state(facts), "created": facts["created"],
        "checks.failed": named("fail"), "checks.could not tell": named("cannot tell"),
        "attacked is": "attacked so far" if wording.doubted(facts) else "an upper bound of the true robust accuracy",
    }  # fmt: skip
    return {name: shown(value) for name, value in tags.items() if value}


def _metrics(facts: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"samples": facts["attacked"]["total"]}
    for kind in SHARES:
        share = facts[kind]
        found |= {f"{kind}/accuracy": share["fraction"], f"{kind}/low": share["low"], f"{kind}/high": share["high"]}
    found |= {f"verdicts/{name}": count for name, count in facts["verdicts"].items()}
    found |= {f"cost/{name}": facts["cost"].get(name) for name in COSTS}
    found |= {f"cost/checks/{name}": value for name, value in facts["cost"].get("checks", {}).items()}
    for stage in facts["stages"]:
        found |= {f"stages/{stage['name']}/{name}": stage.get(name) for name in ("entered", "decided", *COSTS)}
    for result in ("pass", "fail", "cannot tell"):
        found[f"checks/{result}"] = sum(check["result"] == result for check in facts["checks"])
    return found


def _curve(facts: Any) -> dict[str, list[tuple[int, float]]]:
    """Robust accuracy against radius: a step a radius, which is a series of its own, since steps are whole numbers."""
    curve = facts.get("curve") or {}
    if "radii" not in curve:
        return {}
    found = {"curve/radius": list(enumerate(curve["radii"]))}
    for kind in ("attacked", "certified"):
        for end, name in (("fraction", "accuracy"), ("low", "low"), ("high", "high")):
            found[f"curve/{kind}/{name}"] = [(step, share[end]) for step, share in enumerate(curve[kind])]
    return found


def _epochs(history: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """The history of a training: a step an epoch, counted from 1; what was not measured is left out."""
    names = dict.fromkeys(name for row in history for name in row if name != "epoch")
    found = {
        f"training/{name}": [(int(row["epoch"]), float(row[name])) for row in history if _number(row.get(name))]
        for name in names
    }
    return {name: steps for name, steps in found.items() if steps}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def finite(metrics: dict[str, Any]) -> dict[str, float]:
    """Those that are numbers."""
    return {name: float(value) for name, value in metrics.items() if _number(value)}
