"""Convolutions of a training lie channels-last inside, and nobody sees it outside."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.core.errors import UsageError
from ironbound.core.progress import Event
from ironbound.core.rng import forked
from ironbound.defenses.train import Training, train
from ironbound.models.cheap import fast_layout, layout_kept
from ironbound.models.model import Model
from training_samples import EPS, OBJECTIVES, Stop, images, same, state_of


def net_of(stride: int = 1) -> nn.Sequential:
    with forked(0):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, stride=stride), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, stride=stride),
            nn.ReLU(), nn.Flatten(), nn.LazyLinear(3),
        )  # fmt: skip


def settled(stride: int = 1) -> tuple[nn.Sequential, Tensor, Tensor]:
    x = torch.linspace(0, 1, 7 * 144).view(7, 1, 12, 12).square()
    net = net_of(stride)
    with forked(1):
        net(x)
    return net, x, torch.arange(7) % 3


def last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_weights_are_moved_and_come_back_also_after_an_error() -> None:
    net, _, _ = settled()
    before, kept = state_of(net), net[3].weight

    def change() -> None:
        with fast_layout(net), torch.no_grad():
            assert last(net[3].weight)
            assert net[3].weight is kept
            assert same(before, state_of(net))
            net[3].weight[0, 1, 2, 0] += 1.0
            raise UsageError("stop")

    with pytest.raises(UsageError):
        change()
    before["3.weight"][0, 1, 2, 0] += 1.0
    assert net[3].weight.is_contiguous()
    assert same(before, state_of(net))


def test_an_own_layout_comes_back_and_strided_nets_and_float64_are_left() -> None:
    net, _, _ = settled()
    net.to(memory_format=torch.channels_last)
    with fast_layout(net):
        assert last(net[3].weight)
    assert last(net[3].weight)
    for other in (settled(stride=2)[0], settled()[0].double()):
        with fast_layout(other):
            assert other[3].weight.is_contiguous()


def test_gradients_are_those_of_the_plain_layout() -> None:
    net, x, y = settled()
    own = copy.deepcopy(net)
    F.cross_entropy(own(x), y).backward()
    with fast_layout(net):
        with layout_kept(net):
            out = net(x)
        F.cross_entropy(out, y).backward()
    for (name, weight), plain in zip(net.named_parameters(), own.parameters(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, plain.grad, rtol=1e-4, atol=1e-7, msg=name)
    assert not any(part._forward_hooks for part in net.modules())


def test_a_training_in_that_layout_resumes_to_the_bit_and_gives_plain_weights_back(tmp_path: Path) -> None:
    with forked(3):
        net = nn.Sequential(
            nn.Conv2d(1, 9, 3), nn.ReLU(), nn.Conv2d(9, 7, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 3)
        )
    training = Training(OBJECTIVES["pgd"], 3, batch=32, rate=0.01)
    whole = train(Model(net), images(), EPS, training)
    seen: list[bool] = []

    def listener(event: Event) -> None:
        seen.append(True)
        if len(seen) == 4:
            raise Stop

    with pytest.raises(Stop):
        train(Model(net), images(), EPS, training, folder=tmp_path, every=1, progress=listener)
    found = train(Model(net), images(), EPS, training, folder=tmp_path, resume=True)
    assert same(state_of(whole.model.net), state_of(found.model.net))
    assert all(weight.is_contiguous() for weight in found.model.net.parameters())
    assert all(weight.is_contiguous() for weight in net.parameters())
