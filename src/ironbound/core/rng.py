"""Randomness as a function of (seed, problem key, purpose, count): never of the batch, the order or the machine's state.

Scalars and sub-streams are hashed with SplitMix64's finaliser (Steele, Lea, Flood 2014) on the keys' own device: 53
bits, for where tails matter. Blocks of numbers come from one generator a row, seeded by the hash and drawn on the CPU,
so that they are the same on every device. torch's CPU generator keeps 32 bits of a seed: two of 100,000 blocks may be
equal, which no attack minds; hashing every number would cost ten times as much, a Philox generator of NumPy three times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.core import rows as rows_


@dataclass(frozen=True)
class Rng:
    """One random stream a row; `keys` is int64, shape (n,). Immutable: the same stream always draws the same numbers."""

    keys: Tensor

    @staticmethod
    def of(seed: int, keys: Tensor) -> Rng:
        """The streams of problems with these keys in a run with this seed."""
        return Rng(_mix(keys ^ _hash_of(f"seed {seed}")))

    def __len__(self) -> int:
        return self.keys.shape[0]

    def fold(self, tag: str | int | Tensor) -> Rng:
        """The streams for another purpose (a name) or count (a number, or one number a row)."""
        if isinstance(tag, Tensor):
            return Rng(_mix(self.keys ^ _mix(tag.to(self.keys.device, torch.int64) * -0x61C8864680B583EB + 1)))
        return Rng(_mix(self.keys ^ _hash_of(tag)))

    def take(self, index: Tensor) -> Rng:
        """The streams of some rows."""
        return Rng(self.keys.index_select(0, index))

    def repeat(self, times: int) -> Rng:
        """`times` different streams for each row, next to each other."""
        number = torch.arange(times, device=self.keys.device).repeat(len(self.keys))
        return Rng(self.keys.repeat_interleave(times)).fold(number)

    def unit(self) -> Tensor:
        """One number a row in [0, 1), float64, all 53 bits hashed."""
        return ((_mix(self.keys) >> 11) & ((1 << 53) - 1)).double() * 2.0**-53

    def integers(self, low: int, high: int) -> Tensor:
        """One integer a row in [low, high)."""
        return low + (self.unit() * (high - low)).long()

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Standard normal numbers, shape (n, *shape)."""
        return self._block(shape, dtype, lambda row, generator: row.normal_(generator=generator))

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype, low: float, high: float) -> Tensor:
        """Numbers uniform in [low, high), shape (n, *shape)."""
        return self._block(shape, dtype, lambda row, generator: row.uniform_(low, high, generator=generator))

    def sign(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """-1 or 1, each with probability one half, shape (n, *shape)."""
        return torch.where(self.uniform(shape, torch.float32, -1.0, 1.0) < 0, -1.0, 1.0).to(dtype)

    def permutation(self, length: int) -> Tensor:
        """An order of `length` things for each row, int64, shape (n, length)."""
        return self.uniform((length,), torch.float64, 0.0, 1.0).argsort(1)

    def _block(
        self, shape: tuple[int, ...], dtype: torch.dtype, draw: Callable[[Tensor, torch.Generator], Any]
    ) -> Tensor:
        block, generator = torch.empty(len(self.keys), *shape, dtype=dtype), torch.Generator()
        for row, key in zip(block, self.keys.tolist(), strict=True):
            draw(row, generator.manual_seed((key ^ key >> 32) & 0xFFFFFFFF))
        return block.to(self.keys.device)


def content_keys(x: Any, y: Any) -> Tensor:
    """One int64 key a row from the row's own content: equal samples draw alike, wherever they stand.

    Numbers are hashed as float32, so that the type in which the data come changes no draw.
    """
    return keys_of(content_digests(x, y))


def keys_of(digests: Sequence[bytes]) -> Tensor:
    """The keys of rows with these digests."""
    return torch.tensor([int.from_bytes(digest[:8], "little", signed=True) for digest in digests], dtype=torch.int64)


def content_digests(x: Any, y: Any) -> list[bytes]:
    """Sixteen bytes a row that tell rows of different content apart."""
    parts = [_row_bytes(x)] + ([] if y is None else [_row_bytes(y)])
    return [_digest(row) for row in zip(*parts, strict=True)]


def combined_key(keys: Tensor) -> int:
    """One key for all rows together, in their order: that of a collective problem."""
    digest = hashlib.blake2b(keys.cpu().numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _digest(parts: Sequence[Any]) -> bytes:
    digest = hashlib.blake2b(parts[0], digest_size=16)
    for part in parts[1:]:
        digest.update(b"|")
        digest.update(part)
    return digest.digest()


def _row_bytes(rows: Any) -> list[Any]:
    """Something with the bytes of each row: an array of numbers as it lies in memory, or bytes."""
    if isinstance(rows, Tensor):
        values = rows.detach().cpu()
        values = values.float() if values.is_floating_point() else values.long()
        return list(np.ascontiguousarray(values.numpy()))
    if isinstance(rows, (dict, tuple)):
        branches = rows.items() if isinstance(rows, dict) else enumerate(rows)
        tables = [(str(name).encode(), _row_bytes(branch)) for name, branch in branches]
        return [b"|".join(b"=".join((name, table[i])) for name, table in tables) for i in range(rows_.count(rows))]
    return [_object_bytes(row) for row in rows]


def _object_bytes(row: Any) -> Any:
    """The bytes of an object of its own size: a tensor, numbers in a tree (which are named), or anything with a repr."""
    if isinstance(row, Tensor):
        return _row_bytes(row[None])[0]
    if isinstance(row, dict) and rows_.leaves(row):
        return b"|".join(str(name).encode() + b"=" + bytes(_object_bytes(part)) for name, part in row.items())
    return repr(row).encode()


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 (torch's shifts keep the sign, hence the masks)."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * -0x40A7B892E31B1A47
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * -0x6B2FB644ECCEEE15
    return z ^ ((z >> 31) & ((1 << 33) - 1))


@cache
def _hash_of(tag: str | int) -> int:
    digest = hashlib.blake2b(repr(tag).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


@contextmanager
def forked(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """torch's global generators seeded inside and restored outside: for code that knows no streams (dropout).

    The only place where they are touched.
    """
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:  # torch.manual_seed would seed every GPU, also those that are not restored
            generator.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
