"""The command line as a process: exit codes, streams, Ctrl-C, and a kill at a random moment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cli_samples import EPS, command, environment, finished, harmless, model_of, write_zoo
from ironbound.auditing.audit import Audit
from ironbound.cli import run

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def flags(zoo):
    return [*model_of(zoo), "--data", "digits", "--threat", EPS]


def started(arguments: list[str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(arguments), cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Until the condition holds or the process has ended."""
    until = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def parts(folder: Path) -> int:
    return len(list((folder / "results").glob("part-*.parquet")))


def test_streams_and_exit_codes(flags, tmp_path):
    done = finished(["audit", *flags, "--samples", "12", "--method", "pgd", "--json", "--out", "x"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["attacked"]["total"] == 12
    assert harmless(done.stdout + done.stderr)
    wrong = finished(["audit", *flags, "--out", "x"], tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("Error: x already holds a run.")


@posix
def test_ctrl_c_says_how_to_go_on(flags, tmp_path):
    long = ["attack", *flags, "--pool", "4", "--method", "apgd", "--samples", "300"]
    process = started([*long, "--out", "x"], tmp_path)
    wait_for(lambda: parts(tmp_path / "x") >= 2, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # people press it twice
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Go on with: ironbound attack" in err
    assert err.rstrip().endswith("--out x --resume")
    assert out == ""
    assert "Traceback" not in err


@posix
@pytest.mark.slow
def test_killed_at_a_random_moment_the_verdicts_are_the_same(flags, tmp_path, monkeypatch):
    """Kills without end, at moments of every kind, are in test_kill_resume.py."""
    short = ["audit", *flags, "--samples", "32", "--pool", "4", "--method", "quick", "--quiet"]
    monkeypatch.chdir(tmp_path)
    assert run([*short, "--out", "whole"]) == 0
    chance, folder = np.random.default_rng(20), tmp_path / "killed"
    process = started([*short, "--out", "killed"], tmp_path)
    wait_for(lambda: parts(folder) >= 3, process)
    time.sleep(chance.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert 0 < parts(folder) <= 8
    assert run([*short, "--out", "killed", "--resume"]) == 0
    one, other = Audit.load(tmp_path / "whole"), Audit.load(folder)
    assert one.verdicts == other.verdicts
    for name in ("index", "key", "stage", "margin", "size", "prediction"):
        a, b = (audit.details.table[name].to_pylist() for audit in (one, other))
        assert repr(a) == repr(b), name
    assert str(one) == str(other)
    assert run(["verify", "killed", "whole"]) == 0


@posix
def test_a_terminal_gets_colours_and_bars_that_leave(flags, tmp_path):
    import pty

    mine, theirs = pty.openpty()
    arguments = command(["attack", *flags, "--samples", "10", "--method", "pgd", "--out", "x"])
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=theirs, stderr=theirs, env={**environment(), "TERM": "xterm-256color"}
    )
    os.close(theirs)
    heard = b""
    while True:
        try:
            heard += os.read(mine, 4096) or b""
        except OSError:  # the other end is closed
            break
    os.close(mine)
    assert process.wait(timeout=60) == 0
    said = heard.decode()
    assert "\x1b[" in said
    assert "samples" in said
    assert "true robust accuracy <=" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
