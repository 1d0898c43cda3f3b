"""Rows held out, early stopping, and the best weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rng import content_keys
from ironbound.defenses.train import Adversarial, Standard, Steps, Training, train
from ironbound.defenses.train.checkpoint import Position
from ironbound.defenses.train.objective import Scene
from ironbound.defenses.train.validation import Measured, Validation, held_out, parted
from ironbound.models.model import Model
from ironbound.sets import L0, L2, Linf
from training_samples import EPS, images, same, small_net, state_of


@given(st.integers(10, 60), st.floats(0.05, 0.8), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_rows_are_held_out_by_content(count: int, share: float, seed: int) -> None:
    x, y = images(count)
    training = Training(Standard(), 1, validation=share, seed=seed)
    fit, labels, probe = parted(x, y, training)
    assert probe is not None
    both = torch.cat([content_keys(fit, labels), probe.keys]).sort().values
    assert torch.equal(both, content_keys(x, y).sort().values)
    assert len(probe.y) == max(1, round(share * count))
    order = torch.arange(count).flip(0)  # whatever the order of the data, the same rows
    other = parted(x[order], y[order], training)[2]
    assert other is not None
    assert torch.equal(other.keys.sort().values, probe.keys.sort().values)


def test_copies_of_a_row_stay_on_one_side() -> None:
    x, y = images(30)
    x, y = x.repeat(3, 1, 1, 1), y.repeat(3)
    fit, labels, probe = parted(x, y, Training(Standard(), 1, validation=20))
    assert probe is not None
    assert not set(content_keys(fit, labels).tolist()) & set(probe.keys.tolist())
    assert len(probe.y) == 21


def test_how_many_rows() -> None:
    held = lambda count, **parts: held_out(Training(Standard(), 5, **parts), count)
    assert (held(5000), held(5000, patience=2), held(50_000, patience=2)) == (0, 500, 1000)
    assert (held(5000, validation=0.02), held(5000, validation=70)) == (100, 70)
    with pytest.raises(UsageError, match="leaves 0 to train on"):
        parted(*images(20), Training(Standard(), 1, validation=20))


def test_what_is_measured_is_what_an_attack_finds() -> None:
    from ironbound import attack

    x, y = images()
    net = train(Model(small_net(dropout=0)), (x, y), None, Training(Standard(), 4, batch=30, rate=0.01)).model.net
    fit, labels, probe = parted(x, y, Training(Standard(), 1, validation=60))
    assert probe is not None
    model, threat = Model(net), Linf(0.25)
    model.settle(x[:1])
    found = probe.measure(Scene(model, threat, fit, labels))
    engine = attack(net, probe.x, probe.y, threat=threat, method="pgd", seed=3)
    right = int((~engine.success).sum())
    assert found.clean == int((net(probe.x).argmax(1) == probe.y).sum()) > right
    assert abs(found.attacked - right) <= 3
    weak = probe.measure(Scene(model, threat, fit, labels), strength=0.2)
    assert found.attacked < weak.attacked
    union = probe.measure(Scene(model, threat | L2(0.1), fit, labels))
    assert union.attacked <= found.attacked


def test_the_best_weights_are_given_back_and_the_training_stops(monkeypatch: Any) -> None:
    results = iter([(5, 9), (7, 8), (7, 9), (7, 9), (6, 10), (9, 9)])
    nets: list[dict[str, torch.Tensor]] = []

    def measured(self: Any, scene: Any, strength: float = 1.0, place: Any = None) -> Measured:
        nets.append(state_of(scene.model.net))
        attacked, clean = next(results)
        return Measured(clean, attacked, 10)

    monkeypatch.setattr("ironbound.defenses.train.validation.Probe.measure", measured)
    training = Training(Adversarial(Steps(2)), 9, batch=40, rate=0.01, validation=10, patience=2)
    result = train(Model(small_net()), images(), EPS, training)
    assert [row["validation_attacked"] for row in result.history] == [0.5, 0.7, 0.7, 0.7, 0.6]
    assert result.history[0]["validation_rows"] == 10
    assert result.best == {"epoch": 3, "result": {"clean": 9, "attacked": 7, "of": 10}}
    assert "in 2 epochs" in result.stopped
    assert same(nets[2], state_of(result.model.net))


@pytest.mark.parametrize("average", [0.7, "swa"])
def test_averages_are_what_is_validated_and_given_back(average: Any) -> None:
    x, y = images()
    training = Training(
        Standard(), 5, batch=30, rate=0.01, average=average, swa_start=0.2, validation=30, seed=1, schedule="constant"
    )
    result = train(Model(small_net()), (x, y), None, training)
    probe = parted(x, y, training)[2]
    assert probe is not None
    assert result.best is not None
    right = int((result.model.net(probe.x).argmax(1) == probe.y).sum())
    assert (
        right
        == result.best["result"]["clean"]
        == round(30 * result.history[result.best["epoch"] - 1]["validation_clean"])
    )
    assert all(row["validation_attacked"] is None for row in result.history)  # there is no set


def test_epochs_before_the_full_radius_are_no_candidates() -> None:
    class Fixed:
        def measure(self, scene: Any, place: Any) -> Measured:
            return Measured(9, 9, 10)

    from ironbound.defenses.train.checkpoint import Position

    validation = Validation(Fixed(), Training(Standard(), 9, patience=1), begins=3.0)  # type: ignore[arg-type]
    scene: Any = type("S", (), {"model": Model(nn.Linear(2, 2))})
    at = Position(epoch=1)
    validation.judged(scene, at)
    assert at.best is None
    at.epoch = 2
    validation.judged(scene, at)
    assert at.best is not None
    assert (at.best["epoch"], at.stopped) == (3, "")
    at.epoch = 3
    validation.judged(scene, at)
    assert at.stopped


def test_validation_changes_no_draw_of_the_training() -> None:
    """Rows that are held out aside: the same updates, whether or not something is measured between them."""
    x, y = images()
    training = Training(Adversarial(Steps(2)), 2, batch=30, rate=0.01, validation=30, seed=2)
    fit, labels, _ = parted(x, y, training)
    trail: list[list[float]] = []
    for data, now in (((x, y), training), ((fit, labels), training.replace(validation=None))):
        trail.append([row["loss"] for row in train(Model(small_net()), data, EPS, now).history])
    assert trail[0] == trail[1]


def test_sets_without_a_projection_are_refused() -> None:
    with pytest.raises(CompositionError, match="validation and recovery attack by projected gradient"):
        train(Model(small_net()), images(), L0(2), Training(Standard(), 1, validation=0.2))


def test_epochs_that_are_done_again_do_not_use_up_the_patience() -> None:
    x, y = images(30)
    training = Training(Standard(), 9, validation=10, patience=1)
    probe, scene = parted(x, y, training)[2], Scene(Model(small_net()), None, x, y)
    assert probe is not None
    object.__setattr__(probe, "measure", lambda scene, place: Measured(5, 5, 10))
    validation, at = Validation(probe, training, 0), Position(epoch=3)
    for epoch in (3, 2, 3):  # the best one, then back to where the epoch before it was done
        at.epoch = epoch
        validation.judged(scene, at)
        assert (at.best or {})["epoch"] == 4
        assert (at.stale, at.stopped) == (0, "")
    at.epoch = 4
    validation.judged(scene, at)
    assert at.stale == 1
    assert "in 1 epoch:" in at.stopped
