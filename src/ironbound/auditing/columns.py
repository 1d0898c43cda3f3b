"""The values of a column of the data as groups of samples: each value by itself, or numbers in bins with named edges."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ironbound.core.errors import UsageError

MOST = 20
"""Values of a column that are listed, those with the most samples: of more, each would be of too few to say much."""
BINS = 4
"""Groups of a column of many numbers that was asked for: quarters, so that each has samples enough to say something."""
COVERED = 0.5
"""The share of all samples that the listed values must be of, and with two samples a value on average: or they are no
slices, unless they were asked for."""
CLASS = "label"
"""The class itself, whose table is always there: accepted as a column, so that it can be asked for alone."""


@dataclass(frozen=True)
class Groups:
    """Which group each sample is in, and which of them are listed, in this order."""

    of: np.ndarray[Any, Any]
    """A number a sample, (n,)."""
    names: list[str]
    listed: list[int]
    note: str
    """In words, what was left out, or how the groups were made."""


def must_be_there(wanted: Iterable[str], columns: Iterable[str]) -> None:
    """Raise UsageError, with the columns there are, where one is asked for that there is not."""
    there = list(columns)
    for name in wanted:
        if name in there or name == CLASS:
            continue
        near = difflib.get_close_matches(name, [*there, CLASS], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        named = f"There are: {', '.join(there)}" if there else "The data have no further columns"
        raise UsageError(
            f"there is no column {name!r} to slice by.{hint} {named}; and {CLASS}: the classes themselves."
        )


def chosen(wanted: Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    """The columns that become slices: all of them, or each that was asked for once, in that order."""
    if wanted is None:
        return list(columns)
    must_be_there(wanted, columns)
    return [name for name in dict.fromkeys(wanted) if name in columns]


def groups_of(column: Any, forced: bool = False) -> Groups | str:
    """The groups of a column (an Arrow array, a value a sample); in words why there are none.

    forced: the column was asked for, so that many values are no reason to leave it out: of texts those with most samples are
    listed, numbers and times become bins of about equally many samples, each named by its smallest and its largest value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_float32(column.type) or pa.types.is_float64(column.type):
        column = pc.add(column, pa.scalar(0.0, column.type))  # -0.0 is 0.0, and not a value of its own
    try:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    except pa.ArrowException:  # lists, structures
        return "Its values are not single ones; no slices were made."
    of, values = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    if len(values) < 2:
        return "Every sample has the same value."
    sizes = np.bincount(of, minlength=len(values))
    many = len(values) > MOST or 2 * len(values) > len(of)
    if forced and many and _ordered(encoded.dictionary.type):
        return _binned(of, values, sizes)
    return _listed(of, values, sizes.tolist(), forced)


def _listed(of: np.ndarray[Any, Any], values: list[Any], sizes: list[int], forced: bool) -> Groups | str:
    """Each value by itself, those with the most samples first."""
    missing = "no value" if "no value" not in values else "no value (missing)"
    names = [missing if value is None else str(value) for value in values]
    order = sorted(range(len(names)), key=lambda i: (-sizes[i], names[i]))[:MOST]
    left, others = len(of) - sum(sizes[i] for i in order), len(names) - len(order)
    few = left > COVERED * len(of) or 2 * len(names) > len(of)
    if few and (not forced or max(sizes) == 1):
        return f"It has {len(names):,} values, too many for slices."
    note = f"The {MOST} values with the most samples; {others:,} others with {left:,} in all are left out."
    return Groups(of, names, order, note if others else "")


def _ordered(kind: Any) -> bool:
    """Whether values of this Arrow type lie on a line."""
    import pyarrow.types as types

    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_temporal)
    return any(test(kind) for test in tests)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _binned(of: np.ndarray[Any, Any], values: list[Any], sizes: np.ndarray[Any, Any]) -> Groups:
    """Bins of about equally many samples; equal values share a bin, and what is missing has groups of its own, last."""
    present = sorted((i for i in range(len(values)) if not _missing(values[i])), key=lambda i: values[i])
    mine = sizes[present]
    middle = np.cumsum(mine) - mine / 2  # the place of each value's middle sample among all that have one
    bins = np.minimum(BINS - 1, (BINS * middle / max(1, mine.sum())).astype(int))
    ends = [[present[j] for j in np.flatnonzero(bins == b)] for b in range(BINS)]
    edges = [(values[inside[0]], values[inside[-1]]) for inside in ends if inside]
    names, group = _named(edges), np.zeros(len(values), dtype=np.int64)
    for number, inside in enumerate(inside for inside in ends if inside):
        group[inside] = number
    for i, value in enumerate(values):
        if _missing(value):
            group[i] = len(names)
            names.append("no value" if value is None else "nan")
    bounds = f"{len(edges)} bins of about equally many samples, each named by its smallest and its largest value."
    return Groups(group[of], names, list(range(len(names))), bounds)


def _named(edges: Sequence[tuple[Any, Any]]) -> list[str]:
    """Each bin by its ends, with as few digits as tell all different ends apart."""
    ends = list(dict.fromkeys(end for pair in edges for end in pair))
    said = [str(end) for end in ends]
    if any(isinstance(end, float) for end in ends):
        for digits in (4, 6, 9, 17):
            said = [f"{end:.{digits}g}" for end in ends]
            if len(set(said)) == len(ends):
                break
    word = dict(zip(ends, said, strict=True))
    return [word[low] if low == high else f"{word[low]} to {word[high]}" for low, high in edges]
