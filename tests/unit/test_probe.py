"""What a probe sees: for each thing that can be wrong a model or data with it, and the line that mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import digits, digits_net
from cli_samples import harmless, write_zoo
from ironbound.cli import run
from ironbound.core.errors import UnknownName
from ironbound.probing import costs
from ironbound.probing.applies import audit_time


class Around(nn.Module):
    """The trained net for digits behind something that is wrong."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.net, self.change = digits_net(), change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.net, x)


@pytest.fixture(scope="module")
def data() -> Any:
    return digits(64)


def seen(model: Any, data: Any, **options: Any) -> dict[str, Any]:
    found = ib.probe(model, data, **options)
    assert bool(found) == (not any(finding.mend for finding in found.findings))
    json.dumps(found.as_dict())
    return {finding.subject: finding for finding in found.findings}


def test_a_model_that_fits(data: Any) -> None:
    found = ib.probe(digits_net(), data, threat="linf:0.05")
    assert found
    assert found.outputs == "logits"
    assert found.classes == 10
    assert found.clean is not None
    assert found.clean.fraction > 0.8
    assert {"pgd", "apgd", "square"} <= set(found.attacks)
    assert "rotation" not in found.attacks
    assert {"ibp", "crown"} <= set(found.bounds)
    assert found.estimate is not None
    assert found.estimate.samples == 64
    assert all(found.speed[name] > 0 for name in ("forward", "backward", "bytes"))  # type: ignore[operator]
    assert "clean accuracy: " in str(found)


def test_the_model_is_left_as_it_was(data: Any) -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = seen(net, data)
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert "1 of batch norm, 1 of dropout" in found["modes"].seen
    assert "handed over in training mode" in found["modes"].seen


