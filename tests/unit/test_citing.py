"""BibTeX of a run: exactly the parts that it used, Ironbound as CITATION.cff has it, and nothing of hostile names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import ironbound as ib
from audit_samples import digits, digits_net
from cli_samples import harmless
from ironbound.auditing.audit import Audit
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.plans import ENTRIES as PLANS
from ironbound.certification.ibp import Ibp
from ironbound.cli import run
from ironbound.cli.citing import _of_stage, ironbound_entry
from ironbound.core.errors import CompositionError
from ironbound.core.store import write_json

HOSTILE = "my\x1b[31m}%\nattack"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: Any) -> Path:
    """A run with a bound, two attacks of the catalogue, one that is not, and one to which no sample came."""
    folder = tmp_path_factory.mktemp("runs") / "after"
    stages = (
        Bounds("ibp", Ibp()),
        Attacking(HOSTILE, ib.recipes.noise(2)),
        Attacking("fgsm", ib.recipes.fgsm()),
        Attacking("i_fgsm", ib.recipes.i_fgsm(2)),
    )
    ib.audit(digits_net(), digits(8), threat="linf:0.06", method=Plan("mine", stages), out=folder, curve=False)
    write_json(folder.parent / "harden.json", {"method": "trades"})
    return folder


def test_exactly_what_a_run_used(audited: Path, capsys: Any) -> None:
    assert run(["cite", str(audited), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {key for key in found if key not in ("goodfellow2015explaining", "kurakin2017adversarial")} == {
        "ironbound", "clopper1934use", "alpaydin1998optical", "gowal2018effectiveness", "zhang2019theoretically",
    }  # fmt: skip
    entered = {stage["name"]: stage["entered"] for stage in Audit.load(audited).facts["stages"]}
    assert ("kurakin2017adversarial" in found) == bool(entered["i_fgsm"])
    assert ("goodfellow2015explaining" in found) == bool(entered["fgsm"])
    assert all(entry.startswith("@") and entry.count("{") == entry.count("}") for entry in found.values())


def test_as_text_with_what_each_is_for(audited: Path, capsys: Any) -> None:
    assert run(["cite", str(audited)]) == 0
    said = capsys.readouterr().out
    assert harmless(said)
    assert "% the training (trades)\n@misc{zhang2019theoretically," in said
    assert "% fgsm\n@misc{goodfellow2015explaining," in said
    lines = [line for line in said.splitlines() if line.startswith("% my")]
    assert len(lines) == 1
    assert "its name is none of the catalogue" in lines[0]


def test_names_and_runs_together(audited: Path, capsys: Any) -> None:
    assert run(["cite", "square", str(audited), "attack:pgd", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"andriushchenko2020square", "madry2018towards", "ironbound"} <= set(found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/none", "runs/none is no folder"),
        ("", "nothing is called ''"),
        (".", "holds no run"),
        ("sqare", "Did you mean 'square'?"),
    ],
)
def test_what_is_neither_a_name_nor_a_run(name: str, said: str, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["cite", name]) == 2
    assert said in capsys.readouterr().err


def test_a_name_goes_before_a_folder_of_that_name(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "square").mkdir()
    assert run(["cite", "square"]) == 0
    assert "andriushchenko2020square" in capsys.readouterr().out


@pytest.mark.parametrize("entry", PLANS, ids=lambda entry: entry.name)
def test_every_stage_of_the_houses_plans_has_a_paper(entry: Any) -> None:
    for text in (
        "linf:0.1",
        "l2:0.5",
        "l1:5",
        "l0:3",
        "rotation:30",
        "corruption:fog:3",
        "flow:0.5",
        "linf:0.1|l2:0.5",
    ):
        try:
            plan = entry.make().against(ib.parse_threat(text))
        except CompositionError:
            continue
        for stage in plan.stages:
            names = stage.name.partition(" (")[0].split(": ")
            verb = "certify" if isinstance(stage, Bounds) else "attack"
            assert any(_of_stage(verb, name) for name in names), stage.name


def test_ironbound_is_cited_as_its_citation_file_says() -> None:
    said: Any = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text())
    entry = ironbound_entry()
    assert f"title = {{{said['title']}}}" in entry
    assert f"version = {{{ib.__version__}}}" in entry
    assert f"year = {{{said['date-released'][:4]}}}" in entry
    assert re.search(r"author = \{\{" + re.escape(said["authors"][0]["name"]) + r"\}\}", entry)
