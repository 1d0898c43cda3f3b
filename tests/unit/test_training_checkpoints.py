"""Trainings that are interrupted, resumed, diverge, or meet a folder that is not theirs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ironbound.core.errors import (
    FingerprintMismatch,
    ModelError,
    RunError,
)
from ironbound.core.progress import Event
from ironbound.defenses.train import Adversarial, Standard, Steps, Training, train
from ironbound.models.model import Model
from ironbound.sets import Linf
from training_samples import EPS, SCHEMES, Stop, images, same, small_net, state_of, stop, threat_of


@pytest.mark.parametrize("name", SCHEMES)
def test_a_training_interrupted_after_every_batch_ends_as_if_it_never_was(name: str, tmp_path: Path) -> None:
    threat = threat_of(SCHEMES[name])
    training = Training(SCHEMES[name], 2, batch=32, rate=0.01, clip=5.0)
    whole = train(Model(small_net()), images(), threat, training)

    for _ in range(5 if name == "pgd" else 2):  # each gets one batch further: what it noted of the second is lost
        with pytest.raises(Stop):
            train(
                Model(small_net()),
                images(),
                threat,
                training,
                folder=tmp_path,
                resume=True,
                every=1,
                progress=_after(2, stop),
            )
    parts = train(Model(small_net()), images(), threat, training, folder=tmp_path, resume=True)
    assert same(state_of(whole.model.net), state_of(parts.model.net))
    without = lambda history: [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    assert without(whole.history) == without(parts.history)
    done = train(Model(small_net()), images(), threat, training, folder=tmp_path, resume=True)
    assert same(state_of(whole.model.net), state_of(done.model.net))


FEATURES: dict[str, dict[str, Any]] = {
    "exponential average": {"average": 0.9},
    "mean of epochs": {"average": "swa", "swa_start": 0.2, "schedule": "step", "epochs": 3},
    "validation": {"validation": 30, "average": 0.9},
    "early stopping": {"validation": 0.4, "patience": 1, "epochs": 4},
    "transform": {"transform": "flip+crop", "padding": 1},
    "recovery": {"recover": True, "watch": 2},
    "optimiser with numbers": {"optimiser": lambda weights: Counting(weights), "schedule": lambda share: 1 - share / 2},
    "optimiser of torch": {"optimiser": lambda weights: torch.optim.NAdam(weights, 0.01)},
    "momentum": {"optimiser": "sgd"},
}


class Counting(torch.optim.Optimizer):
    """Keeps numbers, texts, tuples and tensors of another type beside its parameters, and changes its group."""

    def __init__(self, weights: Any) -> None:
        super().__init__(weights, {"lr": 0.01, "span": (0.5, 2), "grown": 1.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["grown"] *= 1.1
            for weight in group["params"]:
                slot = self.state[weight]
                slot["count"] = slot.get("count", 0) + 1
                slot["sum"] = slot.get("sum", torch.zeros_like(weight, dtype=torch.float64)) + weight.grad.double()
                slot["kind"], slot["span"] = f"after {slot['count']}", (slot["count"], 0.1 * slot["count"])
                weight -= (group["lr"] * group["grown"] * slot["sum"] / slot["span"][0]).to(weight)


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_is_resumed_bit_by_bit(name: str, tmp_path: Path) -> None:
    """Interrupted again and again, each time two batches on, until it is done."""
    training = Training(
        **{"objective": Adversarial(Steps(2)), "epochs": 2, "batch": 32, "rate": 0.01, **FEATURES[name]}
    )
    whole = train(Model(small_net()), images(), EPS, training)
    broken = None
    for _ in range(20):
        with suppress(Stop):
            broken = train(
                Model(small_net()),
                images(),
                EPS,
                training,
                folder=tmp_path,
                resume=True,
                every=1,
                progress=_after(3, stop),
            )
            break
    assert broken is not None
    assert same(state_of(whole.model.net), state_of(broken.model.net))
    without = lambda history: [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    assert without(whole.history) == without(broken.history)
    assert (whole.best, whole.stopped) == (broken.best, broken.stopped)


def _after(count: int, then: Any) -> Any:
    seen: list[Event] = []

    def listener(event: Event) -> None:
        seen.append(event)
        if len(seen) >= count:
            then(event)

    return listener


def test_tied_weights_are_resumed(tmp_path: Path) -> None:
    def net() -> nn.Sequential:
        tied = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.ReLU(), nn.Linear(36, 36), nn.Linear(36, 3))
        with torch.no_grad():
            for number, parameter in enumerate(tied.parameters()):
                parameter.copy_(torch.linspace(-0.3, 0.3, parameter.numel()).view_as(parameter) * (number + 1))
        tied[3].weight = tied[1].weight
        return tied

    training = Training(Standard(), 2, batch=32)
    with pytest.raises(Stop):
        train(Model(net()), images(), None, training, folder=tmp_path, progress=_after(4, stop))
    resumed = train(Model(net()), images(), None, training, folder=tmp_path, resume=True)
    assert same(state_of(resumed.model.net), state_of(train(Model(net()), images(), None, training).model.net))


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("training.seed is 1 here and 0 there", {"seed": 1}),
        ("training.objective.inner.steps is 3 here and 2 there", {"objective": Adversarial(Steps(3))}),
        ('training.objective is "Standard" here and "Adversarial" there', {"objective": Standard()}),
        ("training.rate", {"rate": 0.02}),
        ("data.inputs", {"data": images(seed=1)}),
        ("data.rows is 60 here and 90 there", {"data": images(60)}),
        ("model.architecture", {"net": small_net(norm=False)}),
        ("model.weights at the start", {"net": small_net(1)}),
        ("model.range", {"range": (0, 2)}),
        ("threat.eps is 0.2 here and 0.1 there", {"threat": Linf(0.2)}),
    ],
)
def test_resuming_another_training_is_refused(what: str, changed: dict[str, Any], tmp_path: Path) -> None:
    def start(resume: bool = False, **parts: Any) -> Any:
        own = {"data": images(), "net": small_net(), "threat": EPS, "range": (0, 1), **parts}
        settings = {k: v for k, v in own.items() if k not in ("data", "net", "threat", "range")}
        training = Training(**{"objective": Adversarial(Steps(2)), "epochs": 1, "batch": 45, "rate": 0.01, **settings})
        return train(
            Model(own["net"], range=own["range"]), own["data"], own["threat"], training, folder=tmp_path, resume=resume
        )

    start()
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(FingerprintMismatch) as error:
        start(resume=True, **changed)
    assert what in str(error.value)
    with pytest.raises(RunError, match="resume=True"):
        start()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept
    assert len(start(resume=True).history) == 1


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    from ironbound.core.errors import DataError

    training = Training(Standard(), 1)
    train(Model(small_net()), images(), None, training, folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="checkpoint"):
        train(Model(small_net()), images(), None, training, folder=tmp_path, resume=True)


def test_debris_of_killed_writers_is_removed(tmp_path: Path) -> None:
    debris = tmp_path / ".checkpoint.safetensors.123.tmp"
    debris.write_bytes(b"half")
    train(Model(small_net()), images(), None, Training(Standard(), 1), folder=tmp_path, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        "history.parquet",
        "training.json",
    ]
    assert not debris.exists()


def test_a_diverging_trainingstops_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    x, y = images()
    training = Training(Standard(), 50, batch=90, rate=1e20, optimiser="sgd", schedule="constant")
    with pytest.raises(ModelError, match=r"epoch \d+, batch 1 of 1, at rate 1e\+20.*Lower the rate.*kept in"):
        train(Model(small_net(norm=False)), (x, y), None, training, folder=tmp_path)
    from ironbound.core.store import read_tensors

    tables, _ = read_tensors(tmp_path / "checkpoint.safetensors")
    assert tables["net"]
    assert all(torch.isfinite(tensor).all() for tensor in tables["net"].values())


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_weights_that_are_not_finite_are_never_given_back(where: str, tmp_path: Path) -> None:
    training = Training(Standard(), 1, batch=90, rate=1e38, optimiser="sgd", weight_decay=1e38, schedule="constant")
    with pytest.raises(ModelError, match="sum of the weights"):
        train(Model(small_net(norm=False)), images(), None, training, folder=tmp_path if where == "folder" else None)
    assert not (tmp_path / "checkpoint.safetensors").exists()