@pytest.mark.parametrize(
    ("change", "subject", "said"),
    [
        (lambda net, x: net(x / 255), "inputs", "They fill less than a tenth"),
        (lambda net, x: net(x * 2 - 0.7), "clean accuracy", ""),
        (lambda net, x: net(x).softmax(1), "outputs", "probabilities"),
        (lambda net, x: net(x) + x.mean(), "determinism", "alone is answered otherwise"),
        (lambda net, x: net((x * 8).round() / 8), "gradients", "of 64 inputs 64 have a gradient that is zero"),
        (lambda net, x: net(x) * torch.where(x.amax() > 2, x.amax(), 0.0), "clean accuracy", "most frequent class"),
        (lambda net, x: net(x)[:, :4], "labels", "no output for 9"),
        (lambda net, x: net(x).argmax(1), "outputs", "decisions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_seen(change: Any, subject: str, said: str, data: Any) -> None:
    if subject == "inputs":
        found = seen(ib.Model(Around(change), range=(0, 255)), data)
    else:
        found = seen(Around(change), data)
    assert said in found[subject].seen
    if subject not in ("outputs", "clean accuracy"):
        assert found[subject].mend
        assert found[subject].fix


def test_a_net_that_draws(data: Any) -> None:
    net = Around(lambda inner, x: inner(x) + nn.functional.dropout(torch.ones(10), 0.5, training=True) * 3)
    found = seen(net, data)
    assert "differ by" in found["determinism"].seen
    assert found["determinism"].fix == "ironbound.Model(net, random=True), at the prompt --random"
    assert "declared random" in seen(ib.Model(net, random=True), data)["determinism"].seen


def test_a_normalisation_that_is_missing_is_guessed(data: Any) -> None:
    net = Around(lambda inner, x: inner(x * 0.3081 + 0.1307).clamp(-50, 50))  # expects what MNIST's normalisation gives
    shifted = Around(lambda inner, x: inner(x * 0.5 + 0.5) * (x.flatten(1).amin(1) < -0.9).float()[:, None])
    assert "preprocessing" in seen(net, data)
    found = seen(shifted, data)
    assert found["preprocessing"].mend
    assert (
        found["preprocessing"].fix
        == "ironbound.Model(net, mean=(0.5,), std=(0.5,)), at the prompt --mean 0.5 --std 0.5"
    )


def test_data_of_another_range(data: Any) -> None:
    x, y, net = data.x * 255, data.y, Around(lambda inner, x: inner(x.clamp(0, 1)))
    found = seen(net, (x, y))
    assert found["inputs"].mend
    assert "They leave it" in found["inputs"].seen
    assert found["model"].mend
    line = "ironbound.Model(net, range=(0.0, 255.0), std=255), at the prompt --range 0,255 --std 255"
    assert found["preprocessing"].fix == line
    mended = seen(ib.Model(net, range=(0.0, 255.0), std=255), (x, y))
    assert not [one for one in mended.values() if one.mend]


def test_a_part_without_a_bound_is_named(data: Any) -> None:
    found = ib.probe(Around(lambda net, x: net(torch.sort(x, -1).values)), data, threat="linf:0.05")
    assert found.bounds == ()
    assert any("sort" in finding.seen for finding in found.findings if finding.subject == "not bounded")


def test_a_radius_in_another_unit_and_threats_there_are_not(data: Any) -> None:
    found = seen(digits_net(), data, threat="linf:8")
    assert "covers the whole range" in found["threat"].seen
    assert found["threat"].mend
    with pytest.raises(UnknownName):
        ib.probe(digits_net(), data, threat="linnf:8")


def test_the_time_of_an_audit_is_rows_by_speed() -> None:
    found = audit_time(100, 0.5, 1000.0, 500.0)
    forward, backward = costs.AUDIT
    assert found is not None
    assert found.seconds == pytest.approx(2 * 50 * (forward / 1000 + backward / 500))
    assert audit_time(100, 0.5, 1000.0, None) is None


# ------------------------------------------------------------------------------------------- at the prompt
def test_at_the_prompt(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(write_zoo(tmp_path))
    flags = ["--data", "digits", "--samples", "40"]
    assert run(["probe", "zoo.py:net", "--weights", "net.safetensors", *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is True
    assert run(["probe", "zoo.py:picky", *flags]) == 1
    said = capsys.readouterr()
    assert "To mend before figures are believed: model" in said.out
    assert harmless(said.out + said.err)
    assert run(["probe", *flags]) == 2
    assert "--model is missing" in capsys.readouterr().err
    np.savez(tmp_path / "odd.npz", x=np.zeros((3, 5), np.float32), y=np.zeros(3, np.int64))
    assert run(["probe", "zoo.py:net", "--data", "odd.npz"]) == 1
    assert "fails on inputs of shape" in capsys.readouterr().out


def test_a_net_that_draws_is_not_said_to_mind_the_mode_or_to_lack_gradients(data: Any) -> None:
    net = Around(lambda net, x: net(x + 0.2 * torch.randn_like(x)))
    assert "modes" not in seen(net, data)
    found = seen(ib.Model(net, random=True), data, threat="linf:0.05")
    assert "random model is not compared" in found["modes"].seen
    assert "no gradients" not in found["audit"].seen


def test_weights_are_no_memory_of_a_row() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 10))
    kept = ib.probe(net, digits(16)).speed["bytes"]
    assert kept is not None
    assert 4 * 4096 <= kept <= 2 * 4 * (4096 + 64)


def test_whole_numbers_are_looked_at_without_gradients() -> None:
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(20, 3))
    tokens = torch.arange(150).reshape(30, 5) % 10
    with torch.no_grad():
        labels = net(tokens).argmax(1)
    found = ib.probe(ib.Model(net, range=None), (tokens, labels))
    assert found
    assert found.clean is not None
    assert found.speed["backward"] is None
    outputs = next(one for one in found.findings if one.subject == "outputs")
    assert "told by" not in outputs.seen


def test_the_generator_of_the_caller_is_left_as_it_was(data: Any) -> None:
    net = nn.Sequential(digits_net(), nn.Dropout(0.5))
    before = torch.get_rng_state()
    ib.probe(net, data)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("right", "said"), [(3, "may be as good"), (1, "is as good")])
def test_few_samples_do_not_make_the_most_frequent_class_as_good(right: int, said: str) -> None:
    x, labels = torch.eye(4), torch.tensor([0, 1, 2, 0] if right == 3 else [0, 2, 3, 1])
    net = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(4))
    assert said in seen(net, (x, labels))["clean accuracy"].seen


def test_the_model_as_a_flag_as_in_other_commands(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(write_zoo(tmp_path))
    assert run(["probe", "--model", "zoo.py:nothing", "--data", "digits"]) == 2
    assert "there is no 'nothing'" in capsys.readouterr().err
    assert run(["probe", "zoo.py:net", "--model", "zoo.py:other", "--data", "digits"]) == 2
    assert "model is given twice: 'zoo.py:net', and --model 'zoo.py:other'" in capsys.readouterr().err
