"""Where a training runs: one process in plain PyTorch, or one of several processes (fabric.py).

The loop asks its place for four things: a backward pass, a step, a sum over processes, and to wait. The net is not
wrapped, as `DistributedDataParallel` would: objectives go through it in ways that a wrapper's hooks do not see (bounds
through the traced graph, weights that stand in, several forward passes for one backward, gradients for inputs). Instead
the gradients of an update are summed once, after its last backward pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ironbound.core.errors import RunError, UsageError
from ironbound.core.rank import Rank
from ironbound.defenses.train.objective import Precision

PAUSE = 2.0
"""Seconds in which the first process can say why it ends, before torchrun sees another one end and ends it, too."""


class Lost(RunError):
    """Another process of the training has ended. `kept` where the message says what is kept."""

    kept = False


class Place:
    """One process in plain PyTorch; what several processes do otherwise is overridden."""

    rank: int = 0
    world: int = 1
    scaled: bool = False
    """Whether losses are scaled (float16), so that a gradient that is not finite is a scale to be halved."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    # ------------------------------------------------------------------------------------------- what an update does
    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss () to that of the weights."""
        loss.backward()

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Give gradients their true length before it is measured."""

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Move the weights by their gradients."""
        optimiser.step()

    # ------------------------------------------------------------------------------------------- what processes share
    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, in place. Raises Lost where one has ended."""
        return numbers

    def copy_first(self, tensors: Iterator[Tensor]) -> None:
        """Make tensors what they are in the first process, in place."""

    def wait(self) -> None:
        """Go on when all processes have come here, however long that takes."""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Inside, the end of another process is heard of as Lost."""
        yield

    def tables(self) -> dict[str, Tensor]:
        """What checkpoints must keep of the place itself: the scale of losses."""
        return {}

    def restore(self, tables: dict[str, Tensor]) -> None:
        """Take up what `tables` gave."""

    # ------------------------------------------------------------------------------------------- made of the above
    def first(self, action: Callable[[], None]) -> None:
        """Something that the first process does for all, such as writing; where it fails, all end."""
        failure: Exception | None = None
        if self.rank == 0:
            try:
                action()
            except Exception as error:
                failure = error
        failed = self.sum(torch.tensor([float(failure is not None)], device=self.device))
        if failure is not None:
            raise failure
        if self.world > 1 and failed.item():
            time.sleep(PAUSE)
            raise RunError("the first process could not go on, for the reason that it gives.")

    def must_agree(self, number: int, what: str) -> None:
        """Raise RunError where a number below 2^48 differs between processes."""
        if self.world == 1:
            return
        numbers = torch.zeros(self.world, dtype=torch.int64, device=self.device)
        numbers[self.rank] = number
        if len(set(self.sum(numbers).tolist())) > 1:
            raise RunError(
                f"{what} of the {self.world} processes differ. Start all of them with the same command, the same files and "
                "a folder that all of them see."
            )

    def gathered(self, content: bytes) -> list[bytes]:
        """The bytes of each process, in all of them."""
        if self.world == 1:
            return [content]
        lengths = torch.zeros(self.world, dtype=torch.int64, device=self.device)
        lengths[self.rank] = len(content)
        sizes = self.sum(lengths).tolist()
        if not any(sizes):
            return [b""] * self.world
        table = torch.zeros(self.world, max(sizes), dtype=torch.uint8, device=self.device)
        if content:
            table[self.rank, : len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
        rows = self.sum(table).cpu()
        return [row[:size].numpy().tobytes() for row, size in zip(rows, sizes, strict=True)]


def here(device: torch.device, precision: Precision = "32") -> Place:
    """The place of this process: under torchrun one of several, with the first's own GPU where the model is on one.

    One process needs Lightning Fabric for float16 alone; without it the extra `train` need not be installed, and with it
    the weights are the same.

    Raises UsageError for a precision that the device does not have, and where several processes lack Fabric or GPUs.
    """
    if precision == "16" and device.type == "cpu":
        raise UsageError(
            'precision "16" is for GPUs: float16 has no fast kernels on a CPU, and needs scaled losses. Use "bf16" or "32".'
        )
    ranked = Rank.of()
    if ranked.world == 1 and precision != "16":
        return Place(device)
    try:
        from ironbound.defenses.train.fabric import Fabricated
    except ImportError as error:
        asked = f"training in {ranked.world} processes" if ranked.world > 1 else 'precision "16"'
        raise UsageError(f"{asked} needs Lightning Fabric: pip install 'ironbound[train]'. ({error})") from error
    return Fabricated(device, precision, ranked)


def statistics_of(net: nn.Module) -> list[Tensor]:
    """The running statistics that batches move: of normalisations in training mode. Their mean over processes is kept."""
    return [
        tensor
        for part in net.modules()
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.training
        for tensor in (part.running_mean, part.running_var)
        if isinstance(tensor, Tensor)
    ]
