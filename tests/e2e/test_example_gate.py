"""The example of GitHub Actions: every command of the workflow is run by bash, on its own model, for a push and pull requests."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ironbound.cli import run
from report_samples import check

EXAMPLE = Path(__file__).parents[2] / "examples" / "gate_a_pull_request"
BASH = shutil.which("bash")
CALL = """#!{python} -ISE
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as wire:
    wire.sendall(json.dumps([sys.argv[1:], os.getcwd()]).encode() + b"\\n")
    code, out, err = json.loads(wire.makefile().read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")


class Runner:
    """What runs the workflow: bash, with an `ironbound` on its path that has this process do the work."""

    def __init__(self, place: Path) -> None:
        self.place, self.path = place, place.parent / "bin"
        self.path.mkdir()
        self.server = socket.create_server(("127.0.0.1", 0))
        call = CALL.format(python=sys.executable, port=self.server.getsockname()[1])
        for name, content in (("ironbound", call), ("python", "#!/bin/sh\necho not installed\n")):
            (self.path / name).write_text(content)
            (self.path / name).chmod(0o755)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                wire, _ = self.server.accept()
            except OSError:
                return
            with wire:
                words, folder = json.loads(wire.makefile().readline())
                out, err = io.StringIO(), io.StringIO()
                os.chdir(folder)
                with redirect_stdout(out), redirect_stderr(err):
                    code = run(words)
                wire.sendall(json.dumps([code, out.getvalue(), err.getvalue()]).encode())

    def job(self, event: str) -> tuple[list[str], str]:
        """The names of the steps that were run, up to one that failed and those that follow all the same; and what was said."""
        done, said, failed = [], "", False
        environment = {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}"}
        environment["GITHUB_STEP_SUMMARY"] = str(self.place / "summary.md")
        for step in steps():
            condition = str(step.get("if", ""))
            named = re.findall(r"github\.event_name == '(\w+)'", condition) if "||" not in condition else []
            if (failed and "cancelled()" not in condition) or (named and event not in named):
                continue
            done.append(step.get("name", step.get("uses")))
            if "run" in step:
                script = self.place.parent / "step.sh"
                script.write_text(step["run"])
                words = [str(BASH), "--noprofile", "--norc", "-eo", "pipefail", str(script)]  # as GitHub calls it
                ended = subprocess.run(
                    words, cwd=self.place, env=environment, capture_output=True, text=True, check=False
                )
                said, failed = said + ended.stdout + ended.stderr, failed or ended.returncode != 0
        return [*done, "failed"] if failed else done, said


def workflow() -> dict[Any, Any]:
    content = yaml.safe_load((EXAMPLE / "robustness.yml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps() -> list[dict[str, Any]]:
    return list(workflow()["jobs"]["gate"]["steps"])


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # and back, wherever the commands went
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [check(1)])  # they cost more than all else
    shutil.copytree(EXAMPLE, tmp_path / "repository")
    made = Runner(tmp_path / "repository")
    yield made
    made.server.close()


def test_a_push_and_pull_requests(runner: Runner) -> None:
    done, said = runner.job("push")
    assert "failed" not in done, said
    assert "Take this run as that of main" in done
    assert "PASS: clean accuracy 94.5% of 200" in said
    assert (runner.place / "runs" / "main" / "audit.json").exists()  # what the cache keeps, and gives back

    done, said = runner.job("pull_request")
    assert "failed" not in done, said
    assert "the model being the baseline's own" in said
    assert "Take this run as that of main" not in done
    shutil.rmtree(runner.place / "runs" / "new")

    weights = load_file(runner.place / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    noise = {name: 0.12 * torch.empty_like(w).normal_(generator=generator) for name, w in weights.items()}
    save_file({name: w + noise[name] for name, w in weights.items()}, runner.place / "model.safetensors")
    (runner.place / "summary.md").unlink()
    done, said = runner.job("pull_request")
    assert done[-1] == "failed"
    assert "Gate" in done
    assert {"Summary", "Code scanning", "Keep the report"} <= set(done)  # which follow a gate that failed
    assert "FAIL: " in said
    assert "drop of attacked accuracy since the baseline" in said.partition("FAIL: ")[2]
    assert "Gate: not passed" in (runner.place / "summary.md").read_text()
    assert json.loads((runner.place / "gate.sarif").read_text())["version"] == "2.1.0"
    assert 'failures="' in (runner.place / "gate.xml").read_text()


def test_the_workflow_asks_for_no_more_than_it_needs() -> None:
    found = workflow()
    assert found["permissions"] == {"contents": "read", "security-events": "write", "actions": "read"}
    assert set(found[True]) == {"pull_request", "push"}  # YAML 1.1 reads "on" as true
    used = [step["uses"] for step in steps() if "uses" in step]
    assert all(re.fullmatch(r"(actions|github)/[a-z/-]+@v\d+", name) for name in used)
    assert all(
        "${{" not in step["run"] for step in steps() if "run" in step
    )  # nothing that others write becomes a command
    files = {word for step in steps() for word in re.findall(r"[\w/]+\.(?:yaml|py|safetensors)", str(step))}
    assert all((EXAMPLE / file).exists() for file in files)
    restored, saved = (step["with"] for step in steps() if "actions/cache" in step.get("uses", ""))
    assert restored["path"] == saved["path"]
    assert saved["key"].startswith(restored["restore-keys"])
