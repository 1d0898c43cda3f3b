"""One door for data: arrays, data sets, loaders, files and the bundled digits, all as `Data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from ironbound.core.errors import InputError
from ironbound.data.arrays import from_pair
from ironbound.data.dataset import Data
from ironbound.data.files import from_path
from ironbound.data.items import Indexed, from_items, from_loader
from ironbound.data.request import Request


def load(
    source: Any,
    *,
    samples: int | None = None,
    seed: int = 0,
    split: str = "test",
    input: str | Sequence[str] | None = None,  # noqa: A002 - what a user calls it
    label: str | None = None,
    stream: bool | None = None,
) -> Data:
    """Read data from whatever a user has.

    source: one of

    * a `Data`; a pair (x, y) of tensors, arrays or lists. Values are never rescaled, dtypes never changed: pictures as
      0..255 stay so, and the model says what to do;
    * a map-style data set, torch's or any object with `len` and `[i]`; its items are pairs or dicts. Inputs of
      different shapes become a list;
    * a `DataLoader`, read once and in its order. A row's number is its place in that order: a loader that shuffles
      gives no row a number of its own, so a resumed run may not find its rows again. Use shuffle=False. (Its draws
      from torch's global generator are seeded with `seed`, and the generator is restored.)
    * a path: `.parquet` (pictures as Hugging Face stores them, text, lists, or all numeric columns as one float32
      vector), `.npz` (uint8 pictures are scaled to [0, 1], channels first), or a folder: `split.parquet`, `.npy` files
      such as x.npy and y.npy (read as the arrays of an `.npz`), class folders of pictures, or those below train/ and
      test/. Pictures are float32 in [0, 1], grey ones with one channel;
    * "digits", "digits:train" or "digits:test": 1,797 handwritten digits of 8x8 pixels that come with Ironbound.

    samples: read a random subset of so many rows, in their order; None for all. No others are decoded.
    seed: which subset; the same seed and source give the same rows, whatever torch's generators are doing.
    split: the part that is meant where a source has parts.
    input: the input column; several make one vector, of tables only.
    label: the label column. Labels that are names are numbered in sorted order.
    stream: leave the inputs where they are and read them when they are needed: of `.parquet` (not text), `.npy`, mapped
        arrays (`numpy.load(mmap_mode="r")`) in a pair, `.npz` written without compression, pictures in folders and
        map-style data sets. None does so where they would take more than a quarter of the free memory. Labels and
        further columns are always read. What is found out about the data, and every verdict, is the same either way.

    Raises DataError where a file cannot be read, UsageError for arguments without sense, InputError for bad values.

    >>> load("digits", samples=100).x.shape
    torch.Size([100, 1, 8, 8])
    """
    request = Request(samples, seed, split, input, label, stream)
    if isinstance(source, Data):
        request.without_columns("a Data")
        subset = source.subset(samples, seed)
        return subset.take(range(len(subset))) if subset.streamed and stream is False else subset
    if isinstance(source, (str, Path)):
        return from_path(source, request)
    if isinstance(source, DataLoader):
        return from_loader(source, request)
    if isinstance(source, tuple):
        return from_pair(source, request)
    if isinstance(source, Indexed) and not isinstance(source, (dict, torch.Tensor, IterableDataset)):
        return from_items(source, request)
    raise InputError(
        f"data is a pair (x, y), a data set with len and [i], a DataLoader, a path or 'digits'; got "
        f"{type(source).__name__}. Put inputs and labels into a pair; put what can only be iterated into a DataLoader."
    )
