"""The one owner of indexing: tensors, lists of anything, and trees (dicts and tuples) of them, one row a problem or a pass.

A list holds one object a row: a string, a tuple of words, a tensor of its own length (a ragged batch). Regions, random
streams and rows on disk bring their own `take`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ironbound.core.errors import InputError


@runtime_checkable
class Elsewhere(Protocol):
    """Rows that are not in memory: they are read when they are taken."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def take(self, index: Tensor, /) -> Any:
        """The rows numbered by `index`, in its order, in memory."""
        ...


def count(rows: Any) -> int:
    """How many rows there are."""
    if isinstance(rows, Tensor):
        return rows.shape[0]  # len() of a tensor takes five times as long
    if isinstance(rows, dict):
        rows = tuple(rows.values())
    if isinstance(rows, tuple):
        return count(rows[0]) if rows else 0
    return len(rows)


def take(rows: Any, index: Tensor) -> Any:
    """The rows numbered by `index`, in its order; numbers may repeat. Nothing (None) stays nothing."""
    if isinstance(rows, Tensor):
        return rows.index_select(0, index)  # two to three times faster than rows[index]
    if isinstance(rows, list):
        return [rows[i] for i in index.tolist()]
    if isinstance(rows, (dict, tuple)):
        return _branches(lambda part: take(part, index), rows)
    return None if rows is None else rows.take(index)


def kept(rows: Any, index: Tensor, total: int) -> Any:
    """`take` with ascending numbers, none twice, of `total` rows: the table itself, not a copy, where that is all."""
    return rows if len(index) == total else take(rows, index)


def of_rows(set_: Any, index: Tensor) -> Any:
    """A perturbation set for some rows of the inputs it was made for: itself, unless it holds something a row (`take`)."""
    take_rows = getattr(set_, "take", None)
    return set_ if take_rows is None else take_rows(index)


def put(into: Any, index: Tensor, rows: Any) -> Any:
    """A copy of `into` with `rows` at the places `index`."""
    if isinstance(into, Tensor):
        return into.index_copy(0, index, rows.to(into.dtype))
    if isinstance(into, list):
        out = list(into)
        for place, row in zip(index.tolist(), rows, strict=True):
            out[place] = row
        return out
    return _branches(lambda part, new: put(part, index, new), into, rows)


def write(into: Any, index: Tensor, rows: Any) -> Any:
    """`put` without the copy, into tables of one's own."""
    if isinstance(into, Tensor):
        return into.index_copy_(0, index, rows.to(into.dtype))
    return put(into, index, rows) if isinstance(into, list) else _branches(lambda p, r: write(p, index, r), into, rows)


def join(parts: Sequence[Any]) -> Any:
    """The rows of all parts, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, list):
        return [row for part in parts for row in part]
    return _branches(lambda *branches: join(branches), *parts)


def part(rows: Any, at: slice) -> Any:
    """Neighbouring rows, without copying tensors; of rows on disk, those are read."""
    if isinstance(rows, (Tensor, list)):
        return rows[at]
    if isinstance(rows, Elsewhere):
        return rows.take(torch.arange(*at.indices(len(rows))))
    return _branches(lambda branch: part(branch, at), rows)


def spread(rows: Any, index: Tensor | None, total: int, fill: float) -> Any:
    """Rows put at `index` among `total`, the others filled; None means that all are there, in order."""
    if index is None or rows is None:
        return rows
    if isinstance(rows, Tensor):
        full = torch.full((total, *rows.shape[1:]), fill, dtype=rows.dtype, device=rows.device)
        return full.index_copy_(0, index, rows)
    if isinstance(rows, list):
        return put([None] * total, index, rows)
    return _branches(lambda branch: spread(branch, index, total, fill), rows)


def zeros(like: Any, *middle: int) -> Any:
    """Zeros in the shape of each row, with further dimensions in front of its own."""
    if isinstance(like, Tensor):
        return like.new_zeros(len(like), *middle, *like.shape[1:])
    if isinstance(like, list):
        return [row.new_zeros(*middle, *row.shape) for row in like]
    return _branches(lambda branch: zeros(branch, *middle), like)


def beside(tables: Sequence[Any]) -> Any:
    """Tables of the same rows as one, with a new dimension for the tables in front of each row's own."""
    first = tables[0]
    if isinstance(first, Tensor):
        return torch.stack(list(tables), 1)
    if isinstance(first, list):
        return [torch.stack(list(row)) for row in zip(*tables, strict=True)]
    return _branches(lambda *branches: beside(branches), *tables)


def to(rows: Any, device: torch.device | str) -> Any:
    """The same rows on another device; what is not a tensor stays."""
    return each(lambda leaf: leaf.to(device), rows)


def leaves(rows: Any) -> list[Tensor]:
    """All tensors of a tree, in order."""
    if isinstance(rows, Tensor):
        return [rows]
    if isinstance(rows, dict):
        rows = list(rows.values())
    return [leaf for branch in rows for leaf in leaves(branch)] if isinstance(rows, (list, tuple)) else []


def each(function: Callable[..., Any], *trees: Any) -> Any:
    """`function` on every tensor of a tree (and those at the same place of the others); what is no tensor stays."""
    first = trees[0]
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, list):
        return [each(function, *parts) for parts in zip(*trees, strict=True)]
    return _branches(lambda *parts: each(function, *parts), *trees) if isinstance(first, (dict, tuple)) else first


def column(scalars: Tensor, like: Tensor) -> Tensor:
    """One number a row, shaped and typed to be multiplied with `like`."""
    kind = scalars.dtype if scalars.dtype == torch.bool else like.dtype
    return scalars.to(kind).reshape(-1, *[1] * (like.ndim - 1))


def choose(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Row by row `yes` where `which`, else `no`."""
    return torch.where(column(which, yes), yes, no)


def flat(rows: Tensor) -> Tensor:
    """One vector a row; a copy where the layout (channels last) asks for one."""
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))  # which -1 could not tell of no rows


def _branches(function: Callable[..., Any], *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {name: function(*[tree[name] for tree in trees]) for name in first}
    if isinstance(first, tuple):
        return tuple(function(*branches) for branches in zip(*trees, strict=True))
    raise InputError(
        f"rows are tensors, lists, dicts or tuples of them; got {type(first).__name__}. "
        "Put a batch of your own objects into a list, one object a row."
    )
