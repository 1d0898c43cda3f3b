"""Trainings in two processes. A server that has imported this module forks them; torchrun's part is its environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file

from ironbound.core.errors import RunError
from ironbound.defenses.train import Adversarial, Steps, Training, fabric, loop, train
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene
from ironbound.models.model import Model
from training_samples import EPS, Stop, images, small_net, state_of


@dataclass(frozen=True)
class Carrying(Objective):
    """Two updates a batch; weights samples by how often they were seen, and carries a tensor for each batch."""

    name: ClassVar[str] = "carrying"

    @property
    def repeats(self) -> int:
        return 2

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        state, index = scene.state, batch.index
        seen = state.setdefault("seen", torch.zeros(len(scene.y), dtype=torch.int64))
        seen[index] += 1
        again = seen[index[0]] % 2 == 0
        shift = state["shift"] if again else torch.zeros_like(batch.x)
        logits = scene.logits(batch.x + shift, batch.rng)
        state["shift"] = 0.1 * batch.x.flip(-1) + 0.5 * shift
        return Outcome(scene.criterion(logits, batch.y) / seen[index], rows=len(index))


@dataclass(frozen=True)
class Pairs(Objective):
    """A loss more for each sample of class 0: how many losses a part has depends on what is in it."""

    name: ClassVar[str] = "pairs"

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        losses = scene.criterion(scene.logits(batch.x, batch.rng), batch.y)
        return Outcome(torch.cat([losses, losses[batch.y == 0]]), rows=len(batch.y))


SGD: dict[str, Any] = {"batch": 30, "rate": 0.1, "optimiser": "sgd", "clip": 2.0}
TRAININGS = {
    "pgd": Training(Adversarial(Steps(2)), 2, **SGD),
    "carrying": Training(Carrying(), 2, **SGD),
    "pairs": Training(Pairs(), 2, **SGD, accumulate=2),
}
NORMED = Training(Adversarial(Steps(2)), 6, batch=32, rate=0.01, clip=5.0)


def exact(training: Training, **options: Any) -> Any:
    """A training in float64 without anything that depends on how batches are divided."""
    x, y = images()
    return train(Model(small_net(norm=False, dropout=0).double()), (x.double(), y), EPS, training, **options)


def normed(folder: Path) -> Any:
    """A training with batch normalisation and dropout, in a folder."""
    return train(Model(small_net()), images(), EPS, NORMED, folder=folder, resume=True, every=2)


def process(rank: int, port: int, job: str, folder: str, told: Connection) -> None:
    """One of two processes; tells how it ended."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    try:
        told.send(JOBS[job](rank, Path(folder)))
    except RunError as error:
        told.send(f"{type(error).__name__}: {error}")


def agree(rank: int, folder: Path) -> Any:
    """Several trainings one after the other, one of them interrupted; weights of both processes are kept."""
    found = {}
    for name, training in TRAININGS.items():
        result = exact(training)
        found[name] = result.history
        save_file(state_of(result.model.net), folder / f"{name} {rank}.safetensors")
    with suppress(Stop), noticing(7, stop_here):
        exact(TRAININGS["carrying"], folder=folder / "cut", every=1)
    result = exact(TRAININGS["carrying"], folder=folder / "cut", resume=True)
    save_file(state_of(result.model.net), folder / f"cut {rank}.safetensors")
    return found | {"whole": resumed(rank, folder, "whole")}


def resumed(rank: int, folder: Path, name: str = "killed") -> Any:
    """The training to its end, or from where it stands."""
    result = normed(folder / name)
    save_file(state_of(result.model.net), folder / f"{name} {rank}.safetensors")
    return result.history


def killed(rank: int, folder: Path) -> None:
    """The second process is killed after some updates."""
    with noticing(8, lambda: os.kill(os.getpid(), signal.SIGKILL) if rank else None):
        normed(folder / "killed")


def told(rank: int, folder: Path) -> None:
    """The first process hears what torchrun says when another one has ended."""
    with noticing(2, lambda: None if rank else os.kill(os.getpid(), signal.SIGTERM)):
        normed(folder / "told")


def others(rank: int, folder: Path) -> None:
    """The processes do not train the same."""
    exact(TRAININGS["pgd"].replace(rate=0.1 + rank))


def prompt(rank: int, folder: Path) -> int:
    """The command, audits and all; what each process prints goes to files of its own."""
    from ironbound.cli import run

    (folder / "nets.py").write_text(NETS)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name} {rank}", os.O_CREAT | os.O_WRONLY), stream)
    words = f"harden --model {folder}/nets.py:net --data digits --threat linf:0.1 --epochs 1 --batch 648 --steps 2"
    return run([*words.split(), "--audit", "quick", "--samples", "5", "--out", str(folder / "run")])


NETS = """
from torch import nn


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
JOBS = {job.__name__: job for job in (agree, resumed, killed, told, others, prompt)}


def stop_here() -> None:
    raise Stop


@contextmanager
def noticing(count: int, then: Callable[[], Any]) -> Iterator[None]:
    """Inside, something happens in this process after so many updates."""
    note, seen = loop.Run._note, []

    def noted(run: loop.Run, *found: Any) -> None:
        note(run, *found)
        seen.append(1)
        if len(seen) == count:
            then()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "_note", noted)
        yield


torch.set_num_threads(1)
assert fabric  # imported before it forks
