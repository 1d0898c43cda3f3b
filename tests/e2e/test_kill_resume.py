"""An audit that is killed again and again, and gone on with, finds what one finds that nobody disturbs."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import ironbound as ib
from audit_samples import digits, digits_net
from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import SEAL
from ironbound.core.store import read_tensors
from ironbound.models.weights import save_weights

SAMPLES, POOL = 48, 6  # those of tests/killed.py
KILLS = [*["write"] * 8, *["event"] * 6, *["later"] * 6]
MOST = {"write": 18, "event": 48, "later": 48}
"""The latest moment of each kind: a pool or two away, and no later than what is left to do when all pools are finished."""


def _run(folder: Path, kind: str = "", count: int = 0, delay: float = 0.0) -> tuple[int, int]:
    """How a process ended that audits into the folder, and how many samples it had said were finished."""
    server, done = multiprocessing.get_context("forkserver"), 0
    hears, tells = server.Pipe(duplex=False)
    arguments = (str(folder), str(folder.parent / "net.safetensors"), kind, count, tells)
    process = server.Process(target=_audited, args=arguments)
    process.start()
    tells.close()
    while True:
        try:
            said = hears.recv()
        except EOFError:
            break
        if said == "now":
            time.sleep(delay)
            process.kill()
        else:
            done = int(said)
    process.join()
    return int(process.exitcode or 0), done


def _audited(*arguments: Any) -> None:
    import killed

    killed.audited(*arguments)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process that all others are forked from has imported them before: an import costs more than an audit."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(ib.__file__).parents[1])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["killed"])
    yield
    multiprocessing.get_context("forkserver").set_forkserver_preload([])


def _parts(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each finished pool; a part that is there is whole."""
    paths = sorted((folder / "results").glob("part-*.parquet"))
    return {path.name: pq.read_table(path, partitioning=None).to_pylist() for path in paths}


def _witnesses(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "witnesses").glob("part-*")}


def _figures(folder: Path) -> dict[str, Any]:
    """What audit.json says, without the times."""
    facts = json.loads((folder / "audit.json").read_text())
    del facts["created"], facts["cost"]["seconds"], facts["cost"]["cpu"], facts["cost"]["checks"]["cpu"]
    for stage in facts["stages"]:
        del stage["seconds"], stage["cpu"]
    for check in facts["checks"]:
        check.pop("cpu", None)
    return facts


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    whole, torn, chance = tmp_path / "whole", tmp_path / "torn", random.Random(0)
    save_weights(digits_net(), tmp_path / "net.safetensors")
    assert _run(whole) == (0, SAMPLES)
    rows, witnesses = _parts(whole), _witnesses(whole)
    assert len(rows) > SAMPLES // POOL, "no part of a stage behind the pools"
    kinds, seen, halves = chance.sample(KILLS, len(KILLS)), [0], 0
    while kinds:
        kind, delay = kinds.pop(), chance.uniform(0, 0.03)
        code, done = _run(torn, kind, chance.randint(1, MOST[kind]), delay)
        if code == 0:  # it was done before that moment came; what goes on with a finished run is killed as well
            kinds.append(kind)
            continue
        assert code == -signal.SIGKILL
        parts = _parts(torn)
        assert parts.items() <= rows.items()
        assert POOL * (len(parts) + 1) >= done, "a pool that was said to be finished is lost"  # one was running
        held = {name: content for name, content in witnesses.items() if name.replace("safetensors", "parquet") in parts}
        assert held.items() <= _witnesses(torn).items()
        seen.append(len(parts))
        halves += bool(list(torn.rglob(".*.tmp")))
    assert seen == sorted(seen)
    assert len(set(seen)) > len(rows) // 2
    assert seen.count(len(rows)) > 1, "none was killed during the checks"
    assert halves > 0, "none was killed while it wrote"
    assert _run(torn) == (0, SAMPLES)

    assert set(Audit.load(whole).verdicts) == {"wrong", "broken", "certified", "undecided"}
    assert Audit.load(torn).verdicts == Audit.load(whole).verdicts
    assert _parts(torn) == rows
    assert _witnesses(torn) == witnesses
    assert _figures(torn) == _figures(whole)
    assert len(read_tensors(whole / "gallery.safetensors")[0]["index"]) > 0
    assert (torn / "gallery.safetensors").read_bytes() == (whole / "gallery.safetensors").read_bytes()
    assert (torn / SEAL).exists()
    assert not list(torn.rglob("*.tmp"))
    assert ib.verify(torn, digits_net(), digits(SAMPLES)).holds
