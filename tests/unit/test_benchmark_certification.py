"""The comparison of certification: who is tried at which stage, what may not be, and what the table says."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ironbound.certification.margins import Margins

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("certification", "certification_peer", "peers", "cases", "nets", "pages", "timing")


@pytest.fixture
def certification(monkeypatch, tmp_path):
    """The module, without a peer and with a cache of its own; it does not stay imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("IRONBOUND_BENCHMARKS", str(tmp_path))
    monkeypatch.delenv("AUTO_LIRPA", raising=False)
    yield importlib.import_module("certification")
    for name in MODULES:
        sys.modules.pop(name, None)


def line_of_points(certification):
    """Class 1 above a half; of the points four are right, of which 0.45 and 0.55 break at 0.1."""
    net = nn.Linear(1, 2).requires_grad_(False)
    net.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    net.bias.copy_(torch.tensor([0.5, -0.5]))
    x = torch.tensor([[0.1], [0.45], [0.55], [0.9], [0.9]])
    return certification.Net("points", net, x, torch.tensor([0, 0, 1, 1, 0]), 0.1)


def test_each_stage_tries_what_the_others_left(certification):
    net, chosen = line_of_points(certification), certification.Chosen(rounds=1)
    found = certification._compare(net, None, chosen)
    assert (found["images"], found["right"], found["broken"], found["proved"]) == (5, 4, 2, 2)
    assert [(one["stage"], one["tried"], one["certified"]) for one in found["stages"]] == [
        ("ibp", 4, 2), ("crown-ibp", 2, 0), ("crown", 2, 0), ("alpha, last layer", 0, 0), ("alpha, all layers", 0, 0),
    ]  # fmt: skip
    rows = [row for row in certification.page([found]).splitlines() if row.startswith("| `")]
    assert rows[0].startswith("| `ibp` | 4 | 2 | ")
    assert {row.count("|") for row in rows} == {certification.HEAD.count("|")}


def test_a_peer_is_compared_by_the_image(certification, monkeypatch):
    net = line_of_points(certification)
    recorded = {"points": {"ibp": {"tried": 8, "certified": 3, "cpu": 4.0}}}
    monkeypatch.setattr(certification, "RECORDED", recorded)
    spent = iter([(1.0, torch.tensor([True, False]))])
    monkeypatch.setattr(certification, "_timed", lambda work: next(spent))
    one = certification._stage(net, "ibp", None, torch.tensor([0, 1]), None, certification.Chosen(rounds=1))
    assert (one["ratio"], one["proved"].tolist()) == (1.0, [0])  # half a second each


class Everything:
    """Proves whatever it is asked."""

    name, cost = "everything", 1.0

    def margins(self, graph, region, y, dtype, learned=None):
        least = torch.ones(len(y), 2, dtype=dtype)
        return Margins(least.scatter(1, y[:, None], torch.inf), torch.ones(len(y), dtype=dtype))


def test_a_proof_of_what_is_broken_stops_the_comparison(certification, monkeypatch):
    first = certification.STAGES[0]
    monkeypatch.setattr(certification, "STAGES", (replace(first, method=Everything),))
    with pytest.raises(SystemExit, match=r"ibp certifies inputs that attacks broke: \[1, 2\]"):
        certification._compare(line_of_points(certification), None, certification.Chosen(rounds=1))
