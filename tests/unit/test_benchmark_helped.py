"""The comparison of schemes over seeds: what its rows name, and the gain that it says."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import pytest
from torch import nn

from ironbound.defenses.train import training_named
from ironbound.names import set_of

MODULES = ("helped", "harden_page", "cases", "nets", "pages", "timing")


@pytest.fixture
def helped(monkeypatch, tmp_path):
    """The module; none stays imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.setenv("IRONBOUND_BENCHMARKS", str(tmp_path))
    yield importlib.import_module("helped")
    for name in MODULES:
        sys.modules.pop(name, None)


def one(seed: int, right: int) -> dict:
    share = {"fraction": right / 100, "low": 0.0, "high": 1.0, "count": right, "total": 100}
    audit = {"attacked": share, "certified": None, "checks": None}
    return {"seed": seed, "cpu": 1.0, "clean": share, "audits": {"linf:0.1": audit},
            "machine": {"date": "2026-01-01", "commit": "abc"}}  # fmt: skip


def test_rows_name_nets_trainings_threats_and_other_rows_and_are_compared_with_their_like(helped) -> None:
    for row in helped.ROWS.values():
        assert isinstance(helped.NETS[row.net](), nn.Module)
        training_named(row.method, **row.settings)
        assert all(set_of(threat) is not None for threat in (row.threat, *row.audited))
        assert all(giver in helped.ROWS for giver in row.given.values())
        if row.beside is not None:
            other = helped.ROWS[row.beside]
            for key in ("data", "net", "labelled", "seeds", "images", "attacked_by"):
                assert getattr(row, key) == getattr(other, key)
            assert row.settings["epochs"] == other.settings["epochs"]


def test_the_gain_is_paired_by_seed_with_students_interval(helped, monkeypatch) -> None:
    rows = {
        "base": helped.Row("pgd", {}, threat="linf:0.1"),
        "more": helped.Row("pgd", {}, threat="linf:0.1", beside="base"),
    }
    monkeypatch.setattr(helped, "ROWS", rows)
    lines = {"base": [one(2, 40), one(0, 20), one(1, 30)], "more": [one(0, 24), one(1, 36), one(2, 48)]}
    half = (
        4.302652729911275 * 2 / math.sqrt(3)
    )  # differences 4, 6, 8: deviation 2, Student's 97.5% point of two degrees
    assert helped._gain("more", "linf:0.1", lines) == f"+6.0 ({6 - half:+.1f} to {6 + half:+.1f})"
    assert helped._gain("base", "linf:0.1", lines) == "-"
    text = helped.page(lines)
    assert "true <= 36.0%" in text
    assert "none made: APGD-40 alone" in text
