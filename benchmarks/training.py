"""The cost of adversarial training in epochs of standard float32 training, beside ART's trainer and the passes alone.

`python benchmarks/run.py training --page benchmarks/README.md`; `--only mnist` or `--only resnet` for one net,
`--only robust` for the robust accuracy of float32 and bfloat16 training alone.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from cases import Chosen
from nets import DATA
from pages import into
from timing import alternated, machine, ratio
from training_loops import MOMENTUM, RATE, Floor, Kind, Task, art, art_is_there, counted, standard

import ironbound as ib
from ironbound.auditing.intervals import clopper_pearson
from ironbound.core.errors import UsageError
from ironbound.data import load
from ironbound.defenses.train import Training, train, training_named
from ironbound.models.zoo import cifar_resnet18, mnist_cnn

STEPS = 7


@dataclass(frozen=True)
class Way:
    """One of our trainings, and what its passes are."""

    method: str
    passes: Kind
    settings: dict[str, Any] = field(default_factory=dict)


LOOKING_AWAY = {"recover": False}
"""Looks for catastrophic overfitting are so many an epoch: in an epoch as short as those here they would be most of it."""
WAYS = {
    "standard": Way("standard", Kind(0)),
    "FGSM-RS": Way("fgsm-rs", Kind(1), LOOKING_AWAY),
    "N-FGSM": Way("n-fgsm", Kind(1), LOOKING_AWAY),
    "N-FGSM, all bf16": Way("n-fgsm", Kind(1, True, True), {"precision": "bf16", **LOOKING_AWAY}),
    "PGD-7": Way("pgd", Kind(STEPS)),
    "PGD-7, bf16 attack": Way("pgd", Kind(STEPS, True), {"cheap": True}),
    "PGD-7, all bf16": Way("pgd", Kind(STEPS, True, True), {"precision": "bf16"}),
}
IMAGES, ROBUST_ON, TEST = 512, 10_000, 1000
EPOCHS, EPS = 3, 0.2
"""Of the trainings whose robust accuracy is compared."""
HEAD = (
    "| training | CPU s an epoch | in standard epochs | over its passes alone | rows: update, input gradient, forward |"
)


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """A table a net, and the robust accuracies; prints them, and writes them into a page where asked."""
    lines = [_costs(make, chosen.rounds) for name, make in TASKS.items() if chosen.keeps(name)]
    robust = _robust() if chosen.keeps("robust") else []
    text = "\n".join([*map(_table, lines), *([_robust_table(robust)] if robust else [])])
    print("\n" + text)
    if chosen.page is not None:
        into(chosen.page, "training", text)
    return [*lines, *robust]


def _mnist() -> Task:
    data = load(str(DATA / "mnist" / "train.parquet"), samples=IMAGES)
    return Task("MNIST, conv32-conv64-fc (1.2 M weights), batches of 128", mnist_cnn(), data.x, data.y, 0.3, 128)


def _cifar() -> Task:
    data = load(str(DATA / "cifar10" / "train.parquet"), samples=32)
    return Task("CIFAR-10, ResNet-18 (11.2 M weights), batches of 16", cifar_resnet18(), data.x, data.y, 8 / 255, 16)


TASKS: dict[str, Callable[[], Task]] = {"mnist": _mnist, "resnet": _cifar}


def ours(task: Task, way: Way, epochs: int = 1) -> Callable[[], Any]:
    """One of our trainings, whole: the copy of the net, the keys of the samples, the history."""
    training = training_of(way, epochs, task.batch)
    model = ib.Model(task.net.train(), outputs="logits")
    return lambda: train(model, (task.x, task.y), ib.Linf(task.eps), training)


def training_of(way: Way, epochs: int, batch: int) -> Training:
    """The training with the optimiser of the loops by hand."""
    more = {"optimiser": "sgd", "momentum": MOMENTUM, "rate": RATE, **way.settings}
    return training_named(way.method, epochs=epochs, batch=batch, **more)


def _costs(make: Callable[[], Task], rounds: int) -> dict[str, Any]:
    """CPU seconds of all contestants in alternation, rows counted from outside."""
    task = make()
    print(f"\n{task.name}", flush=True)
    contestants: dict[str, Callable[[], Any]] = {"by hand": lambda: standard(task)}
    floors: dict[Kind, Floor] = {}
    rows: dict[str, Counter[str]] = {}
    for name, way in WAYS.items():
        try:
            contestants[name] = ours(task, way)
        except UsageError as error:
            print(f"{name}: skipped, {error}")
            continue
        rows[name] = counted(task.net, contestants[name])
        if way.passes not in floors:
            floors[way.passes] = Floor(task, way.passes)
        _must_be_same(name, rows[name], floors[way.passes].rows())
    if art_is_there():
        contestants["ART, PGD-7"] = art(task, STEPS)
        rows["ART, PGD-7"] = counted(task.net, contestants["ART, PGD-7"])
    spent = alternated(contestants | {str(kind): floor for kind, floor in floors.items()}, rounds)
    return {
        "task": task.name, "machine": machine(), "images": len(task.x), "seconds": spent, "rows": rows,
        "standard epochs": {name: ratio(spent, name, "by hand") for name in spent},
        "over passes": {name: ratio(spent, name, str(WAYS[name].passes)) for name in rows if name in WAYS},
    }  # fmt: skip


def _must_be_same(name: str, ours: Counter[str], alone: Counter[str]) -> None:
    """The passes alone are those that the trainer makes. Forward passes that it makes besides count against it."""
    for kind in ("update", "gradient"):
        if ours[kind] != alone[kind]:
            raise SystemExit(f"{name}: {ours[kind]} rows of {kind} passes, but {alone[kind]} in its passes alone")


def _table(line: dict[str, Any]) -> str:
    facts, rows = line["machine"], []
    for name in line["seconds"]:
        over = f"{line['over passes'][name]:.2f}" if name in line["over passes"] else ""
        went = line["rows"].get(name)
        count = "" if went is None else ", ".join(f"{went[kind]:,}" for kind in ("update", "gradient", "forward"))
        label = f"standard, {name}" if name == "by hand" else name
        rows.append(
            f"| {label} | {statistics.median(line['seconds'][name]):.2f} | {line['standard epochs'][name]:.2f} | {over} "
            f"| {count} |"
        )
    about = (
        f"{facts['date']} at {facts['commit']}, {facts['cpu']} ({', '.join(facts['flags'])}), torch {facts['torch']}"
    )
    head = "\n".join([HEAD, "|---" * HEAD.count(" |") + "|"])
    return f"{line['task']}; an epoch is {line['images']} images. {about}.\n\n{head}\n" + "\n".join(rows) + "\n"


def _robust() -> list[dict[str, Any]]:
    """The same training in float32 and in bfloat16 on a part of MNIST, and PGD-40 on what comes out."""
    fit = load(str(DATA / "mnist" / "train.parquet"), samples=ROBUST_ON)
    test = load(str(DATA / "mnist" / "test.parquet"), samples=TEST)
    lines = []
    for name in ("PGD-7", "PGD-7, bf16 attack", "PGD-7, all bf16"):
        training = training_of(WAYS[name], EPOCHS, 128).replace(optimiser="adam")
        start = time.process_time()
        trained = train(ib.Model(mnist_cnn(), outputs="logits"), fit, ib.Linf(EPS), training)
        cpu = time.process_time() - start
        method = ib.recipes.pgd(steps=40).replace(cheap=True)
        found = ib.attack(trained.model, test.x, test.y, threat=ib.Linf(EPS), method=method)
        with torch.no_grad():
            right = int((trained.model.net(test.x).argmax(1) == test.y).sum())
        robust = int((~found.success).sum())
        lines.append({"training": name, "cpu": cpu, "clean": right, "robust": robust, "images": TEST})
        print(f"{name}: {cpu:.0f} CPU s, {right} right when clean, {robust} of {TEST} under PGD-40", flush=True)
    return lines


def _robust_table(lines: list[dict[str, Any]]) -> str:
    rows = [
        f"MNIST, conv32-conv64-fc, {EPOCHS} epochs of {ROBUST_ON:,} images at Linf {EPS:g} (Adam); PGD-40 on {TEST:,} "
        "test images (95% intervals). One weak attack: an upper bound of robust accuracy, good for this comparison alone.\n",
        "| training | CPU s | clean | right under PGD-40 |",
        "|---|---|---|---|",
    ]
    for line in lines:
        shares = [f"{_share(line[kind], line['images'])}" for kind in ("clean", "robust")]
        rows.append(f"| {line['training']} | {line['cpu']:.0f} | {shares[0]} | {shares[1]} |")
    return "\n".join(rows) + "\n"


def _share(count: int, total: int) -> str:
    low, high = clopper_pearson(count, total)
    return f"{100 * count / total:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"
