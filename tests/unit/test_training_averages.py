"""Averages of the weights, against sums written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ironbound.core.progress import Event
from ironbound.defenses.train import Adversarial, Standard, Steps, Training, train
from ironbound.defenses.train.averaging import Average
from ironbound.models.model import Model
from training_samples import EPS, images, same, small_net, state_of


def seen(training: Training, net: nn.Module) -> tuple[list[dict[str, Tensor]], Any]:
    """The weights after each update, copied by a training that averages nothing, and the trained model of this one."""
    trail: list[dict[str, Tensor]] = []
    plain = training.replace(average=None, validation=None, patience=None)
    model = Model(net)
    box: list[nn.Module] = []
    from ironbound.defenses.train import loop

    class Spied(loop.Run):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            box.append(self.net)

    def listener(event: Event) -> None:
        trail.append(state_of(box[0]))

    before, loop_run = loop.Run, "ironbound.defenses.train.trainer.Run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_run, Spied)
        train(model, images(), EPS, plain, progress=listener)
    assert loop.Run is before
    return trail, train(model, images(), EPS, training).model.net


def test_the_exponential_average_is_that_of_the_updates() -> None:
    training = Training(Adversarial(Steps(1)), 3, batch=30, rate=0.01, average=0.8, recover=False)
    trail, net = seen(training, small_net())
    mean = {name: tensor.double() for name, tensor in trail[0].items()}
    for t, weights in enumerate(trail[1:], start=1):
        decay = min(0.8, (1 + t) / (10 + t))
        mean = {name: decay * mean[name] + (1 - decay) * weights[name] for name in mean}
    got = state_of(net)
    for name in mean:
        expected = trail[-1][name].double() if "num_batches" in name else mean[name]
        assert torch.allclose(got[name].double(), expected, atol=1e-6), name
    assert not same(got, trail[-1])


def test_stochastic_averaging_is_the_mean_of_the_ends_of_epochs() -> None:
    training = Training(Standard(), 4, batch=30, rate=0.01, average="swa", swa_start=0.5)
    trail, net = seen(training, small_net(norm=False, dropout=0))
    ends = [trail[2::3][epoch] for epoch in (2, 3)]
    got = state_of(net)
    assert all(torch.allclose(got[name], (ends[0][name] + ends[1][name]) / 2, atol=1e-6) for name in got)


def test_statistics_of_the_mean_settle_where_a_training_with_its_weights_leads() -> None:
    """Not the mean of the statistics: weights of two signs cancel, and so must the statistics of what they give."""
    training = Training(Standard(), 2, batch=30, rate=0.05, average="swa", swa_start=0.0, schedule="constant")
    net = train(Model(small_net(dropout=0)), images(), None, training).model.net
    inputs: list[Tensor] = []
    net[1].register_forward_pre_hook(lambda part, args: inputs.append(args[0]))
    with torch.no_grad():
        net(images()[0])
    mean, spread = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
    # three batches an epoch, each 0.1 of the way: 27% of the way from the mean of the statistics
    trail, _ = seen(training, small_net(dropout=0))
    middle = (trail[2]["1.running_mean"] + trail[5]["1.running_mean"]) / 2
    moved = (net[1].running_mean - middle) / (mean - middle)
    assert torch.allclose(moved, torch.full_like(moved, 1 - 0.9**3), atol=0.05)
    assert (net[1].running_var > 0).all()
    assert spread.isfinite().all()


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=8), st.floats(0.1, 0.99))
@settings(max_examples=30, deadline=None)
def test_averages_lie_between_the_least_and_the_largest_weight(values: list[float], decay: float) -> None:
    net = nn.Linear(1, 1, bias=False)
    for kind in (decay, "swa"):
        average = Average(net, kind, 0.0)
        for value in values:
            with torch.no_grad():
                net.weight.fill_(value)
            average.updated()
            average.ended(1.0)
        with average.swapped(lambda: None):
            assert min(values) - 1e-4 <= float(net.weight.detach()) <= max(values) + 1e-4
            if kind == "swa":
                assert float(net.weight.detach()) == pytest.approx(sum(values) / len(values), abs=1e-4)
        assert float(net.weight.detach()) == pytest.approx(values[-1])


def test_frozen_weights_are_given_back_as_they_are() -> None:
    net = small_net()
    net[0].requires_grad_(False)
    kept = state_of(net)["0.weight"]
    training = Training(Standard(), 2, batch=30, rate=0.01, average=0.5)
    assert torch.equal(state_of(train(Model(net), images(), None, training).model.net)["0.weight"], kept)
