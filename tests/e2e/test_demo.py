"""The demo: three brackets in one folder, which can be gone on with and verified."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from cli_samples import harmless
from ironbound.auditing.audit import Audit
from ironbound.cli import demo, run
from ironbound.cli.demo import FAST, WHOLE, Stop, Tour

NAMES = ["standard", "adversarial", "certified"]
TINY = Tour(
    "linf:0.15", "quick", 10,
    (
        Stop("standard", "standard", 1, {"batch": 256}),
        Stop("adversarial", "pgd", 1, {"batch": 256}),
        Stop("certified", "ibp", 1, {"batch": 256}),
    ),
)  # fmt: skip


@pytest.mark.slow
def test_the_fast_demo_shows_what_it_should(tmp_path, monkeypatch, capsys):
    """Its trainings are those of users; their audits are shorter, and say the same."""
    assert (FAST.plan, FAST.samples) == ("standard", 150)
    monkeypatch.setattr(demo, "FAST", replace(FAST, plan="quick", samples=80))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    assert run(["demo", "--fast", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert harmless(out)
    assert all(name in out for name in NAMES)
    assert "runs/demo/report.html" in out
    assert torch.get_num_threads() == threads
    standard, adversarial, certified = (Audit.load(f"runs/demo/{name}") for name in NAMES)
    assert standard.attacked_accuracy < 0.35 < adversarial.attacked_accuracy
    assert certified.certified_accuracy > 0.3
    assert certified.certified_accuracy <= certified.attacked_accuracy
    page = (tmp_path / "runs/demo/report.html").read_text()
    assert all(f">{name}" in page or f"{name}:" in page for name in NAMES)
    assert run(["verify", "runs/demo"]) == 0
    assert capsys.readouterr().out.count("all hold") == 3


def test_a_demo_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "FAST", TINY)
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--fast", "--out", "whole", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["runs"]) == NAMES
    assert all(facts["training_seconds"] > 0 for facts in found["runs"].values())
    real, calls = demo._visit, []

    def stopped(tour, stop, place, progress):
        calls.append(stop.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(tour, stop, place, progress)

    monkeypatch.setattr(demo, "_visit", stopped)
    assert run(["demo", "--fast", "--out", "half"]) == 130
    assert "--out half --resume" in capsys.readouterr().err
    assert run(["demo", "--fast", "--out", "half"]) == 2
    assert "Add --resume" in capsys.readouterr().err
    assert run(["demo", "--fast", "--out", "half", "--resume"]) == 0
    for name in NAMES:
        assert Audit.load(f"half/{name}").verdicts == Audit.load(f"whole/{name}").verdicts
    shutil.rmtree(tmp_path / "half" / "certified")
    assert run(["demo", "--out", "half", "--resume"]) == 2
    assert "another demo" in capsys.readouterr().err


def test_both_demos_show_the_same_three():
    for tour in (FAST, WHOLE):
        assert [stop.name for stop in tour.stops] == NAMES
