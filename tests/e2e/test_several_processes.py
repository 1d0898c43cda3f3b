"""Training in two processes: as in one, and what happens when one of them is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import ironbound as ib
from ironbound.core.errors import FingerprintMismatch

pytest.importorskip("lightning_fabric")
from several import TRAININGS, exact, normed
from training_samples import same, state_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where trainings go. The server that forks their processes gets this one's paths and a single thread."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(ib.__file__).parents[1])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("OMP_NUM_THREADS", "1")
        multiprocessing.get_context("forkserver").set_forkserver_preload(["several"])
        yield tmp_path_factory.mktemp("several")
        multiprocessing.get_context("forkserver").set_forkserver_preload([])


@pytest.fixture(scope="module")
def histories(folder: Path) -> dict[str, Any]:
    """Several trainings of two processes, to the end."""
    said, codes = _two("agree", folder)
    assert codes == [0, 0], said
    assert _numbers(said[0]["whole"]) == _numbers(said[1]["whole"])
    return said[0]


def _two(job: str, folder: Path) -> tuple[list[Any], list[int]]:
    """What each process says of the job, and its exit code."""
    context = multiprocessing.get_context("forkserver")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for rank in range(2):
        hears, tells = context.Pipe(duplex=False)
        process = context.Process(target=_process, args=(rank, port, job, str(folder), tells))
        process.start()
        tells.close()
        started.append((process, hears))
    said = []
    for _, hears in started:
        try:
            said.append(hears.recv() if hears.poll(60) else "silent")
        except EOFError:
            said.append("dead")
    for process, _ in started:
        process.join(20)
    return said, [process.exitcode for process, _ in started]


def _process(*arguments: Any) -> None:
    import several

    several.process(*arguments)


def _weights(folder: Path, name: str, rank: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name} {rank}.safetensors")


def _numbers(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds" and value is not None} for row in history]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_as_one(name: str, folder: Path, histories: dict[str, Any]) -> None:
    """In float64 and without batch normalisation: up to rounding."""
    alone, there = exact(TRAININGS[name]), _weights(folder, name, 0)
    assert same(there, _weights(folder, name, 1))
    for key, weight in state_of(alone.model.net).items():
        torch.testing.assert_close(there[key], weight, rtol=0, atol=1e-10)
    for ours, theirs in zip(_numbers(alone.history), _numbers(histories[name]), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_what_an_objective_carries_is_resumed_in_each_process(folder: Path, histories: dict[str, Any]) -> None:
    for rank in range(2):
        assert same(_weights(folder, "cut", rank), _weights(folder, "carrying", 0))


def test_batch_normalisation_and_dropout_give_the_same_quality(
    folder: Path, histories: dict[str, Any], tmp_path: Path
) -> None:
    alone, both = normed(tmp_path / "alone").history[-1], histories["whole"][-1]
    assert abs(both["attacked_accuracy"] - alone["attacked_accuracy"]) < 0.1
    assert same(_weights(folder, "whole", 0), _weights(folder, "whole", 1))


def test_a_killed_process_is_an_error_that_names_the_checkpoint_to_resume(
    folder: Path, histories: dict[str, Any]
) -> None:
    said, codes = _two("killed", folder)
    assert said[1] == "dead"
    assert codes == [0, -9]
    checkpoint = folder / "killed" / "checkpoint.safetensors"
    assert "another process of the training has ended" in said[0]
    assert f"The last checkpoint is {checkpoint}, after epoch 2. Go on from it with resume=True (--resume)" in said[0]
    said, codes = _two("resumed", folder)
    assert codes == [0, 0], said
    for rank in range(2):
        assert same(_weights(folder, "killed", rank), _weights(folder, "whole", 0))


def test_a_process_that_torchrun_ends_says_so(folder: Path) -> None:
    said, _ = _two("told", folder)
    assert "this process was told to end" in said[0]
    assert "another process of the training has ended" in said[1]
    assert all(f"There is no checkpoint yet in {folder / 'told'}" in words for words in said)


def test_processes_that_do_not_train_the_same_are_refused(folder: Path, histories: dict[str, Any]) -> None:
    said, _ = _two("others", folder)
    assert all("settings, data or model of the 2 processes differ" in words for words in said)
    with pytest.raises(FingerprintMismatch, match="processes is 1 here and 2 there"):
        normed(folder / "whole")


@pytest.mark.slow
def test_the_command_audits_and_speaks_once(folder: Path) -> None:
    said, codes = _two("prompt", folder)
    assert (said, codes) == ([0, 0], [0, 0]), (folder / "err 0").read_text()
    assert "Trained by pgd for 1 epoch" in (folder / "out 0").read_text()
    assert "in 2 processes" in (folder / "err 0").read_text()
    assert (folder / "out 1").read_text() == (folder / "err 1").read_text() == ""
    assert {path.name for path in (folder / "run").iterdir()} >= {"before", "after", "training", "model.safetensors"}
    assert json.loads((folder / "run" / "training" / "training.json").read_text())["processes"] == 2
