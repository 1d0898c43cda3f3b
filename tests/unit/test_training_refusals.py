"""What a training refuses before its first batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ironbound.core.errors import (
    CompositionError,
    InputError,
    ModelError,
    UnsupportedOperation,
    UsageError,
)
from ironbound.defenses.train import Adversarial, Ibp, Standard, Steps, Training, train
from ironbound.models.model import Model
from ironbound.sets import L2, Linf
from training_samples import EPS, images, small_net


def _x(values: float = 0.5, rows: int = 6) -> Tensor:
    return torch.full((rows, 1, 6, 6), values)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((_x(rows=0), torch.zeros(0, dtype=torch.long)), "no inputs"),
        ((_x(), torch.full((6,), 3)), "label 3 in row 0; classes are 0 to 2"),
        ((_x(), torch.tensor([0, 1, -1, 0, 0, 0])), "label -1 in row 2"),
        ((_x(), torch.zeros(5, dtype=torch.long)), r"labels have shape \(6,\)"),
        ((_x(), None), "needs labels"),
        ((_x(2.0), torch.zeros(6, dtype=torch.long)), "range"),
        ((_x(math.nan), torch.zeros(6, dtype=torch.long)), "NaN"),
        ([_x()], "pair"),
    ],
)
def test_bad_data_is_refused_at_the_start(data: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        train(Model(small_net()), data, EPS, Training(Standard(), 1))


@pytest.mark.parametrize("objective", [Adversarial(), Ibp(0, 1)])
@pytest.mark.parametrize("threat", [Linf(1.0), Linf(), None])
def test_radii_as_large_as_the_range_are_refused(objective: Any, threat: Any) -> None:
    error, says = (CompositionError, "set|boxes") if threat is None else (UsageError, "nothing can be learned")
    with pytest.raises(error, match=says):
        train(Model(small_net()), images(), threat, Training(objective, 1))


def test_l2_radii_are_measured_along_the_diagonal() -> None:
    assert train(Model(small_net()), images(), L2(1.5), Training(Adversarial(Steps(1)), 1)).history
    with pytest.raises(UsageError, match="less than 6 here"):
        train(Model(small_net()), images(), L2(6.0), Training(Adversarial(Steps(1)), 1))


def test_bounds_are_refused_for_other_sets_and_unknown_operations() -> None:
    with pytest.raises(CompositionError, match="pgd for other sets"):
        train(Model(small_net()), images(), L2(0.5), Training(Ibp(0, 1), 1))

    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x)

    net = nn.Sequential(small_net(), Sine())
    with pytest.raises(UnsupportedOperation):
        train(Model(net), images(), EPS, Training(Ibp(0, 1), 1))


def test_models_that_cannot_be_trained_are_refused() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).argmax(1)

    with pytest.raises(ModelError, match="decisions only"):
        train(Model(Decides()), images(), EPS, Training(Standard(), 1))
    with pytest.raises(ModelError, match="nothing can be trained"):
        train(Model(small_net().requires_grad_(False)), images(), EPS, Training(Standard(), 1))
    net = small_net()
    net.cache = net[0].weight * 2
    with pytest.raises(ModelError, match="cannot be copied"):
        train(Model(net), images(), EPS, Training(Standard(), 1))


@pytest.mark.parametrize(
    "parts",
    [
        {"epochs": 0}, {"epochs": 1.5}, {"batch": 0}, {"rate": 0}, {"rate": math.nan}, {"optimiser": "lion"},
        {"schedule": "steps"}, {"milestones": (0.5, 0.2)}, {"milestones": (0, 1)}, {"drop": 0}, {"transform": "rotate"},
        {"padding": 0}, {"average": 1}, {"average": "ema"}, {"swa_start": 1.0}, {"validation": 1.5}, {"validation": 0},
        {"validation_steps": None}, {"patience": 0}, {"watch": 0.5}, {"recover": 2},
        {"weight_decay": -1}, {"momentum": 1.0}, {"clip": 0}, {"seed": 0.5}, {"objective": "pgd"},
        {"objective": Ibp(warmup=5, ramp=6)},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_when_built(parts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(parts)) if "objective" not in parts else "objective|ramp"):
        Training(**{"objective": Standard(), "epochs": 10, **parts})


@pytest.mark.parametrize(
    "build",
    [lambda: Steps(0), lambda: Steps(step=-1), lambda: Steps(start="origin"), lambda: Ibp(-1, 1), lambda: Ibp(1, math.inf),
     lambda: Ibp(1, 1, kappa_end=2), lambda: Ibp(1, 1, stats="all"), lambda: Ibp(1, 1, init="he")],
)  # fmt: skip
def test_bad_objectives_are_refused_when_built(build: Any) -> None:
    with pytest.raises(UsageError, match="got"):
        build()


@pytest.mark.parametrize("parts", [{"resume": True}, {"every": 3}, {"every": 0, "folder": Path("x")}])
def test_checkpoints_need_a_folder(parts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="folder"):
        train(Model(small_net()), images(), EPS, Training(Standard(), 1), **parts)
