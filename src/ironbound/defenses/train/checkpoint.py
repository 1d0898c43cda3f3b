"""A training's folder: what is trained (training.json), and where it stands (checkpoint.safetensors, one atomic file).

Nothing is pickled. The checkpoint holds the parameters and buffers, the optimiser's tensors, and the position with the
history; draws are functions of the position (randomness.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.describe import described, fingerprint, state_digest
from ironbound.core.errors import FingerprintMismatch, RunError
from ironbound.core.store import read_json, read_tensors, write_json, write_tensors
from ironbound.defenses.train import optimisers
from ironbound.defenses.train.objective import Scene

FORMAT = 3
Tables = dict[str, Any]
"""Tensors by name, in tables and tables of tables."""
PLAN, STATE = "training.json", "checkpoint.safetensors"


@dataclass
class Position:
    """How far a training has come."""

    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Updates done of the present epoch."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of the present epoch's batches."""
    rows: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[Any] = field(default_factory=list)
    """What the optimiser keeps beside tensors (optimisers.py)."""
    best: dict[str, Any] | None = None
    """The epoch with the best result on the validation rows, and that result; its weights are a table."""
    stale: int = 0
    """Epochs since then."""
    stopped: str = ""
    """Why the training ended before its last epoch."""
    watched: dict[str, float] = field(default_factory=dict)
    """What the watch for catastrophic overfitting has seen."""
    good: dict[str, Any] | None = None
    """The position of the state to go back to, all but the history; its tensors are a table."""
    recoveries: list[dict[str, Any]] = field(default_factory=list)
    """How often it went back: seen at, went back to, with what result."""


def plan_of(scene: Scene, training: Any, processes: int = 1) -> dict[str, Any]:
    """What a training is made with, as JSON data: two trainings of the same plan give the same weights.

    In another number of processes they would differ: dropout draws by the process, and batch normalisation sees its share.
    """
    model = scene.model
    return {
        "format": FORMAT,
        "processes": processes,
        "device": model.device.type,
        "training": described(training),
        "threat": described(scene.threat),
        "given": described(scene.given),
        "data": {"inputs": fingerprint(scene.x), "labels": fingerprint(scene.y), "rows": len(scene.y)},
        "model": {
            "architecture": fingerprint(
                [repr(model.net), [[n, list(t.shape), str(t.dtype)] for n, t in named(model.net)]]
            ),
            "weights at the start": state_digest(model.net),
            "range": described(model.box),
            "mean and std": described([model.module.mean, model.module.std]),
            "outputs": model.outputs,
            "random": model.random,
        },
    }


def number_of(plan: dict[str, Any]) -> int:
    """A number in which different plans differ."""
    return int(fingerprint(json.dumps(plan))[:12], 16)


def begun(folder: Path, plan: dict[str, Any], resume: bool) -> None:
    """Make the folder that of this plan.

    Raises RunError where it holds a training and resuming was not asked for, FingerprintMismatch where that is another.
    """
    path = folder / PLAN
    if not path.exists() and not (folder / STATE).exists():
        write_json(path, plan)
        return
    if not resume:
        raise RunError(
            f"{folder} holds a training already. Continue it with resume=True (--resume), or give another folder."
        )
    there = {**read_json(path), "device": plan["device"]}  # said for who reads it; a training may move
    differences = list(_differences(there, json.loads(json.dumps(plan)), ""))
    if differences:
        raise FingerprintMismatch(
            f"{folder} holds another training than this one: {'; '.join(differences[:4])}. Resume with what it was begun "
            "with (initial weights that are drawn must be drawn from the same seed), or give another folder."
        )


def captured(net: nn.Module, optimiser: torch.optim.Optimizer, tables: Tables, position: Position) -> Tables:
    """The tensors of this moment, not copied; what goes with them is noted in the position.

    `tables` are further tensors, by the name of who reads them again.
    """
    slots, position.numbers = optimisers.state_of(optimiser)
    return {**tables, "net": dict(named(net)), "optimiser": slots}


@torch.no_grad()
def put(tables: Tables, position: Position, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Make net and optimiser those of a captured moment. Raises RunError where they do not fit."""
    own = dict(named(net))
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in tables["net"].items()}:
        raise RunError("the checkpoint does not hold the weights of this net: it was altered.")
    for name, tensor in own.items():
        tensor.copy_(tables["net"][name])
    optimisers.put(optimiser, tables.get("optimiser", {}), position.numbers)


def save(folder: Path, tables: Tables, position: Position) -> None:
    """Write the checkpoint, whole or not at all."""
    write_tensors(folder / STATE, tables, {"position": json.dumps(asdict(position))})


def load(folder: Path) -> tuple[Position, Tables]:
    """The checkpoint's position and tables; those of a start, without tables, where there is none.

    Raises DataError where it is damaged.
    """
    for rest in folder.glob(f".{STATE}.*.tmp"):  # of a process that was killed while writing
        rest.unlink(missing_ok=True)
    if not (folder / STATE).exists():
        return Position(), {}
    tables, notes = read_tensors(folder / STATE)
    return Position(**json.loads(notes["position"])), tables


def kept(folder: Path, name: str, make: Callable[[], Tensor], write: bool = True) -> Tensor:
    """The tensor in the folder's file of that name; where there is none it is made, and kept whole or not at all.

    Of several processes, which make the same, one writes.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists():
        made = make()
        if not write:
            return made
        write_tensors(path, {name: made.cpu()})
    return read_tensors(path)[0][name]


def last(folder: Path | None) -> str:
    """In words, what is kept of a training that ended early, and how to go on."""
    if folder is None:
        return "Nothing is kept of it: give a folder (--out), in which checkpoints go."
    path = folder / STATE
    if not path.exists():
        return f"There is no checkpoint yet in {folder}. Begin again with resume=True (--resume)."
    at = json.loads(read_tensors(path, only="")[1]["position"])
    further = f" and {at['batch']} batches" if at["batch"] else ""
    return (
        f"The last checkpoint is {path}, after epoch {at['epoch']}{further}. Go on from it with resume=True (--resume), in as "
        "many processes."
    )


def copied(tables: Any) -> Any:
    """Nested tables with tensors of their own."""
    if isinstance(tables, Tensor):
        return tables.detach().clone()
    return {name: copied(part) for name, part in tables.items()}


def named(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, shared ones once."""
    yield from net.named_parameters()
    yield from net.named_buffers()


def _differences(there: Any, here: Any, path: str) -> Iterator[str]:
    """In words, where two plans differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            name = f"{path}.{key}".strip(".") if key else path or "kind"
            yield from _differences(there.get(key), here.get(key), name)
    elif there != here:
        yield f"{path} is {json.dumps(here)} here and {json.dumps(there)} there"
