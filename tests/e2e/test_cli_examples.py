"""The examples run as they are, and are short."""

from __future__ import annotations

import re
import runpy
import tempfile
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert said
    if path.stem == "certify_a_transformer":
        proves_most(said)
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


def proves_most(said):
    """Of the right answers linear bounds prove half at least, at a radius where intervals prove one in twenty at most."""
    line = re.compile(r"Linf 0\.005: (\S+) proves (\d+) of (\d+) right")
    found = {method: int(proved) / int(right) for method, proved, right in line.findall(said)}
    assert found["ibp"] <= 0.05
    assert found["crown"] >= 0.5


def test_there_are_examples():
    assert len(EXAMPLES) == 10
