"""Trainings that make models robust, each measured by the audit: one line a method, the same net and images for all.

`python benchmarks/run.py harden --page docs/numbers.md`; `--only pgd` for some lines, `--shown` for what is kept. A line is
a row of ROWS. Its net is trained (a training that was stopped goes on), audited, and kept as JSON and safetensors in the
cache; what is kept is used as long as the row says the same.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import harden_page
import torch
from cases import Chosen
from nets import DATA, NETS, cache, slug
from pages import into
from safetensors.torch import load_file, save_file
from timing import machine
from torch import nn

import ironbound as ib
from ironbound.auditing.audit import Audit
from ironbound.auditing.intervals import Share
from ironbound.core.progress import Event
from ironbound.core.rng import forked
from ironbound.data import load
from ironbound.defenses.train import train, training_named
from ironbound.names import set_of


@dataclass(frozen=True)
class Row:
    """One method with its settings; `training_named` knows the names."""

    net: str
    """Of nets.NETS."""
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    threat: str = "linf:0.3"
    data: str = "mnist"
    fit: int | None = None
    """Images it is trained on, drawn with seed 0; None is all of them."""
    images: int = 1000
    """Images that are audited, of the test file, drawn with seed 0. Clean accuracy and bounds are of the whole file."""
    bounds: tuple[str, ...] = ()
    """Threats at which interval bounds are counted."""
    seeds: tuple[int, ...] = (0,)
    """Of the first weights and of all draws of the training."""


PGD = {"epochs": 8, "batch": 128, "schedule": "cyclic", "steps": 5, "cheap": True, "rise": 1.0}
PLAIN = {"epochs": 4, "batch": 128}
PART = {**PGD, "epochs": 20, "rise": 5.0}
"""On a tenth of the images, `part` of them: as many batches as in two epochs of all."""
STEP = {name: value for name, value in PART.items() if name != "steps"}
IBP = {"epochs": 12, "batch": 128}
CIFAR = {"epochs": 12, "batch": 64, "rate": 5e-3, "schedule": "cyclic", "transform": "flip+crop", "rise": 2.0}
STEPPED = {**CIFAR, "cheap": True}


def _cifar(method: str, settings: dict[str, Any]) -> Row:
    return Row("resnet", method, settings, "linf:8/255", "cifar10", fit=6000, images=500, seeds=(0, 1, 2))


ROWS: dict[str, Row] = {
    "mnist standard": Row("strided", "standard", PLAIN),
    "mnist noise": Row("strided", "noise", PLAIN),
    "mnist defensive-distillation": Row("strided", "defensive-distillation", PLAIN),
    "mnist pgd": Row("strided", "pgd", PGD),
    "mnist ibp": Row(
        "cnn_a, batch norm", "ibp", {**IBP, "warmup": 0.5, "ramp": 6.0}, bounds=("linf:0.3", "linf:0.1")
    ),
    "mnist kappa 0": Row("cnn_a, batch norm", "ibp", {**IBP, "kappa_end": 0.0}, bounds=("linf:0.3", "linf:0.1")),
    "mnist part pgd": Row("strided", "pgd", PART, fit=6_000, images=300),
    "mnist part trades": Row("strided", "trades", PART, fit=6_000, images=300),
    "mnist part mart": Row("strided", "mart", PART, fit=6_000, images=300),
    "mnist part awp": Row("strided", "awp", PART, fit=6_000, images=300),
    "mnist part fgsm-rs": Row("strided", "fgsm-rs", STEP, fit=6_000, images=300),
    "mnist part fgsm-rs, not watched": Row("strided", "fgsm-rs", {**STEP, "recover": False}, fit=6_000, images=300),
    "cifar standard": _cifar("standard", {k: v for k, v in CIFAR.items() if k != "rise"}),
    "cifar fgsm-rs": _cifar("fgsm-rs", STEPPED),
    "cifar n-fgsm": _cifar("n-fgsm", STEPPED),
    "cifar pgd": _cifar("pgd", STEPPED),
    "cifar trades": _cifar("trades", STEPPED),
    "cifar mart": _cifar("mart", STEPPED),
    "cifar awp": _cifar("awp", STEPPED),
}  # fmt: skip
"""By the name of the line; a new line is a new entry."""


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """What is kept of all chosen rows; prints the tables and, where asked, writes them into a page after each line."""
    lines: list[dict[str, Any]] = []
    for name in filter(chosen.keeps, ROWS):
        found = [one for seed in ROWS[name].seeds if (one := _one(name, seed, chosen.shown)) is not None]
        if not found:
            print(f"{name}: nothing is kept; run without --shown", flush=True)
            continue
        lines.append({"name": name, "row": _plain(ROWS[name]), "seeds": found})
        if chosen.page is not None:
            into(chosen.page, "harden", harden_page.page(lines))
    if lines:
        print("\n" + harden_page.page(lines))
    return lines


def _plain(row: Row) -> dict[str, Any]:
    """The row as JSON data."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(row)))
    return plain


