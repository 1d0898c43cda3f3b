"""All draws of a training as a function of the seed, the epoch and the batch or sample: nothing of them needs saving.

Code that knows no streams (dropout) draws from torch's global generator. It is seeded anew for every batch and given
back after it, so that a resumed training draws what an uninterrupted one would, a listener's own draws change nothing,
and the user's generator stands where it stood, also after an error. Draws from NumPy's or Python's generators inside a
module are not covered.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.core.rng import Rng, forked


def one(seed: int, purpose: str) -> Rng:
    """A single stream of the training, for a purpose."""
    return Rng.of(seed, torch.zeros(1, dtype=torch.int64)).fold(purpose)


def batches(seed: int, epoch: int, count: int, batch: int) -> list[Int[Tensor, " b"]]:
    """The rows of each batch of an epoch: all `count` in a new order, in parts of nearly equal size, at most `batch`.

    Differs: usual loaders leave a small rest as the last batch, on one row of which batch normalisation fails.
    """
    order = one(seed, "order").fold(epoch).permutation(count)[0]
    return list(order.tensor_split(-(-count // batch)))


def drawing(seed: int, epoch: int, batch: int, device: torch.device, part: int = 0) -> AbstractContextManager[None]:
    """torch's global generators seeded for one batch, or a part of one, and restored after it."""
    stream = one(seed, "draws").fold(epoch).fold(batch)
    return forked(int((stream.fold(part) if part else stream).keys), device)


def streams(seed: int, epoch: int, keys: Int[Tensor, " b"]) -> Rng:
    """One stream a sample, by its content: for the starts of inner attacks."""
    return Rng.of(seed, keys).fold("samples").fold(epoch)
