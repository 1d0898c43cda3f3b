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


def test_certify_by_linear_bounds_goes_on_where_it_was_killed(zoo, tmp_path, monkeypatch, capsys):
    """Each method on what those before it left; the summary names them, and verify repeats them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])
    asked = [*model_of(zoo), "--data", "digits", "--samples", "40", "--threat", "linf:0.02", "--quiet"]
    methods = ["--method", "ibp,crown,alpha-crown", "--out", "whole", "--pool", "20"]
    assert run(["certify", *asked, *methods]) == 0
    said = capsys.readouterr().out
    facts = json.loads(Path("whole/audit.json").read_text())
    found = {stage["name"]: stage for stage in facts["stages"]}
    assert list(found) == ["clean", "ibp", "crown", "alpha-crown"]
    assert found["crown"]["entered"] == found["ibp"]["entered"] - found["ibp"]["decided"]
    assert found["crown"]["decided"] > 0
    assert f"{found['crown']['decided']} by crown" in said
    assert "bounds worth" in said
    killed = Path("whole/results/part-00001.parquet")
    first = killed.read_bytes()
    for gone in (killed, Path("whole/audit.json"), Path("whole/digests.json")):
        gone.unlink()
    assert run(["certify", *asked, *methods, "--resume"]) == 0
    assert json.loads(Path("whole/audit.json").read_text())["verdicts"] == facts["verdicts"]
    assert killed.exists()
    assert first
    assert run(["verify", "whole"]) == 0
    capsys.readouterr()


def test_certify_says_before_any_work_that_a_set_does_not_fit(zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = [*model_of(zoo), "--data", "digits", "--samples", "20", "--quiet", "--out", "x"]
    assert run(["certify", *asked, "--threat", "linf:0.02", "--method", "exhaustive"]) == 2
    assert "Linf has no end of points" in capsys.readouterr().err
    assert run(["certify", *asked, "--threat", "rotation:10", "--method", "ibp"]) == 2
    assert "nothing could be certified by ibp" in capsys.readouterr().err
    assert not Path("x").exists()
