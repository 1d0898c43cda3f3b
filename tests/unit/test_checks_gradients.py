"""Checks of objectives and gradients: classes, the whole graph, true gradients, the stable loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import Turned, Wrap, digits_net, drawn, evidence, mlp
from ironbound.auditing.checks import CHECKS
from ironbound.auditing.plan import Attacking, Plan


def look(number: int, *args: Any, **options: Any) -> Any:
    return CHECKS[number].look(evidence(*args, **options))


def test_3_an_objective_for_more_classes_than_there_are() -> None:
    plan = Plan("dlr", (Attacking("apgd", ib.recipes.apgd(steps=3, loss="dlr")),))
    two, x = mlp(64, 8, 2), drawn(8, 1, 8, 8)
    failed = look(3, two, plan, x=x)
    assert failed.result == "fail"
    assert "DLR needs 3 classes" in failed.evidence
    assert look(3, digits_net(), plan).result == "pass"
    clamped = Plan("t", (Attacking("apgd", ib.recipes.apgd_targeted(steps=2, targets=9)),))
    told = look(3, mlp(64, 8, 5), clamped, x=x)
    assert told.result == "pass"
    assert "of 5 classes there are 4" in told.evidence


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


class Beside(nn.Module):
    """A net whose answer takes a second path, which is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.rounding = digits_net(), Cut()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + 1e-3 * self.net(self.rounding(x))


def test_5_a_graph_that_is_cut() -> None:
    assert look(5, digits_net()).result == "pass"
    beside = look(5, Beside())
    assert beside.result == "cannot tell"
    assert "rounding" in beside.evidence
    found = evidence(digits_net())
    found.model.net.insert(0, Cut())  # a run by gradient would not even begin
    whole = CHECKS[5].look(found)
    assert whole.result == "fail"
    assert "It ends in 0" in whole.evidence
    without = Plan("hsj", (Attacking("hsj", ib.recipes.hopskipjump(queries=30)),))
    assert look(5, nn.Sequential(Cut(), digits_net()), without).result == "not applicable"


class Straight(torch.autograd.Function):
    """Forward: black or white; backward: as if nothing had happened."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0.5).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


@pytest.mark.parametrize("threat", [ib.Linf(0.05), ib.Linf(0.3), ib.L2(1.0), ib.L1(3.0)], ids=repr)
def test_6_gradients_that_are_true(threat: Any) -> None:
    assert look(6, digits_net(), threat=threat).result == "pass"
    turned = look(6, Wrap(digits_net(), lambda z: z, Turned.apply), threat=threat)
    assert turned.result == "fail"
    assert "of 16 (100.0%)" in turned.evidence


def test_6_stand_ins_and_flat_nets() -> None:
    grey = drawn(16, 1, 8, 8) * 0.2 + 0.2  # within a tenth of the radius nothing becomes white
    assert look(6, Wrap(digits_net(), lambda z: z, Straight.apply), x=grey).result != "pass"
    flat = Wrap(digits_net(), lambda z: (z * 4).round() / 4)
    assert look(6, flat).result == "fail"
    constant = Wrap(digits_net(), lambda z: 0 * z + torch.arange(10.0))
    assert look(6, constant).result == "cannot tell"


def test_7_a_loss_that_jumps() -> None:
    assert look(7, digits_net()).result == "pass"
    jumping = Wrap(digits_net(), lambda z: z, lambda x: x + 0.5 * torch.sin(1e5 * x))
    failed = look(7, jumping)
    assert failed.result == "fail"
    assert "100 points" in failed.evidence
