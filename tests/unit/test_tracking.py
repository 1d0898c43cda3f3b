"""Logging of runs: what trackers are told is what the run says, under names they take, and only where the user said."""

from __future__ import annotations

import json
import os
import posixpath
import re
import socket
import sqlite3
import subprocess
import sys
import time
import types
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ironbound as ib
from audit_samples import edited
from gate_samples import verdicts, written
from ironbound.auditing.audit import Audit
from ironbound.auditing.report import wording
from ironbound.cli import run
from ironbound.core.errors import RunError, UsageError
from ironbound.core.store import write_json, write_tensors
from ironbound.defenses.train.checkpoint import STATE
from ironbound.tracking.entries import entries_of
from ironbound.tracking.naming import LONGEST, clean, named
from report_samples import curve

HOSTILE = "<script>alert(1)</script>\x1b[31m\n../../etc"
SERVER = os.environ.get("IRONBOUND_MLFLOW_PYTHON")
"""An interpreter whose MLflow has a server, which may be another one than that of the tests: its pins are others."""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit with a curve, whose model has a hostile name."""
    said = verdicts(wrong=10, broken=50, certified=15, undecided=25)
    path = written(tmp_path_factory.mktemp("runs") / "new", said, model=HOSTILE)
    edited(path / "audit.json", lambda facts: facts.update(curve=curve([90, 80, 60, 40], [90, 50, 30, 15], 100)))
    (path / "report.html").write_text("<p>a report</p>")
    return path


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hardening of two epochs between two audits."""
    path = tmp_path_factory.mktemp("hardenings") / "pgd"
    written(path / "before", verdicts(wrong=5, broken=90, undecided=5))
    written(path / "after", verdicts(wrong=10, broken=30, certified=20, undecided=40))
    rows = [
        {"epoch": 1, "loss": 2.0, "clean_accuracy": None, "attacked_accuracy": 0.25, "rate": 0.1},
        {"epoch": 2, "loss": float("nan"), "clean_accuracy": None, "attacked_accuracy": 0.5, "rate": 0.0},
    ]
    position = {"history": rows, "rows": 600}
    write_tensors(path / "training" / STATE, {"w": torch.zeros(1)}, {"position": json.dumps(position)})
    write_json(
        path / "harden.json",
        {
            "schema": 1, "method": "pgd", "training": {"": "Training", "epochs": 2}, "before": "before", "after": "after",
            "trained_on": {"data": {"name": "made", "rows": 100}, "threat": {"spec": "linf:0.1"}}, "device": "cpu",
            "took": {"epochs": 2, "seconds": 3.0, "cpu": None, "rows": 600}, "processes": 1,
        },
    )  # fmt: skip
    return path


# ------------------------------------------------------------------------------------------------------- what is told
def test_every_figure_has_its_interval_its_threat_and_its_checks_beside_it(audited: Path) -> None:
    facts, entries = Audit.load(audited).facts, entries_of(audited)
    assert entries.metrics["attacked/accuracy"] == 0.4
    for kind in ("clean", "attacked", "certified"):
        ends = [entries.metrics[f"{kind}/{end}"] for end in ("low", "accuracy", "high")]
        assert ends == [facts[kind][end] for end in ("low", "fraction", "high")]
    assert entries.metrics["samples"] == 100
    assert {name: entries.metrics[f"verdicts/{name}"] for name in facts["verdicts"]} == facts["verdicts"]
    assert entries.metrics["stages/pgd/forward"] == 990
    assert entries.metrics["cost/backward"] == 900
    assert entries.series["curve/radius"] == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert [value for _, value in entries.series["curve/attacked/accuracy"]] == [0.9, 0.8, 0.6, 0.4]
    assert entries.params["threat"] == "linf:0.1"
    assert entries.params["fingerprint.data"] == "data-1"
    assert entries.tags["checks"] == wording.checks_state(facts) == "all 3 checks passed"
    assert entries.sentence == wording.sentence(facts)
    assert all(value.isprintable() for value in [*entries.params.values(), *entries.tags.values()])


def test_a_figure_that_is_doubted_says_so(tmp_path: Path) -> None:
    assert (
        entries_of(written(tmp_path / "a", verdicts(undecided=5), checks=())).tags["attacked is"] == "attacked so far"
    )


def test_a_hardening_has_its_history_and_both_audits(hardened: Path) -> None:
    entries = entries_of(hardened)
    assert entries.series == {
        "training/loss": [(1, 2.0)],
        "training/attacked_accuracy": [(1, 0.25), (2, 0.5)],
        "training/rate": [(1, 0.1), (2, 0.0)],
    }
    assert (entries.metrics["before/attacked/accuracy"], entries.metrics["after/attacked/accuracy"]) == (0.05, 0.6)
    assert "took/cpu" not in entries.metrics
    assert entries.params["after.threat"] == entries.params["trained on.threat"] == "linf:0.1"
    assert entries.tags["after.checks"] == "all 3 checks passed"
    assert "before: " in entries.sentence
    assert (hardened / "after" / "audit.json", "after") in entries.files


