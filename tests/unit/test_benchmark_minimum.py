"""The comparison of minimum-norm attacks: what counts as a success, which passes are counted, what the page says."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("minimum", "minimum_page", "minimum_peers", "counting", "peers", "peer", "cases", "nets", "timing")


@pytest.fixture
def module(monkeypatch):
    """A module of the benchmarks by its name; none stays imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


class Above(nn.Module):
    """Class 1 where the mean is above a half, else class 0."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], 1)


class Company(nn.Module):
    """Answers otherwise where it sees one input alone."""

    def forward(self, x):
        out = Above()(x)
        return out if len(x) > 1 else out.flip(1)


def test_a_success_is_in_the_range_and_wrong_in_any_company(module):
    minimum = module("minimum")
    x, y = torch.full((4, 1, 1, 2), 0.25), torch.zeros(4, dtype=torch.long)
    made = x.clone()
    made[0] = 0.75  # wrong, by 0.5 in Linf
    made[1] = 1.5  # wrong, and outside
    made[3] = 0.6  # wrong; the third is right
    claimed = torch.ones(4, dtype=torch.bool)
    line = minimum.outcome(Above(), x, y, made, claimed, "linf")
    assert (line["claimed"], line["real"], line["false"], line["outside"]) == (4, 2, 2, 1)
    assert line["sizes"][1] is None
    assert line["sizes"][2] is None
    assert line["mean"] == pytest.approx((0.5 + 0.35) / 2)
    assert line["median"] == pytest.approx(0.5)  # of two found and two infinite the lower middle
    assert minimum.outcome(Company(), x, y, made, claimed, "linf")["real"] == 0
    none = minimum.outcome(Above(), x, y, x, ~claimed, "l2")
    assert none["median"] == math.inf


def test_distances_are_those_of_the_norms(module):
    distance, change = module("minimum").distance, torch.tensor([[0.3, 0.0, -0.4]])
    assert [float(distance(change.double(), norm)) for norm in ("linf", "l2", "l1", "l0")] == pytest.approx(
        [0.4, 0.5, 0.7, 2.0]
    )


def test_passes_are_counted_by_rows_forward_and_backward(module):
    counting, x = module("counting"), torch.full((6, 1, 1, 2), 0.25)

    def work(net):
        with torch.no_grad():
            net(x)
        p = x[:4].clone().requires_grad_()
        out = net(p)
        torch.autograd.grad(out[:, 0].sum(), p, retain_graph=True)
        torch.autograd.grad(out[:, 1].sum(), p)

    _, passes, _ = counting.measured(Above(), work)
    assert [(one.rows, one.backward) for one in passes.each] == [(6, 0), (4, 2)]
    assert (passes.forward, passes.backward) == (10, 8)
    again, seen, _ = counting.measured(Above(), lambda net: passes.replayed(net, x))
    assert again > 0
    assert [(one.rows, one.backward) for one in seen.each] == [(6, 0), (4, 2)]


def test_our_own_rows_are_those_that_are_counted_from_outside(module):
    minimum = module("minimum")
    x, y = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(0)) / 2, torch.zeros(8, dtype=torch.long)
    line = minimum._of_ours(minimum._ours("deepfool"), "l2", Above(), x, y)
    assert line["real"] == line["claimed"] == 8
    probes = line["forward"] * 8 - line["ledger"]["forward"]
    assert 0 <= probes <= 15 + 8  # beside the attack's: what finds out the kind of output, and company for rows alone
    assert line["failures are clean"]


def test_the_page_has_ours_first_and_says_what_did_not_hold(module):
    page = module("minimum_page")
    ours = {"samples": 10, "claimed": 10, "real": 10, "false": 0, "median": 0.5, "mean": 0.6, "forward": 3.0,
            "backward": 2.0, "over": 1.5, "ratio": 0.5, "beside": "df(steps=50)"}  # fmt: skip
    theirs = ours | {"claimed": 9, "real": 7, "false": 2}
    del theirs["ratio"]
    line = {
        "case": "net",
        "samples": 10,
        "images": 12,
        "ours": {"deepfool l2": ours},
        "rivals": {"df(steps=50)": theirs},
    }
    text = page.page([line], [("deepfool", "l2"), ("cw", "l2")])
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert "**ironbound**" in rows[2]
    assert "0.50 (df)" in rows[2]
    assert "adv-lib `df(steps=50)` | 10 | 70.0% | 9, 2 |" in rows[3]
    assert len(rows) == 4
