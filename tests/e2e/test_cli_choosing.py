"""Choosing at the prompt: a search before a training, then everything side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_samples import harmless, model_of, write_zoo
from ironbound.cli import run
from ironbound.data import load


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_zoo(tmp_path_factory.mktemp("zoo"))


CHECK = {
    "number": 1, "name": "range", "question": "?", "result": "pass", "severity": "red", "evidence": "", "meaning": "",
    "next": "",
}  # fmt: skip


def test_a_search_and_a_comparison(zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [CHECK])  # all of them take far longer
    data = load("digits:train", samples=200)
    np.savez(tmp_path / "own.npz", x=data.x.numpy(), y=data.y.numpy())
    asked = [*model_of(zoo), "--data", "own.npz", "--threat", "linf:0.06", "--epochs", "2", "--audit", "fgsm"]
    few = ["--steps", "1", "--tune", "2", "--out", "runs/h", "--quiet"]
    assert run(["harden", *asked, *few]) == 0
    said = capsys.readouterr().out
    assert harmless(said)
    assert "2 trials of pgd, 1 epoch each, measured on 18 samples of " in said
    assert "own.npz (a tenth of the training data, held out) under linf:0.06, plan quick" in said
    assert "Chosen: trial " in said
    assert "runs/h/model.safetensors" in said
    assert "steps" not in json.loads(Path("runs/h/tune.json").read_text())["space"]  # it was given

    further = ["--method", "noise", "--threat", "l2:0.5", "--audit", "noise", "--transfer"]
    assert run(["compare", "runs", *further, "--out", "c", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert harmless(said)
    assert "3 tables, of different samples, threats or plans. Figures of different tables are not comparable." in said
    assert "h (start)" in said
    assert "found against \\ tried on" in said
    assert said.count("the one check passed") >= 6
    assert run(["compare", "runs", *further, "--out", "c", "--resume", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {scope["threat"]["spec"] for scope in found["scopes"]} == {"linf:0.06", "l2:0.5"}
    assert all("check passed" in row["checks"]["state"] for scope in found["scopes"] for row in scope["models"])
    assert run(["verify", "runs/h"]) == 0
    assert run(["compare", "runs", "--method", "nosie"]) == 2
    assert "Did you mean" in capsys.readouterr().err