@pytest.mark.parametrize("asked", [{}, {"mlflow": ""}, {"tensorboard": ""}])
def test_nothing_is_logged_where_no_place_was_named(audited: Path, asked: dict[str, str], monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="say where the run is logged"):
        ib.log(audited, **asked)


def test_runs_that_say_nothing_are_not_logged(tmp_path: Path, capsys: Any) -> None:
    written(tmp_path / "part", verdicts(undecided=5), shard={"number": 1, "of": 2})
    written(tmp_path / "altered", verdicts(undecided=5))
    (tmp_path / "altered" / "audit.json").write_text((tmp_path / "altered" / "audit.json").read_text() + " ")
    for name, said in (("part", "is a shard"), ("altered", "was altered"), ("nowhere", "is no folder")):
        assert run(["log", str(tmp_path / name), "--tensorboard", str(tmp_path / "logs")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


# --------------------------------------------------------------------------------------------------------------- names
@settings(derandomize=True, deadline=None, max_examples=60)
@example("x" * 300)
@example("/".join(["y"] * 200))
@example("a" * 239 + "/. " * 30)
@given(st.text("ab/.:_- <\x1b\u00e9\n", max_size=12))
def test_names_are_what_mlflow_takes(name: str) -> None:
    """Its own rules (mlflow/utils/validation.py): these characters, no more than 250, and no path that leads elsewhere."""
    text = clean(name)
    assert re.fullmatch(r"[/\w.\- ]+", text, re.ASCII)
    assert len(text) <= LONGEST
    assert posixpath.normpath(text) == text
    assert not text.startswith(("/", ".."))
    assert text != "."
    assert clean(text) == text


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.text("a<>/. ", max_size=4), unique=True))
def test_names_that_become_alike_stay_apart(names: list[str]) -> None:
    assert sorted(named({name: name for name in names}).values()) == sorted(names)


