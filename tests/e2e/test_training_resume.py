"""A training that is killed, again and again, and resumed ends with the very weights of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ironbound.core.store import read_tensors
from ironbound.defenses.train import Adversarial, Steps, Training, train
from ironbound.models.model import Model
from ironbound.sets import Linf
from training_samples import images, same, small_net

TRAINING = Training(Adversarial(Steps(2)), epochs=4, batch=15, rate=0.01)
BATCHES = 4 * 6
CHILD = """
import sys
from pathlib import Path
from test_training_resume import resumed
resumed(Path(sys.argv[1]), lambda event: print(event.done, flush=True))
"""


def resumed(folder: Path, progress: object) -> None:
    train(
        Model(small_net()), images(), Linf(0.1), TRAINING, folder=folder, resume=True, every=1,
        progress=progress,  # type: ignore[arg-type]
    )  # fmt: skip


def killed_after(folder: Path, batches: int) -> tuple[int, int]:
    """Start a training, kill it a random moment after it has done so many batches; where it began, and how it ended."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    threads = str(torch.get_num_threads())
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads},
    )  # fmt: skip
    assert child.stdout is not None
    first = int(child.stdout.readline())
    for _ in range(batches - 1):
        child.stdout.readline()
    time.sleep(os.urandom(1)[0] / 256 * 0.03)
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    return first, child.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(Model(small_net()), images(), Linf(0.1), TRAINING, folder=whole)
    first = 0
    for batches in (1, 9):
        began, code = killed_after(broken, batches)
        assert code == -signal.SIGKILL
        assert began > first  # at least what had been heard of is not done again, but for the last batch
        first = began + batches - 2
    history = train(Model(small_net()), images(), Linf(0.1), TRAINING, folder=broken, resume=True).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]

    (expected, notes), (got, other) = (read_tensors(folder / "checkpoint.safetensors") for folder in (whole, broken))
    assert same(expected["net"], got["net"])
    assert all(same(expected["optimiser"][slot], got["optimiser"][slot]) for slot in expected["optimiser"])
    assert _timeless(notes["position"]) == _timeless(other["position"])
    assert sorted(path.name for path in broken.iterdir()) == [
        "checkpoint.safetensors",
        "history.parquet",
        "training.json",
    ]


def _timeless(position: str) -> dict[str, object]:
    found = json.loads(position)
    for row in found["history"]:
        row.pop("seconds")
    return found
