"""Rows with labels: what every loader returns, checked once and for all when it is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import InputError, UsageError
from ironbound.core.rng import Rng
from ironbound.data.stored import Stored

PORTION = 4096
"""Rows that are looked at together, where all of them are looked at,"""
PORTION_BYTES = 32 << 20
"""and what they take at most, unless a single row takes more."""


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs, labels and what else is known of each row. Everything lies on the CPU; the model moves what it eats.

    x: the inputs, one a row, in the unit of the source: a tensor (n, ...) (pictures from files: floats in [0, 1],
        channels first), a list of strings or of tensors of their own shapes, a dict or tuple of these; or `Stored` rows
        on disk (see `load`), which are read, and only then checked for NaN, when they are taken.
    y: the classes, int64 (n,), from 0 up. Whole numbers of another dtype are converted, a shape (n, 1) is flattened.
    columns: further columns (a slice, a group), one value a row; they are kept in the results.
    index: each row's number in the source, int64 (n,), whatever subset was taken since.
    classes: the names of the classes by number, where the source has them.
    name: for people, "mnist/test.parquet".

    Raises InputError where lengths differ, there are no rows, numbers are NaN or infinite, labels are no class numbers.
    """

    x: Any
    y: Tensor
    columns: dict[str, list[Any]]
    index: Tensor
    classes: tuple[str, ...] | None
    name: str

    def __post_init__(self) -> None:
        count = _counted(self.x, self.name)
        if count == 0:
            raise InputError(
                f"{self.name} holds no rows; at least one is needed. Check the source, or the filter before it."
            )
        columns = {column: list(values) for column, values in self.columns.items()}
        index = torch.as_tensor(self.index, dtype=torch.int64, device="cpu")
        classes = None if self.classes is None else tuple(str(label) for label in self.classes)
        y = class_numbers(self.y, self.name)
        lengths = {
            "y": len(y),
            "index": len(index),
            **{f"column {key!r}": len(rows_) for key, rows_ in columns.items()},
        }
        for what, length in lengths.items():
            if length != count:
                raise InputError(f"{self.name}: x has {count} rows but {what} has {length}; give one value a row.")
        if classes is not None and int(y.max()) >= len(classes):
            row = int(y.argmax())
            raise InputError(
                f"{self.name}: row {int(index[row])} is of class {int(y[row])}, but there are {len(classes)} class "
                f"names, numbered from 0 ({', '.join(classes[:5])}...). Give a name for each class, or none."
            )
        x = rows.to(self.x, "cpu")
        if not isinstance(x, Stored):
            _must_be_finite(x, index, self.name)
        checked = {"x": x, "y": y, "columns": columns, "index": index, "classes": classes}
        for field, value in checked.items():
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        kind = f"x={tuple(self.x.shape)}" if isinstance(self.x, (Tensor, Stored)) else f"x={type(self.x).__name__}"
        return f"Data({self.name!r}, rows={len(self)}, {kind}, classes={self.classes and len(self.classes)})"

    @property
    def streamed(self) -> bool:
        """Whether the inputs are on disk and read when they are taken."""
        return isinstance(self.x, Stored)

    @property
    def first(self) -> Any:
        """The inputs of the first row alone, as a batch of one in memory: what kind of inputs these are."""
        return rows.part(self.x, slice(0, 1))

    def portions(self) -> Iterator[tuple[slice, Any]]:
        """All inputs in their order, a few at a time and in memory, each with the places where they stand.

        Raises InputError for NaN and infinity in what is on disk, DataError where that cannot be read.
        """
        size = PORTION
        if isinstance(self.x, (Tensor, Stored)):
            size = max(1, min(PORTION, PORTION_BYTES // max(1, self.x.shape[1:].numel() * self.x.dtype.itemsize)))
        for start in range(0, len(self), size):
            at = slice(start, min(len(self), start + size))
            x = rows.part(self.x, at)
            if self.streamed:
                _must_be_finite(x, self.index[at], self.name)
            yield at, x

    def take(self, index: Tensor | Sequence[int]) -> Data:
        """The rows at these places (int64, in [0, n)), in that order, in memory; places may repeat.

        Raises InputError outside.
        """
        places = torch.as_tensor(index, device="cpu")
        if places.dtype == torch.bool or (places.is_floating_point() and places.numel()) or places.ndim != 1:
            raise InputError(
                f"take expects places as a vector of integers; got {places.dtype}, shape {tuple(places.shape)}. "
                "For a mask, pass mask.nonzero().flatten()."
            )
        places = places.long()
        if bool(((places < 0) | (places >= len(self))).any()):
            raise InputError(
                f"take expects places in [0, {len(self)}); got {int(places.min())} to {int(places.max())}."
            )
        return self._of(places, rows.take(self.x, places))

    def chosen(self, places: Tensor) -> Data:
        """The rows at these places (ascending) as `take` gives them, but what is on disk stays there."""
        return self._of(places, self.x.chosen(places)) if isinstance(self.x, Stored) else self.take(places)

    def _of(self, places: Tensor, x: Any) -> Data:
        numbers = places.tolist()
        columns = {column: [values[i] for i in numbers] for column, values in self.columns.items()}
        return replace(self, x=x, y=self.y[places], columns=columns, index=self.index[places])

    def subset(self, samples: int | None, seed: int = 0) -> Data:
        """A random subset of `samples` rows, without replacement, in their order; all where there are no more.

        Which rows is a function of the seed and of each row's number in the source alone, so that the subset of 100
        holds that of 50. Raises UsageError where samples is not a positive whole number.
        """
        places = choose(self.index, samples, seed)
        return self if len(places) == len(self) else self.chosen(places)


def choose(numbers: Tensor, samples: int | None, seed: int) -> Tensor:
    """Places, ascending, of the `samples` rows with the lowest draws among the rows with these numbers, int64 (n,)."""
    check_samples(samples, seed)
    if samples is None or samples >= len(numbers):
        return torch.arange(len(numbers))
    return draws(numbers, seed).argsort(stable=True)[:samples].sort().values


def draws(numbers: Tensor, seed: int) -> Tensor:
    """What decides who is in a subset: a number in [0, 1) for each row number, float64 (n,)."""
    return Rng.of(seed, numbers).fold("subset").unit()


def check_samples(samples: int | None, seed: int) -> None:
    """Raise UsageError unless samples is None or positive, and both are whole numbers."""
    if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool) or samples < 1):
        raise UsageError(f"samples is a whole number of at least 1, or None for all rows; got {samples!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UsageError(f"seed is a whole number; got {seed!r}.")


def class_numbers(y: Any, name: str) -> Tensor:
    """Labels as int64 (n,), without loss. Raises InputError for anything but whole numbers from 0 up."""
    try:
        labels = torch.as_tensor(y).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: labels are one class number a row; got {type(y).__name__} ({error}).") from error
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        advice = "They look one-hot or like scores: pass y.argmax(1)." if labels.ndim == 2 else "Pass one number a row."
        raise InputError(
            f"{name}: labels are one class number a row, shape (n,); got shape {tuple(labels.shape)}. {advice}"
        )
    if labels.is_complex():
        raise InputError(f"{name}: labels are class numbers; got {labels.dtype}.")
    whole = labels.long()
    wrong = (whole.to(labels.dtype) != labels) | (whole < 0)
    if bool(wrong.any()):
        places = wrong.nonzero().flatten()
        raise InputError(
            f"{name}: labels are whole numbers from 0 up; got {[labels[i].item() for i in places[:3]]} in rows "
            f"{places[:3].tolist()} ({len(places)} such rows). Number classes from 0, and drop rows without a label."
        )
    return whole


def _counted(x: Any, name: str) -> int:
    """How many rows x has; every branch of a tree must agree."""
    if isinstance(x, (dict, tuple)):
        counts = {_counted(branch, name) for branch in (x.values() if isinstance(x, dict) else x)}
        if len(counts) != 1:
            raise InputError(f"{name}: the parts of x have different numbers of rows: {sorted(counts)}.")
        return counts.pop()
    if isinstance(x, (list, Stored)):
        return len(x)
    if not isinstance(x, Tensor) or x.ndim == 0:
        got = "a tensor without dimensions" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"{name}: x is a tensor (n, ...), a list, or a dict or tuple of them; got {got}.")
    if x.layout != torch.strided:
        raise InputError(f"{name}: x is a tensor with all its values; got {x.layout}. Pass x.to_dense().")
    return len(x)


def _must_be_finite(x: Any, index: Tensor, name: str) -> None:
    bad = (~_finite(x, len(index))).nonzero().flatten()
    if len(bad):
        raise InputError(
            f"{name}: x holds NaN or infinity in {len(bad)} of {len(index)} rows, first in rows "
            f"{index[bad[:5]].tolist()}. Drop these rows or fill them in."
        )


def _finite(x: Any, count: int) -> Tensor:
    """Which rows hold finite numbers only, bool (n,)."""
    if isinstance(x, Tensor):
        return x.isfinite().reshape(count, -1).all(1)
    if isinstance(x, list):
        return torch.tensor(
            [all(bool(leaf.isfinite().all()) for leaf in rows.leaves(row)) for row in x], dtype=torch.bool
        )
    branches = list(x.values()) if isinstance(x, dict) else list(x)
    return torch.stack([_finite(branch, count) for branch in branches]).all(0)
