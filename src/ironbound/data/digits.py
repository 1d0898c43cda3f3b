"""The digits that come with Ironbound: small enough to try everything on, real enough to learn from."""

from __future__ import annotations

import io
from functools import cache
from importlib import resources

import torch
from torch import Tensor

from ironbound.data.dataset import Data
from ironbound.data.request import Request

SPLIT = {"train": slice(0, 1297), "test": slice(1297, 1797)}


def digits(split: str, request: Request) -> Data:
    """Handwritten digits, 1,297 to train and 500 to test; float32 (n, 1, 8, 8) in [0, 1], by sixteenths.

    A copy of scikit-learn's `load_digits`, which is the test part of UCI's "Optical Recognition of Handwritten Digits"
    (Alpaydin and Kaynak 1998); the 13 writers of that part wrote digits of both of our parts. The file holds the
    pictures in the order `numpy.random.default_rng(0).permutation(1797)`; train are the first 1,297, test the last 500.
    The column `number` is the place in scikit-learn's copy. Licences: bundled/LICENSE.digits.
    """
    images, labels, numbers = (part[SPLIT[split]] for part in _bundled())
    rows = request.rows(len(labels))
    return Data(
        x=images[rows, None].float().div_(16),
        y=labels[rows],
        columns={"number": numbers[rows].tolist()},
        index=rows,
        classes=tuple("0123456789"),
        name=f"digits:{split}",
    )


@cache
def _bundled() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures uint8 (1797, 8, 8) of 0..16, labels int64, numbers int64; in the order of the file."""
    import numpy as np

    content = resources.files("ironbound.data").joinpath("bundled", "digits.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels, numbers = (torch.from_numpy(arrays[name]) for name in ("images", "labels", "numbers"))
    return images, labels, numbers
