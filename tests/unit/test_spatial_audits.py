"""Audits of sets of parameters: witnesses keep their points, verify believes none of it, and digits are turned and bent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import ironbound as ib
from ironbound.auditing.inside import points_of
from ironbound.data import load
from ironbound.recipes import rotation, stadv


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """The nearest of the ten mean digits, as a net with margins of some logits."""
    data = load("digits")
    means = torch.stack([data.x[data.y == k].mean(0).flatten() for k in range(10)])
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    net[1].weight.copy_(2 * means)
    net[1].bias.copy_(-means.square().sum(1))
    return net, data.x[:60], data.y[:60]


@pytest.mark.parametrize("threat", ["rotation:20", "flow:0.2"])
def test_witnesses_keep_their_points_and_are_checked_again(
    digits: tuple[nn.Module, Tensor, Tensor], threat: str, tmp_path: Path
) -> None:
    net, x, y = digits[0], digits[1][:24], digits[2][:24]
    method = "rotation" if threat.startswith("rotation") else "stadv"
    report = ib.audit(net, (x, y), threat=threat, method=method, out=tmp_path / "run")
    assert report.facts["verdicts"]["broken"] > 0
    assert report.facts["threat"]["spec"] == threat
    inside = next(check for check in report.checks if check["number"] == 21)
    assert inside["result"] == "pass"
    assert "data:image/png" in report.to_html()
    assert ib.verify(report.folder, net, (x, y)).holds


def test_points_that_do_not_make_their_inputs_are_refused(
    digits: tuple[nn.Module, Tensor, Tensor], tmp_path: Path
) -> None:
    net, x, y = digits
    report = ib.audit(net, (x, y), threat="rotation:20", method="rotation", out=tmp_path / "run")
    part = next((report.folder / "witnesses").glob("*.safetensors"))
    tables = load_file(part)
    region = ib.Rotation(20).at(x[: len(tables["points"])], (0.0, 1.0))
    turned = region.apply(tables["points"])
    for points, inputs in ((None, turned), (tables["points"] / 2, turned), (tables["points"], turned * 0.9)):
        assert not bool(region.contains(points_of(region, inputs, points)).any())
    assert bool(region.contains(points_of(region, turned, tables["points"])).all())
    tables["points"] = tables["points"] * 0.5
    save_file(tables, part)
    assert not ib.verify(report.folder, net, (x, y)).holds


def test_attacks_on_digits_find_more_than_chance(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, y = digits
    rate = lambda threat, method: float(ib.attack(net, x, y, threat=threat, method=method).success.double().mean())
    threat: Any = ib.Rotation(15)
    assert rate(threat, rotation()) >= rate(threat, rotation("random"))
    assert rate(threat, rotation()) >= rate(threat, rotation("gradient", steps=40))
    flow = ib.Flow(0.15)
    assert rate(flow, stadv(steps=60)) > rate(flow, "noise") + 0.1


def test_every_named_plan_of_gradients_works_on_angles(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, y = digits
    report = ib.audit(net, (x[:10], y[:10]), threat="rotation:20", method="quick")
    assert "points of Rotation stand for changed inputs and are none" in " ".join(report.facts["notes"])
    assert report.certified_accuracy == 0


def test_a_net_is_hardened_against_flows(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, y = digits
    trained = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trained.load_state_dict(net.state_dict())
    made = ib.harden(trained, (x, y), threat="rotation:20", method="pgd", epochs=1, steps=2, audit=None)
    assert made.history[-1]["eps"] == 20
