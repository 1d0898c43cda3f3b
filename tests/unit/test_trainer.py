"""The trainer: what it leaves alone, what it repeats, what it refuses, what it reports."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_samples import images, same, small_net, state_of

from ironbound.core.errors import (
    CompositionError,
    FingerprintMismatch,
    InputError,
    ModelError,
    RunError,
    UnknownName,
    UnsupportedOperation,
    UsageError,
)
from ironbound.core.progress import Event
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train import Ibp, Pgd, Standard, Training, randomness, train, training_named
from ironbound.defenses.train.batchnorm import moved
from ironbound.defenses.train.fused import ascend
from ironbound.defenses.train.initial import initialise
from ironbound.models.model import Model
from ironbound.models.zoo import digits_cnn, mnist_cnn
from ironbound.sets.lp import L2, Linf

EPS = Linf(0.1)
OBJECTIVES = {"standard": Standard(), "pgd": Pgd(steps=2), "ibp": Ibp(warmup=0.5, ramp=1, init="ibp")}


class Stop(Exception):
    """A user's interruption."""


def trained(objective: Any = OBJECTIVES["pgd"], net: nn.Module | None = None, **parts: Any) -> Any:
    training = Training(objective, **{"epochs": 2, "batch": 32, "rate": 0.01, **parts})
    return train(Model(small_net() if net is None else net), images(), EPS, training)


# ------------------------------------------------------------------------------------------------ what is left alone
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("mode", [True, False])
def test_the_users_module_and_generators_are_left_alone(name: str, mode: bool) -> None:
    net = small_net().train(mode)
    net[1].eval()
    before, modes = state_of(net), [part.training for part in net.modules()]
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    result = trained(OBJECTIVES[name], net)
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
    assert not torch.equal(after["5.weight" if "5.weight" in after else "4.weight"], before["5.weight"])


# ------------------------------------------------------------------------------------------------ what is repeated
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_seed_gives_the_same_weights_whatever_torchs_generator_does(name: str) -> None:
    torch.manual_seed(1)
    first = state_of(trained(OBJECTIVES[name]).model.net)
    torch.manual_seed(2)
    assert same(first, state_of(trained(OBJECTIVES[name]).model.net))
    assert not same(first, state_of(trained(OBJECTIVES[name], seed=1).model.net))


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
    result = train(model, images(), EPS, Training(Pgd(steps=2), 8, batch=16, rate=0.01))
    assert result.model.net.first.weight is result.model.net.second.weight
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]


# ------------------------------------------------------------------------------------------------ what is reported
@pytest.mark.parametrize("name", OBJECTIVES)
def test_history_and_events(name: str) -> None:
    events: list[Event] = []
    training = Training(OBJECTIVES[name], 3, batch=32, rate=0.01)
    history = train(Model(small_net(dropout=0)), images(), EPS, training, progress=events.append).history
    columns = ["epoch", "loss", "clean_accuracy", "attacked_accuracy", "certified_accuracy", "eps", "kappa", "rate", "seconds"]
    assert [list(row) for row in history] == [columns] * 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    measured = {key for key in columns if history[-1][key] is not None} - {"epoch", "loss", "clean_accuracy", "rate", "seconds"}
    expected = {"standard": set(), "pgd": {"attacked_accuracy", "eps"}, "ibp": {"certified_accuracy", "eps", "kappa"}}
    assert measured == expected[name]
    assert all(0 <= row["clean_accuracy"] <= 1 and row["seconds"] > 0 and row["loss"] > 0 for row in history)
    assert [event.done for event in events] == list(range(1, 10))
    assert {(event.stage, event.total) for event in events} == {(f"train {name}", 9)}
    assert events[-1].rows == 270 * {"standard": 1, "pgd": 4, "ibp": 3}[name]
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
    ours, theirs = small_net(dropout=0), small_net(dropout=0)
    ours[1].momentum = theirs[1].momentum = momentum
    graph = trace(ours, x)
    for part in (x, x * 0.5):
        theirs(part)
        moved(ours, propagate(graph, part, part, stats="batch", clean=part).statistics)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(getattr(ours[1], name), getattr(theirs[1], name), atol=1e-6)


