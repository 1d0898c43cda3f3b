"""The one pass over all data before a run's first pool: fingerprint, keys and range, and the model's word that it takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.core.errors import RunError
from ironbound.core.rng import content_digests, content_keys
from ironbound.data.dataset import Data
from ironbound.models.model import Model

NAMES_AT_ONCE = 4096
"""Values of a further column that are hashed together."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What a pass over the data found. It takes eight bytes a row, and is the same for streamed data."""

    fingerprint: str
    """Of all rows, labels, row numbers and further columns."""
    keys: Tensor
    """Each row's key, int64 (n,): a hash of its content."""
    low: float | None
    high: float | None
    """The smallest and the largest value of the inputs; None where they are no single tensor."""

    def smallest(self, count: int) -> Tensor:
        """The places of the `count` samples with the smallest keys, by key: the same samples on every machine."""
        return self.keys.argsort(stable=True)[:count]

    def unchanged(self, samples: Data, places: Tensor) -> None:
        """Raise RunError unless these samples, read again from these places, are what they were."""
        other = (content_keys(samples.x, samples.y) != self.keys[places]).nonzero()[:, 0]
        if len(other):
            raise RunError(
                f"{samples.name}: rows {samples.index[other[:5]].tolist()} are not what they were when the run began. The data "
                "were changed, or are drawn anew whenever they are read; streamed data must stay the same."
            )


def surveyed(data: Data, model: Model | None = None) -> Survey:
    """Read all data once, in portions. With a model, inputs and labels are checked against it on the way.

    Raises InputError for inputs and labels that the model does not take, NaN and infinity; DataError for what cannot be
    read.
    """
    digest, keys, ends = hashlib.blake2b(digest_size=8), list[Tensor](), list[tuple[float, float]]()
    for at, x in data.portions():
        if model is not None:
            model.admit(x, data.y[at])
        row_digests = b"".join(content_digests(x, data.y[at]))
        digest.update(row_digests)
        keys.append(torch.from_numpy(np.frombuffer(row_digests, "<i8").reshape(-1, 2)[:, 0].astype(np.int64)))
        if isinstance(x, Tensor) and x.numel() and not x.is_complex():
            ends.append((float(x.min()), float(x.max())))
    digest.update(data.index.numpy().tobytes())
    for text in _said(data.columns):
        digest.update(text.encode())
    low, high = (min(a for a, _ in ends), max(b for _, b in ends)) if ends else (None, None)
    return Survey(digest.hexdigest(), torch.cat(keys), low, high)


def _said(columns: dict[str, list[Any]]) -> Iterator[str]:
    """repr(sorted(columns.items())), piece by piece: as one text, a column of a million values is a hundred megabytes."""
    yield "["
    for number, (name, values) in enumerate(sorted(columns.items(), key=lambda column: column[0])):
        yield f"{', ' if number else ''}({name!r}, ["
        for start in range(0, len(values), NAMES_AT_ONCE):
            yield (", " if start else "") + repr(values[start : start + NAMES_AT_ONCE])[1:-1]
        yield "])"
    yield "]"
