"""How many rows fit through the model at once, and what to do when it was too many."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ironbound.core.errors import OutOfMemory

T = TypeVar("T")

SHARE = 0.4  # of the free memory, for the activations of one pass: gradients and workspaces want about as much again
CACHE = 24 << 20  # bytes of activations beyond which a CPU gains nothing from more rows and pays for fresh pages
TRIAL = 16  # rows of the first pass, by which the need of the others is measured
UNKNOWN = 256  # rows a pass where nothing can be measured
LARGE = (32 << 20) - (8 << 10)  # bytes: the largest block by whose release glibc learns


@cache
def keep_pages() -> None:
    """Let the C library keep the memory that a pass frees, up to 64 MiB, for the next pass.

    glibc gives back what exceeds twice the largest block it has seen released so far, and the next pass pays for fresh
    pages: 30 % of PGD on a small net, measured. A block that nobody writes to costs nothing. Elsewhere nothing changes.
    """
    torch.empty(LARGE, dtype=torch.uint8)


class Chunks:
    """Runs a count of rows in slices that fit; out-of-memory halves them and goes on. What a row hears does not change.

    `rows` fixes the size; None finds it from the first pass and the memory that is free.
    """

    def __init__(self, rows: int | None, device: torch.device) -> None:
        self.limit, self.fixed, self.device = rows or TRIAL, rows is not None, device
        keep_pages()

    def run(self, count: int, job: Callable[[slice], T], price: int = 1) -> list[T]:
        """[job(slice) for slices of 0..count], each of at most `limit` model rows at `price` model rows a row."""
        parts, at = [], 0
        while at < count:
            passes = math.ceil((count - at) / max(1, self.limit // price))
            few = not self.fixed and passes > 1  # a first pass to measure by; then all of about the same size
            chunk = slice(at, at + (max(1, self.limit // price) if few else math.ceil((count - at) / passes)))
            try:
                parts.append(job(chunk) if self.fixed else self._measured(chunk, price, job))
            except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_memory(error):
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
        kept: dict[int, int] = {}

        def weigh(tensor: Tensor) -> Tensor:
            of = tensor if tensor._base is None else tensor._base
            if not isinstance(of, nn.Parameter):  # a parameter is there once, for all rows
                place, size = _footprint(tensor)
                kept[place] = size
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            result = job(chunk)
        saved = sum(kept.values())
        if self.device.type == "cpu":
            room = CACHE if SHARE * _untouched() >= CACHE else min(CACHE, SHARE * free_bytes(self.device))
        else:
            room = SHARE * free_bytes(self.device)
        self.limit, self.fixed = max(TRIAL, int(room / (saved / rows))) if saved else UNKNOWN, saved > 0
        return result


def _footprint(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies, and how many bytes there are: a relu's answer and the next layer's input are one."""
    try:
        memory = tensor.untyped_storage()
        return memory.data_ptr(), memory.nbytes()
    except (RuntimeError, NotImplementedError):  # sparse
        return id(tensor), tensor.numel() * tensor.element_size()


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device now; on a CPU what the system can give without swapping, files in its cache included."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_available(), _granted())


def _available() -> int:
    """Of the machine."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):  # not Linux
        return _untouched()


def _untouched() -> int:
    """Of the machine, without what its cache of files could give: told at once, where the above reads files."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not on every system
        return 2 << 30


GRANTS = (("memory.max", "memory.current", "inactive_file"),
          ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"))  # fmt: skip
"""Where Linux says what a container may take, what it takes, and how much of that is files which it can drop."""


def _granted(root: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves, where this process runs in one."""
    for limit, used, files in GRANTS:
        try:
            left = int((root / limit).read_text(encoding="ascii")) - int((root / used).read_text(encoding="ascii"))
            text = (root / limit).with_name("memory.stat").read_text(encoding="ascii")
            return max(0, left + int(dict(line.split() for line in text.splitlines()).get(files, 0)))
        except (OSError, ValueError):  # no limit ("max"), or none that can be seen
            continue
    return 1 << 62


def is_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(t in str(error).lower() for t in texts)
