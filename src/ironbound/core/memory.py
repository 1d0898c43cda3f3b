"""How many rows fit through the model at once, and what to do when it was too many."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ironbound.core.errors import OutOfMemory

T = TypeVar("T")

SHARE = 0.4  # of the free memory, for the activations of one pass: gradients and workspaces want about as much again
CACHE = 96 << 20  # bytes of activations beyond which a CPU gains nothing from more rows and pays for fresh pages
TRIAL = 16  # rows of the first pass, by which the need of the others is measured
UNKNOWN = 256  # rows a pass where nothing can be measured


class Chunks:
    """Runs a count of rows in slices that fit; out-of-memory halves them and goes on. What a row hears does not change.

    `rows` fixes the size; None finds it from the first pass and the memory that is free.
    """

    def __init__(self, rows: int | None, device: torch.device) -> None:
        self.limit, self.fixed, self.device = rows or TRIAL, rows is not None, device

    def run(self, count: int, job: Callable[[slice], T], price: int = 1) -> list[T]:
        """[job(slice) for slices of 0..count], each of at most `limit` model rows at `price` model rows a row."""
        parts, at = [], 0
        while at < count:
            chunk = slice(at, min(count, at + max(1, self.limit // price)))
            try:
                parts.append(job(chunk) if self.fixed else self._measured(chunk, price, job))
            except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_memory(error):
                    raise
                self._halve((chunk.stop - chunk.start) * price, price, error)
                continue
            at = chunk.stop
        return parts

    def _halve(self, ran: int, price: int, error: BaseException) -> None:
        if ran <= price:
            raise OutOfMemory(
                f"even one input at a time ({ran} model rows) does not fit into the memory of {self.device}. "
                "Use a smaller model, a device with more memory, or an oracle with fewer draws."
            ) from error
        self.limit, self.fixed = max(1, ran // 2), True
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _measured(self, chunk: slice, price: int, job: Callable[[slice], T]) -> T:
        rows = (chunk.stop - chunk.start) * price
        saved = 0

        def weigh(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            result = job(chunk)
        room = SHARE * free_bytes(self.device)
        if self.device.type == "cpu":
            room = min(room, CACHE)
        self.limit, self.fixed = max(TRIAL, int(room / (saved / rows))) if saved else UNKNOWN, saved > 0
        return result


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not on every system
        return 2 << 30


def _is_memory(error: BaseException) -> bool:
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(t in str(error).lower() for t in texts)


def joined(parts: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    """One result from those of the slices."""
    return parts[0] if len(parts) == 1 else join(parts)
