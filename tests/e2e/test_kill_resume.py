"""A run that is killed again and again, and gone on with, finds what a run finds that nobody disturbs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
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

SAMPLES = 100
PARTS = 25
RUN = f"""
import sys
import torch
torch.set_num_threads(1)
import ironbound as ib
from audit_samples import digits, mlp
from safetensors.torch import load_file

net = mlp(64, 24, 10)
net.load_state_dict(load_file(sys.argv[2]))
print("ready", flush=True)
ib.audit(net, digits({SAMPLES}), threat="linf:0.05", method="quick", out=sys.argv[1], resume=True, pool=4, rows=64)
print("done", flush=True)
"""


def _started(folder: Path) -> subprocess.Popen[str]:
    """A process that audits into the folder, at the moment when it begins to; its code is a copy that nobody edits."""
    path = os.pathsep.join(
        [str(folder.parent / "code"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(folder.parent / "net.safetensors")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def _parts(folder: Path) -> int:
    return len(list((folder / "results").glob("part-*.parquet")))


def _killed(folder: Path, moment: random.Random) -> bool:
    """Kill the run some time after it has finished another part; whether it was killed before it was done."""
    process, before = _started(folder), _parts(folder)
    while process.poll() is None and _parts(folder) == before:
        time.sleep(0.005)
    time.sleep(moment.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((folder / "results").iterdir())
        for row in pq.read_table(path, partitioning=None).to_pylist()
    ]


def _figures(folder: Path) -> dict[str, Any]:
    """What audit.json says, without the times."""
    facts = json.loads((folder / "audit.json").read_text())
    del facts["created"], facts["cost"]["seconds"], facts["cost"]["checks"]["cpu"]
    for stage in facts["stages"]:
        del stage["seconds"]
    for check in facts["checks"]:
        check.pop("cpu", None)
    return facts


@pytest.mark.slow
def test_five_kills_change_nothing(tmp_path: Path) -> None:
    whole, torn, moment = tmp_path / "whole", tmp_path / "torn", random.Random(0)
    save_weights(digits_net(), tmp_path / "net.safetensors")
    shutil.copytree(Path(ib.__file__).parent, tmp_path / "code" / "ironbound")
    undisturbed = _started(whole)
    out, error = undisturbed.communicate()
    assert (out, undisturbed.returncode) == ("done\n", 0), error
    seen = [0]
    for _ in range(5):
        assert _killed(torn, moment), "the run was over before it could be killed; take more samples"
        seen.append(_parts(torn))
        assert not (torn / SEAL).exists()
    assert seen == sorted(seen)
    assert 5 <= seen[-1] < PARTS
    resumed = _started(torn)
    assert resumed.communicate()[0] == "done\n"

    assert Audit.load(torn).verdicts == Audit.load(whole).verdicts
    assert _rows(torn) == _rows(whole)
    assert _figures(torn) == _figures(whole)
    names = sorted(path.name for path in (whole / "witnesses").iterdir())
    assert names == sorted(path.name for path in (torn / "witnesses").iterdir())
    for name in names:
        assert (torn / "witnesses" / name).read_bytes() == (whole / "witnesses" / name).read_bytes()
    assert len(read_tensors(whole / "gallery.safetensors")[0]["index"]) > 0
    assert (torn / "gallery.safetensors").read_bytes() == (whole / "gallery.safetensors").read_bytes()
    assert not list(torn.rglob("*.tmp"))
    assert ib.verify(torn, digits_net(), digits(SAMPLES)).holds