# ------------------------------------------------------------------------------------------------ objectives
def test_the_ramp() -> None:
    objective = Ibp(warmup=2, ramp=4)
    assert [objective.share(at) for at in (0, 1.9, 2, 3, 4, 6, 9)] == [0, 0, 0, 0.25, 0.5, 1, 1]
    assert [Ibp(0, 0).share(at) for at in (0, 1)] == [1, 1]
    assert [Ibp(1, 0).share(at) for at in (0, 0.99, 1)] == [0, 0, 1]
    rows = trained(Ibp(warmup=1, ramp=2, kappa_end=0.2), epochs=4, batch=90).history
    assert [row["eps"] for row in rows] == pytest.approx([0, 0, 0.05, 0.1])
    assert [row["kappa"] for row in rows] == pytest.approx([1, 1, 0.6, 0.2])


def test_the_loss_at_bounds_of_radius_zero_is_the_cross_entropy() -> None:
    x, y = images(30)
    net = small_net(norm=False, dropout=0)
    row = train(Model(net), (x, y), EPS, Training(Ibp(warmup=1, ramp=0), 1, batch=30, rate=1e-9)).history[0]
    assert row["loss"] == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-5)
    assert row["certified_accuracy"] == row["clean_accuracy"] == pytest.approx((net(x).argmax(1) == y).double().mean().item())


def test_certified_never_exceeds_attacked_and_training_helps() -> None:
    x, y = images(90)
    standard = trained(Standard(), small_net(dropout=0), epochs=8).model
    robust = trained(Ibp(warmup=1, ramp=4), small_net(dropout=0), epochs=8).model
    certified, attacked = _verdicts(robust, x, y)
    assert not (certified & ~attacked).any()
    assert certified.double().mean() > 0.9
    certified, attacked = _verdicts(standard, x, y)
    assert not (certified & ~attacked).any()
    assert certified.double().mean() < 0.5


def test_adversarial_training_helps() -> None:
    from ironbound.data import load

    data, test = load("digits:train", samples=500), load("digits:test", samples=200)
    robust = {}
    for name in ("standard", "pgd"):
        model = train(Model(digits_cnn()), data, Linf(0.15), training_named(name, epochs=10, rate=0.01)).model
        region = Linf(0.15).at(test.x, model.box)
        points = ascend(model, region, test.y, test.x, steps=20, size=0.03, rng=Rng.of(0, content_keys(test.x, test.y)))
        with torch.no_grad():
            assert (model.net(test.x).argmax(1) == test.y).double().mean() > 0.9
            robust[name] = float((model.net(points).argmax(1) == test.y).double().mean())
    assert robust["pgd"] > robust["standard"] + 0.25


def _verdicts(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    from ironbound.certification.graph import trace
    from ironbound.certification.margins import margins

    region, rng = EPS.at(x, model.box), Rng.of(0, content_keys(x, y))
    with torch.no_grad():
        certified = (margins(trace(model.module, x), region.lo, region.hi, y) > 0).all(1)
    points = ascend(model, region, y, region.sample(rng), steps=20, size=EPS.eps / 5, rng=rng)
    with torch.no_grad():
        return certified, model.net(points).argmax(1) == y


def test_bounds_initialisation() -> None:
    net = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 200), nn.Linear(200, 3))
    net[2].weight.requires_grad_(False)
    before = state_of(net)
    initialise(net, 0)
    assert net[0].weight.std().item() == pytest.approx(math.sqrt(2 * math.pi) / 400, rel=0.02)
    assert torch.equal(net[0].bias, before["0.bias"])
    assert torch.equal(net[2].weight, before["2.weight"])
    assert torch.equal(net[3].weight, before["3.weight"])


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.853553, 0.5, 0]), ("cyclic", [0, 0.625, 0.833333, 0])],
)
def test_rates(schedule: Any, rates: list[float]) -> None:
    training = Training(Standard(), 1, rate=1.0, schedule=schedule)
    assert [training.rate_at(share) for share in (0, 0.25, 0.5, 1)] == pytest.approx(rates, abs=1e-6)


