"""The judge's tolerance: what rounding could explain is no success, also where a row's own logits are all small."""

from __future__ import annotations

import torch
from torch import nn

import ironbound as ib
from ironbound.core.judge import convincing, scale_of
from ironbound.core.rng import forked
from ironbound.searches.boundary import HopSkipJump


def one_logit_net() -> nn.Module:
    with forked(3):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))


def test_witnesses_on_one_logit_at_the_boundary_hold_alone():
    net = one_logit_net()
    x = torch.linspace(0, 1, 40 * 64).frac().reshape(40, 1, 8, 8)
    x = (x * 7.3).frac()
    model = ib.Model(net, outputs="logit")
    with torch.no_grad():
        y = (net(x)[:, 0] > 0).long()
    search = HopSkipJump(rounds=2, probes=20, bisections=40)
    attack = ib.Attack(ib.L2(), ib.Untargeted(), ib.Margin(), search, ib.Labels(), ib.Want.SMALLEST)
    found = attack(model, x, y)
    assert bool(found.success.any())
    with torch.no_grad():
        alone = torch.cat([net(row[None])[:, 0] for row in found.adversarial])
    fooled = (alone > 0).long() != y
    assert bool(fooled[found.success].all())


def test_the_scale_is_the_largest_logit_and_nan_has_none():
    out = torch.tensor([[1.0, -7.0], [float("nan"), 2.0], [0.0, 0.0]])
    assert scale_of(out).tolist() == [7.0, 0.0, 0.0]
    assert scale_of(torch.tensor([1, 2, 3])) is None


def test_a_margin_counts_from_tau_on_and_never_at_zero():
    margin, scale = torch.tensor([0.0, 1e-5, 1e-3, 1.0]), torch.tensor([0.0, 1.0, 10.0, 10.0], dtype=torch.float64)
    assert convincing(margin, scale).tolist() == [False, False, True, True]
