"""Several processes, on CPUs, GPUs and nodes, and float16: by Lightning Fabric, which torchrun starts.

Fabric forms the group, says which device is this process's, and scales losses. Sums go to torch.distributed itself,
since Fabric's own wait for all processes before each one.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.memory import is_memory
from ironbound.core.rank import Rank
from ironbound.defenses.train.objective import Precision
from ironbound.defenses.train.place import Lost, Place

NAMES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
PATIENCE = timedelta(minutes=30)
"""How long a process waits for one that lives and does not come, within a training."""


class Fabricated(Place):
    """This process, as Fabric sees it."""

    def __init__(self, device: torch.device, precision: Precision, ranked: Rank) -> None:
        if device.type == "cuda" and ranked.beside > torch.cuda.device_count():
            raise UsageError(
                f"{ranked.beside} processes on this machine have {torch.cuda.device_count()} GPUs. Start as many as there "
                "are (torchrun --nproc-per-node), or train with --device cpu."
            )
        several = ranked.world > 1
        devices: Any = ranked.beside if device.type == "cpu" or several else [device.index or 0]
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what was asked for is not news
        self.fabric = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=ranked.world // ranked.beside,
            strategy=DDPStrategy(timeout=PATIENCE) if several else "auto",
            precision=NAMES[precision],  # type: ignore[arg-type]
            plugins=[TorchElasticEnvironment()] if several else None,  # and not Slurm's, where that started torchrun
        )
        self.fabric.launch()
        super().__init__(self.fabric.device)
        self.rank, self.world = ranked.rank, ranked.world
        self.precision = self.fabric.strategy.precision
        self.scaler: Any = getattr(self.precision, "scaler", None)
        self.scaled = self.scaler is not None
        if several:
            _patient()

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        self.precision.unscale_gradients(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        self.precision.optimizer_step(optimiser)

    def sum(self, numbers: Tensor) -> Tensor:
        if self.world > 1:
            with _heard():
                dist.all_reduce(numbers)
        return numbers

    def copy_first(self, tensors: Iterator[Tensor]) -> None:
        if self.world > 1:
            with _heard(), torch.no_grad():
                for tensor in tensors:
                    sent = tensor.to(torch.uint8) if tensor.dtype is torch.bool else tensor.contiguous()
                    dist.broadcast(sent, 0)
                    tensor.copy_(sent)

    def wait(self) -> None:
        if self.world > 1:
            with _heard():
                dist.barrier(_patient())

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """torchrun tells the others to end as soon as one has ended, which may be before their next sum.

        After that they have the time to say so: what they answer to SIGTERM stays "nothing".
        """
        if self.world == 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, _told)
        try:
            yield
        except Lost:
            before = signal.SIG_IGN
            raise
        finally:
            signal.signal(signal.SIGTERM, before)

    def tables(self) -> dict[str, Tensor]:
        numbers = self.scaler.state_dict() if self.scaled else {}
        return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in numbers.items()}

    def restore(self, tables: dict[str, Tensor]) -> None:
        if self.scaled and tables:
            now = self.scaler.state_dict()
            self.scaler.load_state_dict({name: type(now[name])(tables[name].item()) for name in now})


@cache
def _patient() -> Any:
    """A group whose members wait as long as the first one's audit takes. It ends at once where a process ends."""
    return dist.new_group(backend="gloo", timeout=timedelta(days=1000))


@contextmanager
def _heard() -> Iterator[None]:
    """What torch.distributed says when another process is gone, as Lost."""
    try:
        yield
    except RuntimeError as error:
        if is_memory(error):
            raise
        said = " ".join(re.sub(r"\[/\S*\]", "", str(error)).split()).partition(". ")[0][:200]
        raise Lost(f"another process of the training has ended or cannot be reached ({said}).") from error


def _told(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Lost("this process was told to end, as torchrun does when another process of the training has ended.")