# --------------------------------------------------------------------------------------------------------- TensorBoard
def test_event_files_hold_what_was_logged(audited: Path, hardened: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for path in (audited, hardened):
        assert run(["log", str(path), "--tensorboard", str(tmp_path / "logs"), "--json"]) == 0
        where = json.loads(capsys.readouterr().out)
        assert where == {"mlflow": None, "tensorboard": str(tmp_path / "logs" / path.name)}
        events, entries = EventAccumulator(where["tensorboard"]).Reload(), entries_of(path)
        expected = {name: [(0, value)] for name, value in entries.metrics.items()} | entries.series
        assert set(events.Tags()["scalars"]) == set(named(expected))
        for name, steps in named(expected).items():
            found = events.Scalars(name)
            assert [event.step for event in found] == [step for step, _ in steps]
            assert [event.value for event in found] == pytest.approx([value for _, value in steps], rel=1e-6)
        texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
        assert texts["run/text_summary"] == f"    {entries.sentence}"
        assert all(line.startswith("    ") for text in texts.values() for line in text.split("\n"))
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["new", "pgd"]
    with pytest.raises(RunError, match="is there already"):
        ib.log(audited, tensorboard=tmp_path / "logs")


def test_a_log_folder_that_is_a_file_is_refused(audited: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file stands in its place"):
        ib.log(audited, tensorboard=tmp_path / "file")


# -------------------------------------------------------------------------------------------------------------- MLflow
class Client:
    """What stands in for MLflow's client: it notes what it is told, and fails where it is told to."""

    fails = ""

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self.told = tracking_uri, list[Any]()
        self.seen = {name: os.environ.get(name) for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_TRACKING_URI")}
        Client.last = self

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **also: Any) -> Any:
            self.told.append((name, given, also))
            if name == self.fails:
                raise ConnectionError("no answer from http://me:secret@host")
            return {
                "get_experiment_by_name": None,
                "create_experiment": "7",
                "create_run": types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1")),
            }.get(name)

        return call

    def all(self, name: str) -> list[Any]:
        return [(given, also) for told, given, also in self.told if told == name]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    entity = lambda *values: values
    parts = {
        "mlflow": {}, "mlflow.tracking": {"MlflowClient": Client},
        "mlflow.exceptions": {"MlflowException": type("MlflowException", (Exception,), {})},
        "mlflow.entities": {"Metric": entity, "Param": entity, "RunTag": entity},
    }  # fmt: skip
    for name, content in parts.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Client, "fails", "")
    return Client


def test_a_run_goes_to_the_uri_that_was_named(audited: Path, client: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:1")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    assert run(["log", str(audited), "--mlflow", "http://host:1", "--experiment", "mine"]) == 0
    assert capsys.readouterr().out == "MLflow: run r1 in the experiment mine\n"
    made, entries = client.last, entries_of(audited)
    assert made.uri == "http://host:1"
    assert made.seen["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ
    assert made.all("create_experiment") == [(("mine", None), {})]
    metrics = [metric for _, also in made.all("log_batch") for metric in also.get("metrics", ())]
    assert {name: value for name, value, _, step in metrics if name in entries.metrics and step == 0} == entries.metrics
    assert [(step, value) for name, value, _, step in metrics if name == "curve/radius"] == entries.series[
        "curve/radius"
    ]
    assert [given[1:] for given, _ in made.all("log_artifact")] == [
        (str(audited / "audit.json"), None), (str(audited / "report.html"), None),
    ]  # fmt: skip
    assert made.all("set_terminated") == [(("r1",), {})]
    assert ib.log(Audit.load(audited), mlflow="env").mlflow == "r1"
    assert client.last.uri == "http://elsewhere:1"


def test_a_run_that_mlflow_does_not_take_is_marked_and_said(audited: Path, client: Any, capsys: Any) -> None:
    client.fails = "log_batch"
    assert run(["log", str(audited), "--mlflow", "http://me:secret@host"]) == 2
    said = capsys.readouterr().err
    assert "MLflow at http://host did not take the run: no answer" in said
    assert "secret" not in said
    assert client.last.all("set_terminated") == [(("r1",), {"status": "FAILED"})]


def test_files_of_a_new_experiment_go_beside_its_database(audited: Path, client: Any, tmp_path: Path) -> None:
    ib.log(audited, mlflow=f"sqlite:///{tmp_path / 'runs.db'}")
    assert client.last.all("create_experiment")[0][0][1] == (tmp_path / "runs.artifacts").as_uri()
    with pytest.raises(UsageError, match="has to say where it keeps files"):
        ib.log(audited, mlflow="postgresql://host/db")


@pytest.mark.parametrize(("uri", "said"), [("runs", "begins with its kind"), ("env", "which is not set")])
def test_uris_that_say_nothing(audited: Path, uri: str, said: str, monkeypatch: Any) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UsageError, match=said):
        ib.log(audited, mlflow=uri)


def test_without_the_extra_its_name_is_said(audited: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"pip install 'ironbound\[mlflow\]'"):
        ib.log(audited, mlflow="http://host")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'ironbound\[tensorboard\]'"):
        ib.log(audited, tensorboard="logs")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(SERVER is None, reason="IRONBOUND_MLFLOW_PYTHON names no interpreter that has MLflow's server")
def test_a_real_server_holds_what_was_logged(audited: Path, hardened: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """What its SQLite store holds, read without MLflow."""
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store, kept = tmp_path / "server" / "m.db", tmp_path / "server" / "artifacts"
    store.parent.mkdir()
    words = [str(SERVER), "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}", "--workers", "1"]
    words += ["--artifacts-destination", str(kept), "--host", "127.0.0.1", "--port", str(port)]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = (tmp_path / "server" / "log").open("w")
    server = subprocess.Popen(words, env={**own, "MLFLOW_DISABLE_TELEMETRY": "true"}, stdout=log, stderr=log)
    try:
        uri = f"http://127.0.0.1:{port}"
        _answers(f"{uri}/health", server)
        for path in (audited, hardened):
            run_id = ib.log(path, mlflow=uri, experiment=HOSTILE).mlflow
            _must_hold(store, str(run_id), entries_of(path))
            there = {file.name for file in kept.rglob("*") if file.is_file() and str(run_id) in file.parts}
            assert there == {file.name for file, _ in entries_of(path).files if file.is_file()}
    finally:
        server.terminate()
        server.wait()
        log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["server"]  # nothing was written where nobody said


def _answers(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError("the server does not answer")


def _must_hold(store: Path, run_id: str, entries: Any) -> None:
    with closing(sqlite3.connect(store)) as base:
        ask = lambda words: base.execute(f"select {words} where run_uuid = ?", (run_id,)).fetchall()
        steps = [(name, value, 0) for name, value in named(entries.metrics).items()]
        steps += [(name, value, step) for name, series in named(entries.series).items() for step, value in series]
        assert sorted(ask("key, value, step from metrics")) == sorted(steps)
        assert dict(ask("key, value from params")) == named(entries.params)
        tags = dict(ask("key, value from tags"))
        assert {name: tags[f"ironbound.{name}"] for name in named(entries.tags)} == named(entries.tags)
        assert tags["mlflow.note.content"].strip() == entries.sentence
        assert ask("status from runs") == [("FINISHED",)]
