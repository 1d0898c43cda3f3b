"""What the command line says: escapes, bars, names, papers, hints, exit codes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

import ironbound
import ironbound.cli
from cli_samples import harmless
from ironbound.auditing.gaps import gaps_of
from ironbound.cli import app as app_
from ironbound.cli import run
from ironbound.cli.demo import demo_place
from ironbound.cli.stopping import Interrupted
from ironbound.cli.summary import lengths, summarise
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import OutOfMemory, SoundnessAlarm
from ironbound.core.text import shown
from report_samples import audit, check

HOSTILE = "[red]x[/] \x1b[31m\r\n\x07\u202e\u2028[link=http://a]"


def test_what_steers_a_terminal_is_written_out():
    assert shown("a b \u00e9 [red]x[/]") == "a b \u00e9 [red]x[/]"
    assert harmless(shown(HOSTILE))
    assert "\n" not in shown(HOSTILE)


@pytest.mark.parametrize(
    "counts", [[1, 0, 0, 0], [0, 0, 0, 7], [997, 1, 1, 1], [3, 3, 3, 3], [1, 1, 1, 10_000], [0, 0, 0, 0]]
)
def test_bars_are_as_long_as_they_should_be(counts):
    found = lengths(counts, 40)
    assert sum(found) == (40 if sum(counts) else 0)
    assert all((length > 0) == (count > 0) for length, count in zip(found, counts, strict=True))


def test_checks_are_no_table_of_one_word_columns_where_it_is_narrow(capsys, monkeypatch):
    facts = {**audit(checks=[check(2, "fail", "red", evidence="Seen much. " * 20, next="Do that.")]), "notes": []}
    for width, rule in ((80, False), (140, True)):
        monkeypatch.setenv("COLUMNS", str(width))
        summarise(Terminal(), facts, Path("runs"))
        out = capsys.readouterr().out
        assert ("what was seen" in out) == rule
        assert ("2 name-2: failed\n  Seen much. Seen much." in out) == (not rule)


def test_a_summary_says_the_context_of_every_figure(capsys):
    checks = [
        check(1),
        check(2, "fail", "red", evidence="Seen [red]this[/].", next="Do that."),
        check(3, "cannot tell"),
    ]
    facts = {**audit(checks=checks), "title": HOSTILE, "notes": [HOSTILE]}
    summarise(Terminal(), facts, Path("runs") / HOSTILE.replace("/", ""))
    out = capsys.readouterr().out
    assert harmless(out)
    assert "L-inf 8/255" in out or "L-inf" in out
    assert "attacked so far" in out
    assert "95% interval" in out
    assert "Seen [red]this[/]." in out
    assert "Do that." in out
    assert "1 of 3 checks failed and 1 could not tell" in out
    assert out.index("name-2") < out.index("name-3") < out.index("name-1")


def test_a_terminal_without_unicode_gets_plain_signs(monkeypatch, capsys):
    from ironbound.cli.summary import bar

    terminal = Terminal()
    monkeypatch.setattr(type(terminal.out), "encoding", "ascii")
    assert set(bar(terminal, audit()).plain) <= set("#=-.")


def test_list_and_its_json(capsys):
    assert run(["list"]) == 0
    out = capsys.readouterr().out
    assert "hopskipjump" in out
    assert harmless(out)
    assert run(["list", "attack", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {entry["verb"] for entry in found} == {"attack"}
    assert all(entry["summary"] for entry in found)
    assert run(["list", "defend"]) == 2
    assert "there is no kind and no verb 'defend'" in capsys.readouterr().err


def test_cite(capsys):
    assert run(["cite", "I-FGSM", "bim", "pgd", "attack:pgd", "certify:ibp"]) == 0
    out = capsys.readouterr().out
    assert out.count("@misc{") == 3
    assert "madry2018towards" in out
    assert "eprint = {1706.06083}" in out
    wrong = {
        "pgdd": "Did you mean 'pgd'",
        "standard": "no paper",
        "defend:pgd": "no verb",
        "attack:x": "knows no method",
    }
    for name, said in wrong.items():
        assert run(["cite", name]) == 2
        assert said in capsys.readouterr().err


def test_a_name_of_two_papers_is_ambiguous(capsys, monkeypatch):
    from dataclasses import replace

    from ironbound import names

    entries = names.catalogue()
    other = next(e.paper for e in entries if e.name == "fgsm")
    monkeypatch.setattr(
        names,
        "catalogue",
        lambda: tuple(replace(e, paper=other) if e.full_name == "harden:pgd" else e for e in entries),
    )
    assert run(["cite", "pgd"]) == 2
    said = capsys.readouterr().err
    assert "attack:pgd (Madry" in said
    assert "harden:pgd (Goodfellow" in said
    assert run(["cite", "harden:pgd"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit"], "--model is missing"),
        (["audit", "--metod", "x"], "No such option"),
        (["nothing"], "No such command"),
        (["cite"], "NAME"),
        (["verify"], "RUN"),
        (["verify", "nowhere"], "holds no run"),
        (["report", "nowhere"], "is no folder"),
        (["attack", "--resume", "--model", "a.py:b", "--data", "digits", "--threat", "linf:1"], "--out"),
    ],
)
def test_wrong_use_is_one_line_and_two(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert said in found.err
    assert harmless(found.err)


def test_help_and_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ironbound {ironbound.__version__}\n"
    for arguments in (["--help"], ["audit", "--help"], ["harden", "-h"], ["verify", "--help"]):
        assert run(arguments) == 0
        assert "--debug" in capsys.readouterr().out or arguments == ["--help"]
    assert run([]) == 2
    assert "audit" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("error", "code"), [(SoundnessAlarm("a"), 1), (OutOfMemory("b"), 1), (RuntimeError(HOSTILE), 1)]
)
def test_failures_are_one_line_and_one(error, code, capsys, monkeypatch):
    monkeypatch.setattr("ironbound.cli.listing.run_list", lambda *_: (_ for _ in ()).throw(error))
    assert run(["list"]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert harmless(said)
    with pytest.raises(type(error)):
        run(["list", "--debug"])


def test_an_interruption_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    def interrupted(verb, settings, terminal, folder):
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ironbound.cli.runs.run_audit", interrupted)
    flags = ["audit", "--model", "a b.py:net", "--data", "digits", "--threat", "linf:0.1"]
    assert run(flags) == 130
    said = capsys.readouterr().err
    assert "ironbound audit --model 'a b.py:net'" in said
    assert "--out runs/" in said
    assert said.rstrip().endswith("--resume")
    assert run([*flags, "--out", "here"]) == 130
    assert capsys.readouterr().err.count("--out") == 1
    monkeypatch.setattr("ironbound.cli.runs.run_audit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(flags) == 130
    assert "nothing was written" in capsys.readouterr().err


def test_a_second_interruption_does_not_hide_what_was_kept(capsys, tmp_path, monkeypatch):
    def interrupted(verb, settings, terminal, folder):
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    real = ironbound.cli.commands.verbs._stages

    def again(*given):
        try:
            return real(*given)
        except Interrupted:
            raise KeyboardInterrupt  # while the first is on its way  # noqa: B904

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ironbound.cli.runs.run_audit", interrupted)
    monkeypatch.setattr("ironbound.cli.commands.verbs._stages", again)
    assert run(["audit", "--model", "z.py:n", "--data", "digits", "--threat", "linf:0.1", "--out", "x"]) == 130
    assert "Go on with: ironbound audit" in capsys.readouterr().err


def test_what_keeps_nothing_says_how_to_begin_again(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("ironbound.cli.checking.run_verify", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("ironbound.cli.comparing.run_compare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compare.json").write_text("{}")
    for command in (["verify", "a b"], ["compare", "x"]):
        assert run(command) == 130
        assert f"nothing is kept of it. Begin again by: ironbound {shlex.join(command)}" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly(capsys, monkeypatch):
    monkeypatch.setattr("ironbound.cli.listing.run_list", lambda *_: (_ for _ in ()).throw(BrokenPipeError))
    monkeypatch.setattr(ironbound.cli, "_nobody_reads", lambda stream: 1)
    assert run(["list"]) == 1
    assert "".join(capsys.readouterr()) == ""


def test_the_demo_takes_a_free_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo_place(None, False) == Path("runs/demo") == demo_place(None, True)
    os.makedirs("runs/demo")
    os.makedirs("runs/demo-2")
    assert demo_place(None, False) == Path("runs/demo-3")
    assert demo_place(None, True) == Path("runs/demo-2")
    assert demo_place("x", False) == Path("x")


def test_every_command_has_words():
    assert all(command.callback.__doc__ for command in app_.app.registered_commands)


def test_what_was_not_attacked_is_not_called_attacked(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    facts = audit(20, 0, 30, 50)
    facts["stages"] = [stage for stage in facts["stages"] if stage["kind"] != "attack"]
    facts["notes"], facts["gaps"] = [], gaps_of(facts["classes"], [])
    facts["slices"] = []
    summarise(Terminal(), facts, Path("runs"))
    out = capsys.readouterr().out
    assert "certified 30.0% <= true robust accuracy <= 80.0% right when clean, no attack was run" in out
    assert "no proof was found, and no attack was run" in out
    assert "By class. Right when clean: all 10 hold alike, such as" in out
    assert "under attack" not in out
    assert "attacked" not in out
