"""The audit's comparison: whose samples the peer's stages broke, and tables that replace what a page had."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("peer", "audits", "audit_tables", "nets", "timing", "cases")


@pytest.fixture
def module(monkeypatch):
    """A module of the benchmarks by its name; none stays imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


class Sign(nn.Module):
    """Class 1 where the input is positive, else class 0."""

    def forward(self, x):
        return torch.cat([-x, x], 1)


def test_what_a_stage_broke_is_told_apart_batch_by_batch(module):
    peer = module("peer")
    x = torch.tensor([[1.0], [2.0], [-3.0], [4.0], [5.0]])  # the third is wrong when clean
    y, stage = torch.ones(5, dtype=torch.long), torch.tensor([-1, -1, 0, -1, -1])
    cpu, entered = {}, {}

    def first(inputs, labels):
        return torch.where(inputs == 2, -inputs, inputs)

    def second(inputs, labels):
        return torch.where(inputs == 5, -inputs, inputs)

    one = peer._watched(first, 1, Sign(), x, stage, cpu, entered)
    for batch in ([0, 1], [3, 4]):
        one(x[batch], y[batch])
    two = peer._watched(second, 2, Sign(), x, stage, cpu, entered)
    for batch in ([0, 3], [4]):
        two(x[batch], y[batch])
    assert stage.tolist() == [-1, 1, 0, -1, 2]
    assert entered == {"apgd-ce": 4, "apgd-t": 3}
    with pytest.raises(SystemExit, match="batches"):
        peer._watched(first, 3, Sign(), x, stage, {}, {})(x[[2, 3]], y[[2, 3]])


def test_tables_take_the_place_of_those_before(module, tmp_path):
    pages, page = module("pages"), tmp_path / "numbers.md"
    begin, end = "<!-- audit: begin -->", "<!-- audit: end -->"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    for text in ("first\n", "second\n"):
        pages.into(page, "audit", text)
    assert page.read_text() == f"before\n{begin}\n\nsecond\n\n{end}\nafter\n"
    page.write_text("no marks\n")
    with pytest.raises(SystemExit, match="audit: begin"):
        pages.into(page, "audit", "text")


def _line(case, broken_by_peer_alone, red):
    share = {"count": 8, "total": 10, "fraction": 0.8, "low": 0.4, "high": 0.97}
    stage = {"name": "pgd", "kind": "attack", "entered": 9, "decided": 1, "forward": 1200, "backward": 1100, "cpu": 2.0}
    return {
        "case": case, "clean": share, "attacked": share, "net": {"weights": 7, "training": "standard", "cpu": None},
        "bracket": {"low": 0.0, "high": 0.8, "interval": [0.0, 0.97]}, "stages": [stage], "verdict seconds": 2.0,
        "apart": {"checks": 1.0, "curve": None, "rest": 0.5, "all": 1.5}, "grade": "low", "alarm": False,
        "checks": [{"number": 14, "result": "fail" if red else "pass", "severity": "red"}], "plan": {"name": "standard"},
        "machine": {"date": "2026-01-01", "commit": "abc"},
        "peer": {
            "robust": 8 - broken_by_peer_alone, "seconds": 8.0, "only ours": 0, "only theirs": broken_by_peer_alone,
            "certified but broken": 0, "ratio": 0.25,
        },
    }  # fmt: skip


def test_the_page_names_the_nets_where_the_peer_was_stronger_and_the_red_checks(module):
    text = module("audit_tables").page([_line("net a", 0, red=True), _line("net b", 1, red=False)])
    assert "Of 20 samples AutoAttack alone broke 1 (5.00%)" in text
    assert "higher than AutoAttack's on net b." in text
    assert "all nets together: 0.25" in text
    assert "took 0.75 times the verdict stages" in text
    assert "| net a | low | 14 | none | none |" in text
    assert "| net b | low | none | none | none |" in text
    assert "| net b | pgd | attack | 9 | 1 | 1,200 | 1,100 | 2.00 |" in text