def test_sgd_with_all_its_settings_trains() -> None:
    parts = {"optimiser": "sgd", "rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "clip": 1.0, "schedule": "cyclic"}
    assert trained(Standard(), small_net(dropout=0), epochs=6, **parts).history[-1]["clean_accuracy"] > 0.9


def test_clipping_shortens_the_step() -> None:
    parts = {"optimiser": "sgd", "momentum": 0.0, "rate": 1.0, "schedule": "constant", "epochs": 1, "batch": 90}
    net = small_net(norm=False, dropout=0)
    step = lambda clip: math.sqrt(
        sum(float((b - a).square().sum()) for a, b in zip(net.parameters(), trained(Standard(), net, clip=clip, **parts).model.net.parameters(), strict=True))
    )  # fmt: skip
    assert step(0.01) == pytest.approx(0.01, rel=1e-3)
    assert step(None) > 0.02


# ------------------------------------------------------------------------------------------------ checkpoints
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_training_interrupted_after_every_batch_ends_as_if_it_never_was(name: str, tmp_path: Path) -> None:
    training = Training(OBJECTIVES[name], 2, batch=32, rate=0.01, clip=5.0)
    whole = train(Model(small_net()), images(), EPS, training)

    def interrupt(event: Event) -> None:
        raise Stop

    for _ in range(5):  # each gets one batch further, and the third has finished the first epoch without saying so
        with pytest.raises(Stop):
            train(Model(small_net()), images(), EPS, training, folder=tmp_path, resume=True, every=1, progress=_after(2, interrupt))
    parts = train(Model(small_net()), images(), EPS, training, folder=tmp_path, resume=True)
    assert same(state_of(whole.model.net), state_of(parts.model.net))
    without = lambda history: [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    assert without(whole.history) == without(parts.history)
    done = train(Model(small_net()), images(), EPS, training, folder=tmp_path, resume=True)
    assert same(state_of(whole.model.net), state_of(done.model.net))


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
        train(Model(net()), images(), None, training, folder=tmp_path, progress=_after(4, _stop))
    resumed = train(Model(net()), images(), None, training, folder=tmp_path, resume=True)
    assert same(state_of(resumed.model.net), state_of(train(Model(net()), images(), None, training).model.net))


def _stop(event: Event) -> None:
    raise Stop


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("training.seed is 1 here and 0 there", {"seed": 1}),
        ("training.objective.steps is 3 here and 2 there", {"objective": Pgd(steps=3)}),
        ('training.objective is "Standard" here and "Pgd" there', {"objective": Standard()}),
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
        training = Training(**{"objective": Pgd(steps=2), "epochs": 1, "batch": 45, "rate": 0.01, **settings})
        return train(Model(own["net"], range=own["range"]), own["data"], own["threat"], training, folder=tmp_path, resume=resume)

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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "training.json"]
    assert not debris.exists()


def test_a_diverging_training_stops_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    x, y = images()
    training = Training(Standard(), 50, batch=90, rate=1e20, optimiser="sgd", schedule="constant")
    with pytest.raises(ModelError, match=r"epoch \d+, batch 1 of 1, at rate 1e\+20.*Lower the rate.*kept in"):
        train(Model(small_net(norm=False)), (x, y), None, training, folder=tmp_path)
    from ironbound.core.store import read_tensors

    tables, _ = read_tensors(tmp_path / "checkpoint.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tables["net"].values())


# ------------------------------------------------------------------------------------------------ what is refused
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


@pytest.mark.parametrize("objective", [Pgd(), Ibp(0, 1)])
@pytest.mark.parametrize("threat", [Linf(1.0), Linf(), None])
def test_radii_as_large_as_the_range_are_refused(objective: Any, threat: Any) -> None:
    error, says = (CompositionError, "set|boxes") if threat is None else (UsageError, "nothing can be learned")
    with pytest.raises(error, match=says):
        train(Model(small_net()), images(), threat, Training(objective, 1))


def test_l2_radii_are_measured_along_the_diagonal() -> None:
    assert train(Model(small_net()), images(), L2(1.5), Training(Pgd(steps=1), 1)).history
    with pytest.raises(UsageError, match="less than 6 here"):
        train(Model(small_net()), images(), L2(6.0), Training(Pgd(steps=1), 1))


def test_bounds_are_refused_for_other_sets_and_unknown_operations() -> None:
    with pytest.raises(CompositionError, match="Pgd for other sets"):
        train(Model(small_net()), images(), L2(0.5), Training(Ibp(0, 1), 1))
    net = nn.Sequential(small_net(), nn.Softplus())
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
        {"epochs": 0}, {"epochs": 1.5}, {"batch": 0}, {"rate": 0}, {"rate": math.nan}, {"optimiser": "lion"}, {"schedule": "steps"},
        {"weight_decay": -1}, {"momentum": 1.0}, {"clip": 0}, {"seed": 0.5}, {"objective": "pgd"},
        {"objective": Ibp(warmup=5, ramp=6)},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_when_built(parts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(parts)) if "objective" not in parts else "objective|ramp"):
        Training(**{"objective": Standard(), "epochs": 10, **parts})


@pytest.mark.parametrize(
    "build",
    [lambda: Pgd(steps=0), lambda: Pgd(step=-1), lambda: Pgd(start="origin"), lambda: Ibp(-1, 1), lambda: Ibp(1, math.inf),
     lambda: Ibp(1, 1, kappa_end=2), lambda: Ibp(1, 1, stats="all"), lambda: Ibp(1, 1, init="he")],
)  # fmt: skip
def test_bad_objectives_are_refused_when_built(build: Any) -> None:
    with pytest.raises(UsageError, match="got"):
        build()


@pytest.mark.parametrize("parts", [{"resume": True}, {"every": 3}, {"every": 0, "folder": Path("x")}])
def test_checkpoints_need_a_folder(parts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="folder"):
        train(Model(small_net()), images(), EPS, Training(Standard(), 1), **parts)


# ------------------------------------------------------------------------------------------------ names
def test_trainings_by_name() -> None:
    assert training_named("PGD", epochs=3, steps=10, seed=4).objective == Pgd(steps=10)
    assert training_named("PGD", epochs=3, steps=10, seed=4).seed == 4
    assert training_named("standard").objective == Standard()
    for epochs in (1, 7, 40):
        assert training_named("ibp", epochs=epochs).objective.lasts <= epochs
    with pytest.raises(UnknownName, match="ibp, pgd, standard"):
        training_named("magic")
    with pytest.raises(UsageError, match="'kappa'; there are"):
        training_named("ibp", kappa=1)


@pytest.mark.parametrize(("make", "shape", "least", "most"), [(digits_cnn, (1, 8, 8), 30_000, 50_000), (mnist_cnn, (1, 28, 28), 1_190_000, 1_210_000)])
def test_small_networks(make: Any, shape: tuple[int, ...], least: int, most: int) -> None:
    torch.manual_seed(9)
    generator = torch.get_rng_state()
    net = make(seed=1)
    assert torch.equal(torch.get_rng_state(), generator)
    assert same(state_of(net), state_of(make(seed=1)))
    assert not same(state_of(net), state_of(make(seed=2)))
    assert net(torch.zeros(2, *shape)).shape == (2, 10)
    assert least < sum(parameter.numel() for parameter in net.parameters()) < most
