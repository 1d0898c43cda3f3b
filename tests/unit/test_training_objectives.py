"""What trainings minimise, their schedules, names and networks."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.core.errors import (
    UnknownName,
    UsageError,
)
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train import Adversarial, Ibp, Standard, Steps, Training, train, training_named
from ironbound.defenses.train.fused import ascend
from ironbound.defenses.train.initial import initialise
from ironbound.defenses.train.objective import Batch, Scene, cross_entropy
from ironbound.models.model import Model
from ironbound.models.zoo import cifar_resnet18, cifar_wide_resnet, digits_cnn, mnist_cnn
from ironbound.sets import Linf
from training_samples import EPS, images, same, small_net, state_of, trained


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
    assert (
        row["certified_accuracy"]
        == row["clean_accuracy"]
        == pytest.approx((net(x).argmax(1) == y).double().mean().item())
    )


def test_frozen_normalisations_keep_their_statistics_under_bounds() -> None:
    x, y = images(30)
    model = Model(small_net(dropout=0).train())
    model.settle(x[:1])
    model.net[1].eval()
    model.net[1].running_mean.fill_(0.2)  # type: ignore[union-attr, operator]
    scene = Scene(model, EPS, x, y)
    batch = Batch(x, y, Rng.of(0, content_keys(x, y)), 3.0, torch.arange(30))
    by_batch, running = (Ibp(1, 1, stats=stats).loss(scene, batch).losses for stats in ("batch", "running"))
    assert torch.equal(by_batch, running)
    assert torch.equal(model.net[1].running_mean, torch.full((6,), 0.2))
    model.net[1].train()
    assert not torch.equal(Ibp(1, 1).loss(scene, batch).losses, running)
    assert not torch.equal(model.net[1].running_mean, torch.full((6,), 0.2))


def test_certified_never_exceeds_attacked_and_training_helps() -> None:
    x, y = images(90)
    standard = trained(Standard(), small_net(dropout=0), epochs=8).model
    robust = trained(Ibp(warmup=1, ramp=4), small_net(dropout=0), epochs=8).model
    certified, attacked = _verdicts(robust, x, y)
    assert not (certified & ~attacked).any()
    assert certified.double().mean() > 0.8
    certified, attacked = _verdicts(standard, x, y)
    assert not (certified & ~attacked).any()
    assert certified.double().mean() < 0.5


def test_adversarial_training_helps() -> None:
    from ironbound.data import load

    data, test = load("digits:train", samples=500), load("digits:test", samples=200)
    robust = {}
    for name in ("standard", "pgd"):
        model = train(Model(digits_cnn()), data, Linf(0.15), training_named(name, epochs=10, rate=0.01, batch=50)).model
        region = Linf(0.15).at(test.x, model.box)
        points = _ascended(model, region, test.x, test.y, test.x, 0.03)
        with torch.no_grad():
            assert (model.net(test.x).argmax(1) == test.y).double().mean() > 0.8
            robust[name] = float((model.net(points).argmax(1) == test.y).double().mean())
    assert robust["pgd"] > robust["standard"] + 0.25


def _ascended(model: Model, region: Any, x: Tensor, y: Tensor, start: Tensor, size: float) -> Tensor:
    rng = Rng.of(0, content_keys(x, y))
    return ascend(model, region, lambda logits: cross_entropy(logits, y), start, steps=20, size=size, rng=rng)


def _verdicts(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    from ironbound.certification.graph import trace
    from ironbound.certification.margins import margins

    region, rng = EPS.at(x, model.box), Rng.of(0, content_keys(x, y))
    with torch.no_grad():
        certified = (margins(trace(model.module, x), region.lo, region.hi, y) > 0).all(1)
    points = _ascended(model, region, x, y, region.sample(rng), EPS.eps / 5)
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

    def step(clip: float | None) -> float:
        after = trained(Standard(), net, clip=clip, **parts).model.net
        moves = [b.detach() - a.detach() for a, b in zip(net.parameters(), after.parameters(), strict=True)]
        return float(torch.cat([move.flatten() for move in moves]).norm())

    assert step(0.01) == pytest.approx(0.01, rel=1e-3)
    assert step(None) > 0.02


# ------------------------------------------------------------------------------------------------ names
def test_trainings_by_name() -> None:
    assert training_named("PGD", epochs=3, steps=10, seed=4).objective == Adversarial(Steps(10))
    assert training_named("PGD", epochs=3, steps=10, seed=4).seed == 4
    assert training_named("standard").objective == Standard()
    for epochs in (1, 7, 40):
        assert training_named("ibp", epochs=epochs).objective.lasts <= epochs
    with pytest.raises(UnknownName, match=r"There are: .*ibp.*pgd"):
        training_named("magic")
    with pytest.raises(UsageError, match=r"'kappa'. Did you mean 'kappa_end'"):
        training_named("ibp", kappa=1)


@pytest.mark.parametrize(
    ("make", "shape", "least", "most"),
    [
        (digits_cnn, (1, 8, 8), 30_000, 50_000),
        (mnist_cnn, (1, 28, 28), 1_190_000, 1_210_000),
        (cifar_resnet18, (3, 32, 32), 11_170_000, 11_180_000),
        (partial(cifar_wide_resnet, depth=10, width=1), (3, 32, 32), 77_000, 79_000),
    ],
)
def test_small_networks(make: Any, shape: tuple[int, ...], least: int, most: int) -> None:
    torch.manual_seed(9)
    generator = torch.get_rng_state()
    net = make(seed=1)
    assert torch.equal(torch.get_rng_state(), generator)
    assert same(state_of(net), state_of(make(seed=1)))
    assert not same(state_of(net), state_of(make(seed=2)))
    assert net.eval()(torch.zeros(2, *shape)).shape == (2, 10)
    assert least < sum(parameter.numel() for parameter in net.parameters()) < most
