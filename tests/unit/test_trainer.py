"""The trainer: what it leaves alone, what it repeats, what it reports."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ironbound.core.progress import Event
from ironbound.core.rng import Rng
from ironbound.defenses.train import Adversarial, Ibp, Standard, Steps, Training, randomness, train
from ironbound.defenses.train.batchnorm import moved
from ironbound.defenses.train.history import COLUMNS
from ironbound.models.model import Model
from training_samples import EPS, OBJECTIVES, SCHEMES, Stop, images, same, small_net, state_of, trained


# ------------------------------------------------------------------------------------------------ what is left alone
@pytest.mark.parametrize("name", SCHEMES)
def test_the_users_module_and_generators_are_left_alone(name: str) -> None:
    net = small_net().train(name != "pgd")
    net[1].eval()
    before, modes = state_of(net), [part.training for part in net.modules()]
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    result = trained(SCHEMES[name], net)
    assert torch.equal(torch.get_rng_state(), generator)
    assert same(before, state_of(net))
    assert [part.training for part in net.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert result.model.net is not net
    assert not same(before, state_of(result.model.net))
    assert not result.model.net.training
    assert all(p.grad is None for p in result.model.net.parameters())


def test_generators_are_given_back_after_an_error() -> None:
    def listener(event: Event) -> None:
        raise Stop

    net, generator = small_net(), torch.get_rng_state()
    with pytest.raises(Stop):
        train(Model(net), images(), EPS, Training(Standard(), 1), progress=listener)
    assert torch.equal(torch.get_rng_state(), generator)
    assert net.training


def test_the_trained_model_keeps_range_preprocessing_and_outputs() -> None:
    x, y = images()
    model = Model(nn.Sequential(small_net(), nn.Softmax(1)), range=(0, 2), mean=0.5, std=[0.25], name="mine")
    result = train(model, (2 * x.clamp(max=1), y), None, Training(Standard(), 1)).model
    assert (result.box, result.outputs, result.classes, result.name) == ((0.0, 2.0), "probabilities", 3, "mine")
    assert (result.module.mean.tolist(), result.module.std.tolist()) == ([0.5], [0.25])


def test_frozen_parts_stay() -> None:
    net = small_net()
    net[0].requires_grad_(False)
    net[1].eval()
    before = state_of(net)
    after = state_of(trained(net=net).model.net)
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert torch.equal(after["1.running_mean"], before["1.running_mean"])
    assert not torch.equal(after["5.weight"], before["5.weight"])


# ------------------------------------------------------------------------------------------------ what is repeated
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_seed_gives_the_same_weights_whatever_torchs_generator_does(name: str) -> None:
    torch.manual_seed(1)
    first = state_of(trained(OBJECTIVES[name]).model.net)
    torch.manual_seed(2)
    assert same(first, state_of(trained(OBJECTIVES[name]).model.net))


def test_another_seed_gives_other_weights() -> None:
    assert not same(state_of(trained().model.net), state_of(trained(seed=1).model.net))


def test_a_listener_that_draws_changes_nothing() -> None:
    def listener(event: Event) -> None:
        torch.randn(3)

    training = Training(Standard(), 1, batch=32)
    loud = train(Model(small_net()), images(), None, training, progress=listener)
    assert same(state_of(loud.model.net), state_of(train(Model(small_net()), images(), None, training).model.net))


def test_training_works_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        inside = trained()
    assert same(state_of(inside.model.net), state_of(trained().model.net))


@pytest.mark.parametrize(("count", "batch"), [(90, 32), (65, 64), (7, 100), (1, 1), (129, 64)])
def test_every_epoch_has_every_row_once_in_batches_of_nearly_equal_size(count: int, batch: int) -> None:
    parts = randomness.batches(0, 0, count, batch)
    sizes = [len(part) for part in parts]
    assert torch.cat(parts).sort().values.tolist() == list(range(count))
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == math.ceil(count / batch)


def test_the_order_changes_with_epoch_and_seed_only() -> None:
    order = lambda seed, epoch: torch.cat(randomness.batches(seed, epoch, 90, 32)).tolist()
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_tied_weights_and_own_streams_train() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(36, 36), nn.Linear(36, 36)
            self.second.weight, self.last = self.first.weight, nn.Linear(36, 3)

        def forward(self, x: Tensor, rng: Rng) -> Tensor:
            x = x.flatten(1) + 0.01 * rng.fold("noise").normal((36,), x.dtype)
            return self.last(self.second(self.first(x).relu()).relu())

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(Noisy(), random=True)
    result = train(model, images(), EPS, Training(Adversarial(Steps(2)), 8, batch=16, rate=0.01))
    assert result.model.net.first.weight is result.model.net.second.weight
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]


# ------------------------------------------------------------------------------------------------ what is reported
@pytest.mark.parametrize("name", OBJECTIVES)
def test_history_and_events(name: str) -> None:
    events: list[Event] = []
    training = Training(OBJECTIVES[name], 3, batch=32, rate=0.01, name=name)
    history = train(Model(small_net(dropout=0)), images(), EPS, training, progress=events.append).history
    columns = list(COLUMNS)
    assert [list(row) for row in history] == [columns] * 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    measured = {key for key in columns if history[-1][key] is not None} - {
        "epoch",
        "loss",
        "rate",
        "seconds",
        "recoveries",
    }
    expected = {
        "standard": {"clean_accuracy"},
        "pgd": {"attacked_accuracy", "eps"},
        "ibp": {"clean_accuracy", "certified_accuracy", "eps", "kappa"},
    }
    assert measured == expected[name]
    assert all(0 <= (row["clean_accuracy"] or 0) <= 1 and row["seconds"] > 0 and row["loss"] > 0 for row in history)
    assert [event.done for event in events] == list(range(1, 10))
    assert {(event.stage, event.total) for event in events} == {(f"train {name}", 9)}
    assert events[-1].rows == 270 * {"standard": 1, "pgd": 3, "ibp": 3}[name]
    assert "loss" in events[0].note


def test_loss_falls_and_accuracy_rises() -> None:
    history = trained(Standard(), small_net(dropout=0), epochs=6).history
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["clean_accuracy"] > 0.95


@pytest.mark.parametrize("name", OBJECTIVES)
def test_running_statistics_move(name: str) -> None:
    net = small_net()
    after = trained(OBJECTIVES[name], net).model.net[1]
    assert int(after.num_batches_tracked) == 6
    assert not torch.equal(after.running_mean, net[1].running_mean)
    assert not torch.equal(after.running_var, net[1].running_var)


def test_running_statistics_stay_where_bounds_use_them() -> None:
    net = small_net()
    after = trained(Ibp(0, 1, stats="running"), net, epochs=1).model.net[1]
    assert torch.equal(after.running_mean, net[1].running_mean)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_move_as_torch_moves_them(momentum: float | None) -> None:
    from ironbound.certification.graph import trace
    from ironbound.certification.interval import propagate

    x, _ = images(20)
    x = x.flatten(1)
    ours, theirs = (
        nn.Sequential(nn.BatchNorm1d(36, momentum=momentum)),
        nn.Sequential(nn.BatchNorm1d(36, momentum=momentum)),
    )
    graph = trace(ours, x)
    for part in (x, x * 0.5):
        theirs(part)
        moved(ours, propagate(graph, part, part, stats="batch", clean=part).statistics)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(getattr(ours[0], name), getattr(theirs[0], name), atol=1e-6)
