"""A run whose classes, columns and names are hostile, in every form: files that can be read, texts that stay texts."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ironbound as ib
import report_samples
from audit_samples import PGD, data_of, digits, digits_net, drawn, mlp
from cli_samples import harmless
from form_samples import HOSTILE, SARIF, Html, gate, schema_errors, undescribed
from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.forms.junit import junit
from ironbound.auditing.forms.sarif import sarif
from ironbound.auditing.forms.verdicts_csv import OWN, csv_blocks, text_cell
from ironbound.auditing.report.render import render
from ironbound.cli import run
from ironbound.cli.summary import summarise
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import RunError
from ironbound.core.jsonschemas import published
from ironbound.core.store import read_json, write_json, write_stream
from ironbound.core.text import brief, encoded, json_text, shown

SHIPPED = Path(ib.__file__).parent / "schemas"
NAMES = [text[:200] for text in HOSTILE.values()]
SIGNS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
COLUMN = "=a,b\n<i>\udce9"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A finished run of as many classes as there are hostile names."""
    net = mlp(8, len(NAMES), seed=3)
    x = drawn(len(NAMES), 8)
    y = torch.arange(len(NAMES))
    y[: len(NAMES) // 2] = net(x).argmax(1)[: len(NAMES) // 2]
    data = data_of(x, y, classes=NAMES, name=HOSTILE["surrogate"], columns={COLUMN: NAMES, "n": [-1.5] * len(NAMES)})
    return ib.audit(
        ib.Model(net, name=HOSTILE["surrogate"] + HOSTILE["ansi"], range=(0, 1)), data, threat=ib.Linf(0.05), method=PGD,
        out=tmp_path_factory.mktemp("runs") / "hostile", checks="budget", curve=True, pool=8,
    )  # fmt: skip


def forms(audit: Audit) -> dict[str, str]:
    made = gate()
    return {
        "json": audit.to_json(), "markdown": audit.to_markdown(made), "junit": audit.to_junit(made),
        "sarif": audit.to_sarif(made), "csv": "".join(csv_blocks(audit.run)),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- all forms
def test_every_form_of_a_hostile_run_can_be_written_and_read(hostile):
    made = forms(hostile)
    for name, text in made.items():
        text.encode()
        assert all(char.isprintable() or char in "\r\n\u2060" for char in text), name
    assert json.loads(made["json"]) == hostile.facts
    assert schema_errors(SHIPPED / "audit-2.json", json.loads(made["json"])) == []
    assert schema_errors(SARIF, json.loads(made["sarif"])) == []
    ElementTree.fromstring(made["junit"])
    assert "<script>" not in made["junit"] + made["markdown"]


def test_what_was_written_is_what_is_read(hostile):
    again = Audit.load(hostile.folder)
    assert again.facts == hostile.facts
    assert again.facts["data"]["name"] == HOSTILE["surrogate"]
    (hostile.folder / "audit.json").read_text("utf-8")
    page = (hostile.folder / "report.html").read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert r"caf\udce9" in page


def test_the_terminal_is_not_steered(hostile, capsysbinary):
    for form in ("json", "markdown", "junit", "sarif", "csv"):
        assert run(["report", str(hostile.folder), "--form", form]) == 0
        said = capsysbinary.readouterr().out.decode()
        assert harmless(said.replace("\r\n", "\n").replace("\u2060", "")), form


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.text(st.characters(codec=None), max_size=40))
def test_any_text_stays_text(text):
    facts = report_samples.audit(checks=[report_samples.check(1, "fail", name=text, evidence=text)], title=text)
    facts["model"]["name"] = facts["data"]["name"] = text
    facts["classes"][0] = report_samples.group(text, 100, 90, 0, 0)
    junit_ = ElementTree.fromstring(junit(facts, gate()))
    assert junit_.get("name") == f"ironbound: {shown(text)}"
    assert junit_.find("testsuite[@name='checks']/testcase/failure").get("message") == shown(text)
    run_ = json.loads(sarif(facts, gate()))["runs"][0]
    assert run_["properties"]["title"] == shown(text)
    assert run_["automationDetails"]["id"].count("/") == 4
    assert json.loads(json_text(facts)) == facts
    cell = text_cell(text)
    assert cell.replace("'", "") == shown(text).replace("'", "")  # nothing but apostrophes was added
    assert not any(part.lstrip(" ").startswith(SIGNS) for part in re.split("[;|]", cell))


def test_page_and_terminal_show_text_as_text(capsys):
    texts = list(HOSTILE.values())
    checks = [report_samples.check(n, "fail", name=text, evidence=text) for n, text in enumerate(texts)]
    facts = report_samples.audit(checks=checks, title=texts[0])
    facts["classes"] = [report_samples.group(text, 100, 90, n, 0) for n, text in enumerate(texts)]
    facts["model"]["name"] = facts["data"]["name"] = facts["title"] = " ".join(texts)
    facts["notes"] = texts
    text = render(facts, [report_samples.picture(label=" ".join(texts))])
    text.encode()
    assert all(char.isprintable() or char == "\n" for char in text)
    page = Html(text)
    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    for one in texts:
        assert page.words.count(shown(one, "\n").strip()) >= 2
    summarise(Terminal(), facts, Path("runs/x"))
    assert harmless(capsys.readouterr().out)


# ----------------------------------------------------------------------------------------------------------- schema
def test_schemas_are_what_the_types_say():
    """Where this fails: python docs/schemas/write.py, and count the version up if a reader of the older form would go wrong."""
    from runpy import run_path

    folder = Path(__file__).parents[2] / "docs" / "schemas"
    made = run_path(str(folder / "write.py"))["schemas"]()
    for name, text in made.items():
        assert (folder / name).read_text("utf-8") == text, name
        assert (SHIPPED / name).read_text("utf-8") == text, name
        assert json.loads(text)["$id"].endswith(f"/schemas/{name}")
        assert published(name.removesuffix(".json")) == json.loads(text)
    assert {path.name for path in SHIPPED.iterdir()} == set(made)


def test_all_that_an_audit_writes_is_in_its_schema(tmp_path, hostile):
    """With a curve and slices; shards and what they are merged to. Pilots and trainings are held to it in tests of theirs."""
    data, threat = digits(12), ib.Linf(0.06)
    shards = [
        ib.audit(digits_net(), data, threat=threat, method=PGD, out=tmp_path / f"{n}", shard=f"{n}/2", pool=6)
        for n in (1, 2)
    ]
    merged = ib.merge([shard.folder for shard in shards], out=tmp_path / "merged")
    for audit in (hostile, *shards, merged):
        facts = read_json(audit.folder / "audit.json")
        assert undescribed("audit-2", facts) == []
        assert undescribed("audit-2", {**facts, "schema": 3})
        assert undescribed("audit-2", {**facts, "strange": 1})
        assert schema_errors(SHIPPED / "audit-2.json", {**facts, "strange": 1}) == []
        facts["attacked"].pop("low")
        assert schema_errors(SHIPPED / "audit-2.json", facts)
    sample = {**report_samples.audit(), "curve": report_samples.curve([90, 80, 70, 60], [90, 70, 30, 10])}
    assert undescribed("audit-2", sample) == []


# -------------------------------------------------------------------------------------------------------------- CSV
def test_the_csv_has_a_row_a_sample_and_runs_nowhere(hostile, tmp_path):
    hostile.to_csv(tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_bytes().decode()
    assert text.count("\r\n") == text.count("\n") == len(NAMES) + 1
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert rows[0] == [*OWN, text_cell("data.=a,b\n<i>" + r"\udce9"), "data.n"]
    details = hostile.details
    for row, place in zip(rows[1:], range(len(details)), strict=True):
        label = int(details.label[place])
        assert row[:3] == [str(details.index[place]), str(details.key[place]), str(label)]
        assert row[3] == text_cell(NAMES[label])
        assert row[9] == text_cell(NAMES[place])
        assert row[6:8] == [details.verdict[place], details.stage[place]]
        assert float(row[8]) == details.confidence[place]
        assert row[10] == "-1.5"  # a number, which is no text that could be a formula
        for cell in (*row[:8], row[9]):
            for part in re.split(r"[;|\t\r\n]", cell):
                assert not part.lstrip(" '").startswith(SIGNS) or "'" in part[:3]
                assert not part.startswith(SIGNS)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"), ("-1", "'-1"), ("+1", "'+1"), ("@a", "'@a"), ("  =1", "  '=1"), ("\uff1d1", "'\uff1d1"),
        ("a-b=c", "a-b=c"), ("a;=1", "a;'=1"), ("a|+1", "a|'+1"), ("\t=1", r"\t=1"), ("a\r\n=1", r"a\r\n=1"), ("", ""),
        ('"=1', '"=1'), ("'=1", "''=1"),
    ],
)  # fmt: skip
def test_texts_that_are_formulas_become_texts(text, cell):
    assert text_cell(text) == cell


