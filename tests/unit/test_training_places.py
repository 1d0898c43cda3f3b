"""Parts of batches, precision, and the places where a training runs, in one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ironbound.core.errors import UsageError
from ironbound.core.rank import Rank
from ironbound.defenses.train import Adversarial, Ibp, Standard, Steps, Training, train
from ironbound.defenses.train.place import Place, here
from ironbound.models.model import Model
from several import NORMED, TRAININGS, exact, noticing, stop_here
from training_samples import EPS, OBJECTIVES, Stop, images, same, small_net, state_of

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ parts of batches
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("parts", [2, 7])
def test_parts_of_a_batch_give_its_gradient(name: str, parts: int) -> None:
    whole, divided = (exact(TRAININGS[name].replace(accumulate=count)) for count in (1, parts))
    for key, weight in state_of(whole.model.net).items():
        torch.testing.assert_close(state_of(divided.model.net)[key], weight, rtol=0, atol=1e-10)
    for ours, theirs in zip(whole.history, divided.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-10)
        assert ours["attacked_accuracy"] == theirs["attacked_accuracy"]


def test_parts_never_hold_more_than_their_share() -> None:
    sizes = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net(norm=False, dropout=0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return self.net(x)

    model = Model(Watched())
    model.settle(images(1)[0])
    sizes.clear()
    train(model, images(), EPS, Training(Standard(), 1, batch=30, accumulate=4))
    assert sorted(sizes[-12:]) == [7] * 6 + [8] * 6


@pytest.mark.parametrize("name", ["pgd", "carrying"])
def test_divided_trainings_are_resumed_after_any_update(name: str, tmp_path: Path) -> None:
    training = TRAININGS[name].replace(accumulate=3)
    for _ in range(2):
        with pytest.raises(Stop), noticing(3, stop_here):
            exact(training, folder=tmp_path, resume=True, every=1)
    parts = exact(training, folder=tmp_path, resume=True)
    assert same(state_of(parts.model.net), state_of(exact(training).model.net))


def test_dropout_draws_differ_between_parts() -> None:
    drops: list[torch.Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.last = nn.Dropout(0.5), nn.Linear(36, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = self.drop(torch.ones(1, 36))
            drops.append(mask[0])
            return self.last(x.flatten(1) * mask)

    train(Model(Watched()), images(), None, Training(Standard(), 1, batch=90, accumulate=3))
    assert len({tuple(mask.tolist()) for mask in drops[-3:]}) == 3


def test_batches_too_small_to_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 3 samples cannot be divided into 4 parts\\."):
        train(Model(small_net()), images(), None, Training(Standard(), 1, batch=3, accumulate=4))
    with pytest.raises(UsageError, match="accumulate is a whole number"):
        Training(Standard(), 1, accumulate=0)


# ------------------------------------------------------------------------------------------------ precision
@pytest.mark.parametrize("name", ["standard", "pgd"])
def test_bfloat16_trains_float32_weights_as_well(name: str) -> None:
    run = lambda precision: train(
        Model(small_net()), images(), EPS, Training(OBJECTIVES[name], 8, batch=32, rate=0.01, precision=precision)
    )
    full, half = run("32"), run("bf16")
    weights = state_of(half.model.net)
    assert all(w.dtype is torch.float32 for w in weights.values() if w.is_floating_point())
    assert not same(weights, state_of(full.model.net))
    assert same(weights, state_of(run("bf16").model.net))
    accuracy = "clean_accuracy" if name == "standard" else "attacked_accuracy"
    assert half.history[-1][accuracy] > full.history[-1][accuracy] - 0.1
    assert half.history[-1]["loss"] == pytest.approx(full.history[-1]["loss"], abs=0.1)


def test_layers_run_in_bfloat16_and_losses_in_float32() -> None:
    layers, losses = [], []

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            layers.append(out.dtype)
            return out

    def loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        losses.append(logits.dtype)
        return nn.functional.cross_entropy(logits, y, reduction="none")

    net = nn.Sequential(nn.Flatten(), Watched(36, 3))
    model = Model(net)
    model.settle(images(1)[0])
    layers.clear()
    train(model, images(), EPS, Training(Adversarial(Steps(1)), 1, precision="bf16", loss=loss, recover=False))
    assert set(layers) <= {torch.bfloat16, torch.float32}
    assert layers.count(torch.bfloat16) == 2 * 2  # an inner step and an update, of two batches
    assert set(losses) == {torch.float32}


def test_what_has_no_use_for_less_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="rounding would be wider"):
        train(Model(small_net()), images(), EPS, Training(Ibp(0, 1), 1, precision="bf16"))
    with pytest.raises(UsageError, match='precision "16" is for GPUs'):
        train(Model(small_net()), images(), None, Training(Standard(), 1, precision="16"))
    with pytest.raises(UsageError, match="precision is one of 32, bf16, 16"):
        Training(Standard(), 1, precision="64")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ places
def test_torchruns_environment_says_which_process_this_is() -> None:
    assert Rank.of(TORCHRUN) == Rank(3, 4, 1, 2)
    assert Rank.of({"RANK": "3", "WORLD_SIZE": "4"}) == Rank(0, 1, 0, 1)


def test_several_processes_without_fabric_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rank, "of", staticmethod(lambda: Rank(1, 2, 1, 2)))
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.delitem(sys.modules, "ironbound.defenses.train.fabric", raising=False)
    with pytest.raises(
        UsageError, match=r"training in 2 processes needs Lightning Fabric: pip install 'ironbound\[train\]'"
    ):
        train(Model(small_net()), images(), None, Training(Standard(), 1))


def test_one_process_needs_no_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert type(here(torch.device("cpu"), "bf16")) is Place


def _scaled() -> Any:
    """Fabric's place for float16, on a CPU, where it is only good for tests."""
    from lightning_fabric.plugins.precision import MixedPrecision

    from ironbound.defenses.train.fabric import Fabricated

    place = Fabricated(torch.device("cpu"), "32", Rank())
    place.precision = place.fabric.strategy.precision = MixedPrecision("16-mixed", "cpu")
    place.fabric._precision = place.precision
    place.scaler, place.scaled = place.precision.scaler, True
    return place


