"""The comparison of trainings: what its rows name, when what is kept is used, what the page says."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from ironbound.core.progress import Event
from ironbound.defenses.train import training_named
from ironbound.names import set_of

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("harden", "harden_page", "cases", "nets", "pages", "timing")
RESULTS = ((1, "pass"), (9, "cannot tell"), (12, "fail"), (28, "not applicable"))
CHECKS = [
    {"number": n, "name": "", "result": r, "severity": "red"}
    for n, r in ((1, "pass"), (9, "cannot tell"), (12, "fail"))
]


@pytest.fixture
def module(monkeypatch, tmp_path):
    """A module of the benchmarks by its name; none stays imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("IRONBOUND_BENCHMARKS", str(tmp_path))
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def measured(attacked: float = 0.9, seed: int = 0) -> dict:
    share = {"fraction": 0.97, "low": 0.95, "high": 0.98, "count": 97, "total": 100}
    return {
        "seed": seed, "machine": {"date": "2026-01-01", "commit": "abc"}, "clean": share, "bounds": {"linf:0.1": share},
        "training": {"cpu": 90.0, "rows": 60_000, "weights": 1234, "history": [{}, {}]},
        "audit": {"bracket": {"low": 0.5, "high": attacked, "interval": [0.4, 0.95]}, "checks": CHECKS},
    }  # fmt: skip


def test_every_row_names_a_net_a_training_and_a_threat(module) -> None:
    harden = module("harden")
    for row in harden.ROWS.values():
        assert isinstance(module("nets").NETS[row.net](), nn.Module)
        assert training_named(row.method, **row.settings).epochs >= 1
        assert all(set_of(threat) is not None for threat in (row.threat, *row.bounds))


def test_what_is_kept_is_used_where_the_row_says_the_same(module, monkeypatch) -> None:
    harden = module("harden")
    row = harden.Row("cnn_a", "pgd", {"epochs": 2}, bounds=("linf:0.1",))
    monkeypatch.setattr(harden, "ROWS", {"a": row})
    (harden.cache() / "harden_a_0.json").write_text(json.dumps({"row": harden._plain(row), "seed": 0}))
    assert harden._one("a", 0, shown=True)["seed"] == 0
    assert harden._one("a", 1, shown=True) is None
    monkeypatch.setattr(harden, "ROWS", {"a": replace(row, seeds=(0, 1))})
    assert harden._one("a", 0, shown=True) is not None
    for other in ({"settings": {"epochs": 3}}, {"threat": "linf:0.2"}, {"bounds": ()}, {"images": 7}):
        monkeypatch.setattr(harden, "ROWS", {"a": replace(row, **other)})
        assert harden._one("a", 0, shown=True) is None


def test_the_clock_goes_on_where_a_stopped_process_left_it(module, tmp_path) -> None:
    clock_of, path = module("harden")._Clock, tmp_path / "cpu.json"
    first = clock_of("a", path)
    first.start, first.last = first.start - 100, first.last - 100
    first(Event("train", 1, 2))
    again = clock_of("a", path)
    assert 100 <= again.before <= again.spent() < again.before + 60
    again(Event("train", 2, 2))  # told a moment ago: the file stays
    assert json.loads(path.read_text()) == again.before


def test_the_page_gives_one_seed_with_its_exact_interval(module) -> None:
    row = {"net": "cnn_a", "method": "pgd", "settings": {"epochs": 2, "ramp": 1.0}, "threat": "linf:0.3", "images": 1000,
           "bounds": ["linf:0.1"]}  # fmt: skip
    text = module("harden_page").page([{"name": "mnist pgd", "row": row, "seeds": [measured()]}])
    line = next(line for line in text.splitlines() if line.startswith("| `mnist pgd` |"))
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "`mnist pgd`", "cnn_a, 1,234", "60,000, 2", "1.5", "97.0% (95.0% to 98.0%)", "linf:0.3, 1,000 images",
        "50.0% to 90.0% (40.0% to 95.0%)", "97.0% (95.0% to 98.0%) at linf:0.1", "1 of 3; failed 12; cannot tell 9",
    ]  # fmt: skip
    assert "- mnist pgd: `pgd`, epochs=2, ramp=1.0" in text


def test_several_seeds_give_a_mean_with_students_interval(module) -> None:
    page = module("harden_page")
    half = 4.302653 * math.sqrt(((0.02**2) * 2) / 2 / 3)  # t of two degrees of freedom at 97.5%
    assert page._mean([0.88, 0.9, 0.92]) == f"90.0% ({0.9 - half:.1%} to {0.9 + half:.1%})"
    assert page._mean([0.0, 0.0]) == "0.0% (0.0% to 0.0%)"
    row = {"net": "cnn_a", "method": "pgd", "settings": {}, "threat": "linf:0.3", "images": 1000, "bounds": []}
    seeds = [measured(attacked, seed) for seed, attacked in enumerate((0.88, 0.9, 0.92))]
    text = page.page([{"name": "a", "row": row, "seeds": seeds}])
    assert f"50.0% (50.0% to 50.0%) <= true <= 90.0% ({0.9 - half:.1%} to {0.9 + half:.1%})" in text
    assert "`a`, 3 seeds" in text