def test_csv_parts_are_not_mixed_up(hostile):
    """Over several pools, by another way to the same rows."""
    assert len(hostile.run.finished()) > 3
    rows = list(csv.DictReader(io.StringIO("".join(csv_blocks(hostile.run)), newline="")))
    last: dict[int, Any] = {}
    for row in hostile.details.table.to_pylist():
        last[row["index"]] = {**last.get(row["index"], {}), **{key: row[key] for key in ("verdict", "stage", "label")}}
        if row["stage"] == "clean":
            last[row["index"]] |= {key: row[key] for key in ("prediction", "data.n")}
    assert len(rows) == len(last) == len(NAMES)
    for row in rows:
        known = last[int(row["index"])]
        assert {key: row[key] for key in known} == {key: str(value) for key, value in known.items()}
        assert row["class"] == text_cell(NAMES[int(row["label"])])


def test_a_csv_is_whole_or_absent(tmp_path, hostile):
    def blocks() -> Any:
        yield b"a"
        raise RunError("a part is damaged")

    with pytest.raises(RunError, match="damaged"):
        write_stream(tmp_path / "a.csv", blocks())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="a folder stands in its place"):
        hostile.to_csv(tmp_path)


# --------------------------------------------------------------------------------------------------------- the prompt
def test_forms_at_the_prompt(hostile, tmp_path, capsys):
    folder = str(hostile.folder)
    for form in ("json", "markdown", "junit", "sarif", "csv", "html"):
        out = tmp_path / f"a.{form}"
        assert run(["report", folder, "--form", form, "--out", str(out)]) == 0
        assert f"Report: {out}" in capsys.readouterr().out
        out.read_bytes().decode()
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == hostile.facts
    assert run(["report", folder, "--form", "sarif", "--source", str(Path(__file__))]) == 0
    place = json.loads(capsys.readouterr().out)["runs"][0]
    assert place["tool"]["driver"]["name"] == "Ironbound"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--form", "pdf"], "--form pdf is none of html, json, markdown, junit, sarif, csv"),
        (["--form", "junit", "--out", "."], "name the file: --out report.xml"),
        (["--form", "sarif", "--source", "/"], "in no repository"),
    ],
)
def test_what_cannot_be_asked_for_is_said(hostile, arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["report", str(hostile.folder), *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_one_form_is_of_one_run(hostile, capsys):
    assert run(["report", str(hostile.folder), str(hostile.folder), "--form", "junit"]) == 2
    assert "is of one run, and this is 2" in " ".join(capsys.readouterr().err.split())


def test_an_altered_audit_is_said_to_be(hostile, tmp_path, capsys):
    import shutil

    folder = tmp_path / "r"
    shutil.copytree(hostile.folder, folder)
    facts = read_json(folder / "audit.json")
    facts["attacked"] = 3
    write_json(folder / "audit.json", facts)
    for form in ("markdown", "junit", "sarif"):
        assert run(["report", str(folder), "--form", form]) == 2
        assert "it was altered" in " ".join(capsys.readouterr().err.split())


# -------------------------------------------------------------------------------------------------------------- texts
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_gives_back_what_it_was_given(text, tmp_path):
    assert json.loads(json_text({"a": [text]})) == {"a": [text]}
    assert harmless(json_text({"a": [text]}))
    write_json(tmp_path / "a.json", [text])
    assert read_json(tmp_path / "a.json") == [text]
    encoded(text).decode()
    assert harmless(shown(text))
    assert len(brief(text, 50)) <= 200


def test_a_run_of_an_undecodable_folder_is_opened(tmp_path):
    assert RunFolder  # the manifest holds the path of data and model as the file system gave it
    write_json(tmp_path / "manifest.json", {"origin": {"architecture": "/caf\udce9/a.py:net"}})
    assert read_json(tmp_path / "manifest.json")["origin"]["architecture"] == "/caf\udce9/a.py:net"