def test_fabric_in_one_process_gives_the_weights_of_plain_pytorch() -> None:
    fabric = pytest.importorskip("ironbound.defenses.train.fabric")
    run = lambda place: train(
        Model(small_net()), images(), EPS, NORMED.replace(epochs=1, precision="bf16"), place=place
    )
    there = run(fabric.Fabricated(torch.device("cpu"), "bf16", Rank()))
    assert same(state_of(there.model.net), state_of(run(None).model.net))


def test_scaled_losses_give_true_gradients_and_a_scale_that_is_resumed(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    training = TRAININGS["pgd"].replace(batch=90, epochs=4)
    whole, place = exact(training, place=_scaled()), _scaled()
    for key, weight in state_of(exact(training).model.net).items():
        torch.testing.assert_close(state_of(whole.model.net)[key], weight, rtol=0, atol=1e-10)
    with pytest.raises(Stop), noticing(2, stop_here):
        exact(training, place=place, folder=tmp_path, every=1)
    assert place.scaler.get_scale() == 65536.0
    again = _scaled()
    place.scaler.load_state_dict({**place.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7})
    again.restore(place.tables())
    assert (again.scaler.get_scale(), again.scaler.state_dict()["_growth_tracker"]) == (1024.0, 7)
    resumed = exact(training, place=_scaled(), folder=tmp_path, resume=True)
    assert same(state_of(resumed.model.net), state_of(whole.model.net))


def test_an_overflow_of_float16_halves_the_scale_and_skips_the_update() -> None:
    pytest.importorskip("lightning_fabric")
    place, net = _scaled(), small_net(norm=False)
    place.scaler.load_state_dict({**place.scaler.state_dict(), "scale": 2.0**126})
    large = lambda logits, y: 1e6 * nn.functional.cross_entropy(logits, y, reduction="none")
    result = train(Model(net), images(), None, Training(Standard(), 1, batch=90, loss=large), place=place)
    assert place.scaler.get_scale() == 2.0**125
    assert same(state_of(result.model.net), state_of(net))


def test_what_an_objective_adds_to_gradients_is_not_used() -> None:
    class Dirty(Standard):
        def loss(self, scene: Any, batch: Any) -> Any:
            scene.logits(batch.x, batch.rng).sum().backward()
            return super().loss(scene, batch)

    nets = [
        train(
            Model(small_net(norm=False, dropout=0)), images(), None, Training(objective, 1, batch=30, accumulate=3)
        ).model.net
        for objective in (Dirty(), Standard())
    ]
    assert same(*map(state_of, nets))
