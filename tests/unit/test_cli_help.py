"""The help: every option of every command with its unit and its default, on a narrow terminal; what a tab completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from typer.testing import CliRunner

from ironbound.cli import run
from ironbound.cli.app import PANELS, app
from ironbound.cli.completing import KNOWN, completes
from ironbound.cli.pages import FORMS
from ironbound.cli.settings import AttackSettings, CertifySettings, CompareSettings, HardenSettings, MergeSettings
from ironbound.cli.settings.fields import Settings, panel_of
from ironbound.defenses.catalogue import ENTRIES as TRAININGS
from ironbound.names import catalogue
from ironbound.sets.threat import EXAMPLES, parse_threat

BUILT_IN = {"--help", "--install-completion", "--show-completion", "--version"}
ALL = (AttackSettings, CertifySettings, HardenSettings, MergeSettings, CompareSettings)


def commands() -> dict[str, Any]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def options(command: Any) -> Iterator[Any]:
    yield from (one for one in command.params if one.opts[0].startswith("-") and not set(one.opts) & BUILT_IN)


def without_default(command: Any) -> list[str]:
    """Options whose help does not say what holds without them."""
    return [one.opts[0] for one in options(command) if not re.search(r"\(.*(default: .+|needed)\)$", one.help or "")]


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_says_what_holds_without_it(name: str) -> None:
    assert without_default(commands()[name]) == []
    assert commands()[name].help.strip().endswith(".")
    for argument in (one for one in commands()[name].params if not one.opts[0].startswith("-")):
        assert argument.help, argument.name


def test_an_option_that_says_nothing_is_found() -> None:
    other = typer.Typer()

    @other.command()
    def command(depth: int = typer.Option(3, help="how deep")) -> None:
        """Nothing."""

    assert without_default(typer.main.get_command(other)) == ["--depth"]


@pytest.mark.parametrize("kind", ALL)
def test_every_number_has_a_unit(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        extra: Any = field.json_schema_extra
        said = str(field.annotation)
        if re.search(r"\b(int|float)\b", said) and "Literal" not in str(get_args(field.annotation)[:1]):
            assert extra.get("unit"), name
        if field.default in (None, ()) and not field.is_required():
            assert extra.get("absent"), name


def test_every_command_stands_in_a_panel_and_no_key_in_the_rest() -> None:
    assert set(commands()) == {name for panel in PANELS.values() for name in panel}
    assert {panel_of(HardenSettings, name) for name in ("model", "weights", "outputs")} == {"Model"}
    assert panel_of(HardenSettings, "data") == panel_of(HardenSettings, "split") == "Data"
    assert panel_of(HardenSettings, "out") == panel_of(AttackSettings, "rows") == "Run"
    assert not [name for kind in ALL[:4] for name in kind.model_fields if panel_of(kind, name) == Settings.panel]


@pytest.mark.parametrize("name", ["harden", "audit", "list", "compare"])
def test_the_help_fits_into_80_columns(name: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert run([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert max(len(line) for line in said.splitlines()) <= 80
    for one in options(commands()[name]):
        assert one.opts[0] in said  # not cut


# ------------------------------------------------------------------------------------------- the defaults that are said
def _found(part: Any, name: str) -> Iterator[Any]:
    if is_dataclass(part):
        for field in fields(part):
            value = getattr(part, field.name)
            yield from [value] if field.name == name and not is_dataclass(value) else []
            yield from _found(value, name)


SAID = {"batch", "optimiser", "schedule", "milestones", "drop", "weight_decay", "accumulate", "precision", "strength",
        "kappa_end", "beta", "gamma", "repeats", "how", "over", "epochs", "rate", "clip", "steps", "share", "weight"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SAID))
def test_the_defaults_of_trainings_are_those_of_the_catalogue(name: str) -> None:
    extra: Any = HardenSettings.model_fields[name].json_schema_extra
    said = extra["absent"]
    for entry in TRAININGS:
        for value in _found(entry.make(), name):
            if name == "share" and value is None:
                continue  # 2.5 / steps
            words = ",".join(map(str, value)) if isinstance(value, tuple) else value
            text = f"{words:g}" if isinstance(words, float) else "none" if words is None else str(words)
            assert re.search(rf"(?<![\d.]){re.escape(text)}(?![\d.])", said), (entry.name, value)


# ------------------------------------------------------------------------------------------- completion
def test_the_names_that_complete_are_the_catalogue() -> None:
    for verb in ("attack", "certify", "audit", "harden"):
        assert sorted(KNOWN[verb]) == sorted(entry.name for entry in catalogue() if entry.verb == verb), verb
    assert {text.partition(":")[0] for text in KNOWN["threat"]} == set(EXAMPLES)
    assert all(parse_threat(text) for text in KNOWN["threat"])


def test_values_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo.py").write_text("import nothing_there\ndef net():\n    pass\nclass Big:\n    pass\n")
    (tmp_path / "plan.yaml").write_text("")
    for name in ("x", "y"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")
    assert completes("attack")("pgd") == ["pgd", "pgd_kl"]
    assert completes("attack")("pgd,sq") == ["pgd,square"]
    assert completes("audit")("p") == ["patch", "pdpgd", "pgd", "pgd_kl", "pma", "plan.yaml"]
    assert completes("audit")("") == [*KNOWN["audit"], "plan.yaml", "runs/"]
    assert completes("threat")("linf:8/255|l2") == ["linf:8/255|l2:0.5"]
    assert completes("files")("zo") == ["zoo.py"]
    assert completes("files")("zoo.py:") == ["zoo.py:net", "zoo.py:Big"]
    assert completes("runs")("") == ["runs/x", "runs/y", "runs/"]
    assert completes("runs")("runs/") == ["runs/x", "runs/y"]
    assert completes("cite")("pg") == ["pgd", "pgd_kl"]  # an attack and a training of one name are one name
    assert completes("form")("s") == ["sarif"]
    assert KNOWN["form"] == tuple(FORMS)


@pytest.mark.parametrize("command", ["verify", "merge", "compare", "report", "gate", "log"])
def test_every_command_of_runs_completes_them(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "manifest.json").touch()
    monkeypatch.chdir(tmp_path)
    for name, value in (("COMP_WORDS", f"ironbound {command} runs/"), ("COMP_CWORD", "2")):
        monkeypatch.setenv(name, value)
    found = CliRunner().invoke(app, env={"_IRONBOUND_COMPLETE": "complete_bash"}, prog_name="ironbound")
    assert found.output.split() == ["runs/x"]
    assert completes("data")("digits:t") == ["digits:train", "digits:test"]
    assert completes("files")("nowhere/") == []


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "ironbound attack --method pg", "COMP_CWORD": "3"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "ironbound attack --method pg"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "ironbound attack --method pg", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_shells_get_values_without_torch(shell: str, words: dict[str, str]) -> None:
    code = (
        "import sys\nfrom ironbound.cli import run\ntry:\n    run([])\nfinally:\n"
        "    sys.stderr.write(str([name for name in ('torch', 'numpy', 'scipy', 'pyarrow') if name in sys.modules]))\n"
    )
    environment = {**os.environ, **words, "_IRONBOUND_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "pgd" in done.stdout
    assert "pgd_kl" in done.stdout
    assert "fgsm" not in done.stdout
    assert done.stderr.endswith("[]")
