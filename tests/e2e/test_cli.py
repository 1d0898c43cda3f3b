"""The verbs at the prompt, on the bundled digits and a user's own zoo.py: folders, summaries, JSON, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_samples import EPS, harmless, model_of, write_zoo
from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import RunFolder
from ironbound.cli import run
from ironbound.core.errors import SoundnessAlarm
from ironbound.data import load


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def flags(zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [*model_of(zoo), "--data", "digits", "--threat", EPS, "--samples", "40"]


def test_an_audit_and_its_verification(flags, capsys):
    assert run(["audit", *flags, "--method", "quick", "--curve", "--out", "x"]) == 0
    said = capsys.readouterr()
    audit = Audit.load("x")
    assert "Against radius (linf), on 40 of 40 samples, 95% intervals of " in said.out
    assert audit.curve is not None
    assert str(audit) in said.out
    assert "certified" in said.out
    assert "true robust accuracy <=" in said.out
    assert "x/report.html" in said.out
    assert harmless(said.out + said.err)
    assert len(audit.verdicts) == 40
    assert run(["verify", "x"]) == 0
    assert "all hold" in capsys.readouterr().out
    assert run(["verify", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clean"] == 40


def test_attacks_alone(flags, capsys):
    assert run(["attack", *flags, "--method", "fgsm,i-fgsm", "--no-curve", "--out", "x", "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert said.err == ""
    assert [stage["name"] for stage in facts["stages"]] == ["clean", "fgsm", "i_fgsm"]
    assert facts["certified"]["count"] == 0
    assert facts["verdicts"]["broken"] > 0
    assert run(["verify", "x"]) == 0


def test_attacks_that_are_shown(flags, capsys):
    assert run(["attack", *flags, "--show", "--out", "x"]) == 0
    assert "Shown: x/found.html" in capsys.readouterr().out
    page, broken = Path("x/found.html").read_text(), Audit.load("x").verdicts.count("broken")
    assert page.count('src="data:image/png;base64,') == 3 * min(broken, 24) > 0
    assert f": {broken} broken" in page
    assert run(["verify", "x"]) == 0


def test_bounds_alone(flags, capsys):
    assert run(["certify", *flags[:-2], "--samples", "30", "--threat", "linf:0.01", "--out", "x", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in facts["stages"]] == ["clean", "ibp"]
    assert facts["certified"]["count"] > 0
    assert facts["verdicts"]["broken"] == 0
    assert run(["verify", "x"]) == 0


def test_hardening_and_both_verifications(flags, capsys):
    few = ["--epochs", "1", "--steps", "2", "--audit", "quick", "--batch", "128"]
    assert run(["harden", *flags, *few, "--out", "h"]) == 0
    out = capsys.readouterr().out
    assert "before" in out
    assert "h/model.safetensors" in out
    assert harmless(out)
    assert RunFolder.open("h/after").manifest["data"]["name"] == "digits:test"
    assert run(["verify", "h"]) == 0
    assert capsys.readouterr().out.count("all hold") == 2
    assert run(["harden", *flags, *few, "--out", "h"]) == 2
    assert "h is no empty folder" in capsys.readouterr().err
    assert run(["harden", *flags, *few, "--out", "h", "--resume", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["after"]["attacked"]["total"] == 40
    assert len(found["history"]) == 1


def test_what_is_held_out_is_found_again(flags, zoo, tmp_path):
    data = load("digits:train", samples=200)
    np.savez(tmp_path / "own.npz", x=data.x.numpy(), y=data.y.numpy())
    own = [*flags, "--data", "own.npz", "--epochs", "1", "--method", "standard", "--audit", "quick"]
    assert run(["harden", *own, "--out", "h", "--quiet"]) == 0
    assert RunFolder.open("h/after").manifest["origin"]["data"]["held_out"] is True
    assert len(Audit.load("h/after").verdicts) == 20
    assert run(["verify", "h"]) == 0


def test_a_new_folder_each_time_and_none_twice(flags, capsys, tmp_path):
    for _ in range(2):
        assert run(["attack", *flags, "--method", "fgsm", "--samples", "5", "--quiet"]) == 0
    assert len(list((tmp_path / "runs").glob("*-attack-*"))) == 2
    (there, _) = (tmp_path / "runs").iterdir()
    capsys.readouterr()
    assert run(["attack", *flags, "--method", "fgsm", "--samples", "5", "--out", str(there)]) == 2
    assert "already holds a run. Add --resume" in capsys.readouterr().err
    assert run(["attack", *flags, "--method", "fgsm", "--samples", "6", "--out", str(there), "--resume"]) == 2
    assert "made with something else: the data set" in capsys.readouterr().err
    assert run(["attack", *flags, "--method", "fgsm", "--samples", "5", "--out", str(there), "--resume"]) == 0


def test_a_file_of_settings(flags, zoo, capsys, tmp_path):
    (tmp_path / "s.yaml").write_text(
        f"model: {zoo / 'zoo.py'}:net\nweights: {zoo / 'net.safetensors'}\ndata: digits\nthreat: linf:0.3\n"
        "method: [fgsm]\nsamples: 12\nrange: [0, 1]\nout: y\n"
    )
    assert run(["attack", "--config", "s.yaml", "--threat", "linf:1/50", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["threat"]["radius"] == 0.02
    assert facts["folder"] == "y"
    assert facts["data"]["samples"] == 12
    (tmp_path / "s.yaml").write_text("treat: linf:0.3\n")
    assert run(["attack", *flags, "--config", "s.yaml"]) == 2
    assert "there is no key 'treat'. Did you mean 'threat'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--threat", "linf"], "has no radius"),
        (["--threat", "lonf:0.3"], "no threat is called"),
        (["--threat", "linf:__import__('os')"], "is no number"),
        (["--threat", "linf:77"], "radius 77 on a range"),
        (["--method", "pdg"], "Did you mean"),
        (["--method", "pgd,pgd"], "different names"),
        (["--weights", "none.safetensors"], "no such file"),
        (["--model", "none.py:net"], "no such file"),
        (["--model", "zoo"], "a model is given as"),
        (["--data", "none.parquet"], "no such file"),
        (["--device", "cuda:99"], "CUDA devices"),
        (["--range", "0,0.5"], "range"),
        (["--mean", "1,2,3"], "3 channels"),
        (["--config", "none.yaml"], "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line(flags, change, said, capsys, tmp_path):
    assert run(["attack", *flags, *change, "--out", "x", "--quiet"]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.err.count("\n") == 1
    assert found.err.startswith("Error: ")
    assert found.out == ""
    assert not (tmp_path / "x").exists()


def test_models_that_fail(flags, zoo, capsys):
    for name, said in (
        ("fails", "no such disk"),
        ("picky", "[red]x[/] \\x1b[31mfailed"),
        ("nets", "Did you mean 'net'"),
    ):
        assert run(["attack", "--model", f"{zoo / 'zoo.py'}:{name}", *flags[4:], "--quiet"]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert harmless(err)


def test_an_alarm_is_a_failed_run(flags, capsys, monkeypatch):
    def alarm(*_, **__):
        raise SoundnessAlarm("certified samples were broken")

    monkeypatch.setattr("ironbound.verbs.audit", alarm)
    assert run(["audit", *flags, "--out", "x"]) == 1
    assert "certified samples were broken" in capsys.readouterr().err


def test_hostile_names_steer_nothing(flags, zoo, capsys, tmp_path):
    folder = tmp_path / "[red]a[bold]\x1b[31m"
    folder.mkdir()
    data = load("digits:test", samples=20)
    np.savez(folder / "[b]x\x07\n[@click=x].npz", x=data.x.numpy(), y=data.y.numpy())
    own = [*flags, "--data", str(folder / "[b]x\x07\n[@click=x].npz"), "--method", "fgsm"]
    assert run(["attack", *own, "--out", str(folder / "run[blink]")]) == 0
    said = capsys.readouterr()
    assert harmless(said.out + said.err)
    assert "[red]a[bold]\\x1b[31m" in said.out
    assert run(["verify", str(folder / "run[blink]")]) == 0
    assert harmless(capsys.readouterr().out)
    assert run(["report", str(folder / "none\x1b")]) == 2
    assert harmless(capsys.readouterr().err)


def test_reports_are_made_again(flags, capsys, tmp_path):
    for name in ("a", "b"):
        assert run(["attack", *flags, "--method", "fgsm", "--samples", "6", "--out", name, "--quiet"]) == 0
    (tmp_path / "a" / "report.html").unlink()
    assert run(["report", "a"]) == 0
    assert "<html" in (tmp_path / "a" / "report.html").read_text()
    assert run(["report", "a", "b"]) == 2
    assert "--out" in capsys.readouterr().err
    assert run(["report", "a", "b", "--out", "both.html"]) == 0
    assert "net (b)" in (tmp_path / "both.html").read_text()
    assert run(["report", "a", "--out", str(tmp_path)]) == 2
    facts = json.loads((tmp_path / "a" / "audit.json").read_text())
    (tmp_path / "a" / "audit.json").write_text(json.dumps({**facts, "checks": 3, "stages": None}))
    assert run(["report", "a"]) == 2
    assert "altered" in capsys.readouterr().err


def test_a_model_without_bounds_is_not_certified_quietly(flags, zoo, capsys, tmp_path):
    (tmp_path / "odd.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Odd(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.head = nn.Linear(64, 10)\n\n"
        "    def forward(self, x):\n        return torch.fft.fft(self.head(x.flatten(1))).real\n"
    )
    assert run(["certify", "--model", "odd.py:Odd", *flags[4:], "--out", "x", "--quiet"]) == 2
    assert "nothing could be certified" in capsys.readouterr().err
