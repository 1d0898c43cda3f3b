"""How many samples a pool has: enough to fill passes, few enough to lose, and no more than memory holds."""

from __future__ import annotations

import torch

from ironbound.core import rows
from ironbound.core.memory import free_bytes
from ironbound.data.dataset import Data

LEAST = {"cpu": 256, "cuda": 1024}
"""What a pool has where there are few samples: enough to fill a pass,"""
MOST = {"cpu": 1024, "cuda": 8192}
"""and where there are many, so that writing parts is not what takes the time."""
PARTS = 64
"""Parts that a run of many samples has at least: what a crash may cost is a small share of it."""
COPIES = 16
"""Tables of the size of the inputs that a pool holds at once: the inputs, as admitted, an attack's points, gradients, moments,
best points, candidates, witnesses."""
ROOM = {"cpu": 2 << 30, "cuda": 16 << 30}
"""Bytes for these tables, on any machine: shards agree without asking each other."""
SHARE = 0.25
"""Of the memory that is free now, for the same."""


def usual_size(data: Data, device: torch.device, alone: bool) -> int:
    """Samples a pool where nobody says how many: a power of two, from the kind of device, the row count and a row's bytes.

    alone: an undivided run, which takes less where this machine has little memory left. Shards must agree: theirs follow
    from the data and the kind of device alone. On a machine with memory to spare both are the same.
    """
    kind = device.type if device.type in LEAST else "cpu"
    room = ROOM[kind] if not alone else min(ROOM[kind], SHARE * free_bytes(device))
    size = sum(leaf[0].numel() * max(4, leaf.dtype.itemsize) for leaf in rows.leaves(data.first))
    fits = int(room / (COPIES * size)) if size else MOST[kind]
    wanted = min(MOST[kind], max(LEAST[kind], len(data) // PARTS))
    return _power(max(1, min(wanted, fits)))


def _power(number: int) -> int:
    """The largest power of two that is not larger."""
    return 1 << (number.bit_length() - 1)