def _one(name: str, seed: int, shown: bool) -> dict[str, Any] | None:
    """What one training came to: kept, or made now."""
    row, path = ROWS[name], cache() / f"harden_{slug(name)}_{seed}.json"
    kept = json.loads(path.read_text()) if path.exists() else None
    if kept is not None and _same(kept["row"], row):
        return kept
    if shown:
        return None
    net, training = _trained(name, row, seed)
    found = {"row": _plain(row), "seed": seed, "training": training, "machine": machine()}
    found |= _measured(f"{name} {seed}", row, net)
    path.write_text(json.dumps(found, indent=1))
    print(harden_page.told(name, found), flush=True)
    return found


def _same(kept: dict[str, Any], row: Row) -> bool:
    """Whether it was made as the row says; which other seeds there are changes nothing of one."""
    return {**kept, "seeds": None} == {**_plain(row), "seeds": None}


def _trained(name: str, row: Row, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """The net in evaluation mode, and what its training cost: from the cache where it was made as the row says."""
    path = cache() / f"harden_{slug(name)}_{seed}.safetensors"
    notes = path.with_suffix(".train.json")
    with forked(seed):
        net = NETS[row.net]()
    fitted = {key: value for key, value in _plain(row).items() if key not in ("images", "bounds", "seeds")}
    if path.exists() and notes.exists() and (facts := json.loads(notes.read_text()))["row"] == fitted:
        net.load_state_dict(load_file(path))
        return net.eval().requires_grad_(False), facts
    folder = _folder(path.with_suffix(""), fitted)
    data = load(str(DATA / row.data / "train.parquet"), samples=row.fit)
    training = training_named(row.method, seed=seed, **row.settings)
    clock = _Clock(name, folder / "cpu.json")
    threat = set_of(row.threat)
    found = train(ib.Model(net), data, threat, training, folder=folder / "steps", resume=True, progress=clock)
    facts = {"row": fitted, "cpu": clock.spent(), "history": found.history, "rows": len(data.y),
             "weights": sum(p.numel() for p in net.parameters()), "repr": repr(training)}  # fmt: skip
    save_file({k: v.contiguous() for k, v in found.model.net.state_dict().items()}, path)
    notes.write_text(json.dumps(facts, indent=1))
    shutil.rmtree(folder)
    return found.model.net.eval().requires_grad_(False), facts


def _folder(path: Path, fitted: dict[str, Any]) -> Path:
    """A folder for checkpoints; empty where what is in it is of another row."""
    mark = path / "row.json"
    if path.exists() and not (mark.exists() and json.loads(mark.read_text()) == fitted):
        shutil.rmtree(path)
    path.mkdir(exist_ok=True)
    mark.write_text(json.dumps(fitted))
    return path


class _Clock:
    """CPU seconds of a training, over all processes that it took, and a line of progress now and then."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.before = json.loads(path.read_text()) if path.exists() else 0.0
        self.start = self.last = time.process_time()

    def spent(self) -> float:
        return float(self.before + time.process_time() - self.start)

    def __call__(self, event: Event) -> None:
        if time.process_time() - self.last > 20:
            self.last = time.process_time()
            self.path.write_text(json.dumps(self.spent()))
            print(f"{self.name}: {event.stage} {event.done}/{event.total}, {event.note}", flush=True)


def _measured(name: str, row: Row, net: nn.Module) -> dict[str, Any]:
    """Clean accuracy and bounds on the whole test file, the audit on some of it."""
    whole = load(str(DATA / row.data / "test.parquet"), samples=None)
    with torch.no_grad():
        right = torch.cat([net(part).argmax(1) for part in whole.x.split(1000)]) == whole.y
    bounds = {}
    for threat in row.bounds:
        proved = torch.cat([
            ib.certify(net, x, y, threat=threat, method="ibp", radii=False).certified
            for x, y in zip(whole.x.split(1000), whole.y.split(1000), strict=True)
        ])  # fmt: skip
        bounds[threat] = Share.of(int(proved.sum()), len(proved)).as_dict()
    some, start = load(str(DATA / row.data / "test.parquet"), samples=row.images), time.process_time()
    out = cache() / "audits" / f"harden_{slug(name)}"
    shutil.rmtree(out, ignore_errors=True)
    found: Audit = ib.audit(net, (some.x, some.y), threat=row.threat, method="standard", out=out)
    kept = {key: found.facts[key] for key in ("clean", "attacked", "certified", "bracket", "notes")}
    checks = [{key: one.get(key) for key in ("number", "name", "result", "severity")} for one in found.checks]
    return {
        "clean": Share.of(int(right.sum()), len(right)).as_dict(), "bounds": bounds,
        "audit": {**kept, "grade": found.facts["confidence"]["grade"], "checks": checks},
        "audit cpu": time.process_time() - start,
    }  # fmt: skip
