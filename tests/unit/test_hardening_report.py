"""The page of a hardening: what it says, and that it can be written again."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import ironbound as ib
from ironbound.auditing.report import wording
from ironbound.auditing.report.curves import LEFT, RIGHT, TOP, Series, chart
from ironbound.auditing.report.hardening import flat, render_hardening
from ironbound.defenses.train import Adversarial, Steps, Training
from ironbound.hardening.record import write_page
from report_samples import audit
from training_samples import images, small_net


def history(epochs: int = 3, **parts: Any) -> list[dict[str, Any]]:
    row = {
        "loss": 1.0, "clean_accuracy": None, "attacked_accuracy": 0.5, "certified_accuracy": None, "rate": 0.1,
        "seconds": 61.0, "validation_clean": None, "validation_attacked": None, "validation_rows": None,
    }  # fmt: skip
    return [{**row, "epoch": number + 1, **parts} for number in range(epochs)]


def page(audits: dict[str, Any], rows: list[dict[str, Any]], **parts: Any) -> str:
    rest: dict[str, Any] = {"best": None, "stopped": "", "recoveries": [], "settings": {}, "data": "trained on 9 rows"}
    return unescape(render_hardening("pgd", audits, rows, **{**rest, **parts}))


def test_both_brackets_and_what_changed() -> None:
    before, after = (
        audit(wrong=100, broken=800, undecided=100, certified=0),
        audit(wrong=200, broken=200, undecided=600, certified=0),
    )
    text = page({"before": before, "after": after}, history())
    assert wording.comparison([("before", before), ("after", after)]) in text
    assert "90.0% before: -10.0 points" in text
    assert "10.0% before: +50.0 points" in text
    assert 'href="before/report.html"' in text
    assert 'href="after/report.html"' in text
    assert "3 epochs, 3 min 03 s" in text
    assert "no figure on this page is evidence" in page({}, history())


def test_what_happened_is_told() -> None:
    note = {
        "epoch": 6.5,
        "back to": 6.0,
        "multi-step accuracy": 0.02,
        "best before": 0.4,
        "training accuracy": 0.7,
        "rows": 99,
    }
    rows = history(validation_clean=0.9, validation_attacked=0.4, validation_rows=77)
    best = {"epoch": 2, "result": {"clean": 69, "attacked": 31, "of": 77}}
    text = page(
        {}, rows, recoveries=[note], stopped="no better result", best=best, settings={"rate": 0.1, "": "Training"}
    )
    assert re.search(r"Catastrophic overfitting</strong> at epoch 6.50:\s+2.0% of 99 rows", text)
    assert "77 validation rows" in text
    assert "those of epoch 2" in text
    assert "Stopped early: no better result." in text
    assert "<dt>rate</dt><dd>0.1</dd>" in text
    assert "validation" not in page({}, history()).partition("<main")[2].partition("All epochs")[0]


def test_markup_in_settings_is_shown_as_text() -> None:
    text = render_hardening(
        "<b>", {}, history(), best=None, stopped="", recoveries=[], settings={"name": "<script>"}, data="<i>"
    )
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_lines_stand_where_their_values_are() -> None:
    drawn = str(chart("t", [Series("a", "attacked", [0.0, None, 0.25, 1.0])], "x", shares=True, height=100))
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)"', drawn)]
    width = RIGHT - LEFT
    expected = [(LEFT, TOP + 100), (LEFT + width * 2 / 3, TOP + 75), (RIGHT, TOP)]
    assert dots == [pytest.approx(place, abs=1e-2) for place in expected]
    assert "a: 0.0%, not measured, 25.0%, 100.0%" in drawn
    assert chart("t", [Series("a", "attacked", [None])], "x", shares=True) == ""
    assert 'cx="52' in str(chart("t", [Series("a", "attacked", [3.0])], "x", shares=False))


def test_settings_are_lines() -> None:
    nested = {
        "": "Training",
        "rate": 0.1,
        "clip": None,
        "objective": {"": "Adversarial", "inner": {"": "Steps", "steps": 7}},
    }
    assert flat(nested) == {
        "rate": "0.1", "objective.kind": "Adversarial", "objective.inner.kind": "Steps", "objective.inner.steps": "7"
    }  # fmt: skip


def test_a_hardening_writes_its_page_and_it_can_be_written_again(tmp_path: Path) -> None:
    training = Training(Adversarial(Steps(1)), 2, batch=30, rate=0.01, validation=15)
    robust = ib.harden(
        small_net(), images(), threat="linf:0.1", method=training, audit=None, out=tmp_path / "run", test=images(20, 1)
    )
    text = (tmp_path / "run" / "report.html").read_text()
    assert "Hardened by adversarial" in text
    assert "objective.inner.steps" in text
    assert robust.best is not None
    assert f"those of epoch {robust.best['epoch']}" in text
    (tmp_path / "run" / "report.html").unlink()
    write_page(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").read_text() == text
