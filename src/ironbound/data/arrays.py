"""Arrays of any library as rows: tensors where it can be, lists where rows are strings or differ in shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import InputError
from ironbound.data.dataset import Data
from ironbound.data.images import picture_of
from ironbound.data.request import Request, numbered
from ironbound.data.stored import Mapped, mapped_or_none, streams


def from_pair(pair: tuple[Any, ...], request: Request) -> Data:
    """Data of a pair (x, y); what is in memory stays there. Raises InputError where it is no pair or is no data."""
    request.without_columns("a pair")
    if len(pair) != 2:
        raise InputError(f"data as a tuple is a pair (inputs, labels); got {len(pair)} parts.")
    array = mapped_or_none(pair[0])
    x, y = batch(pair[0]) if array is None else Mapped(array, of_array), batch(pair[1])
    labels, classes = numbered(y, None, "arrays")
    count = len(labels) if isinstance(labels, list) or (isinstance(labels, Tensor) and labels.ndim) else 0
    data = Data(x, labels, {}, torch.arange(count), classes, "arrays").subset(request.samples, request.seed)
    return data.take(range(len(data))) if data.streamed and not streams(request.stream, data.x) else data


def batch(values: Any) -> Any:
    """Many rows: a tensor as it is, arrays as tensors that share their memory, lists stacked where shapes agree."""
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, dict):
        return {name: batch(branch) for name, branch in values.items()}
    if isinstance(values, tuple) and not all(isinstance(value, (str, bool, int, float)) for value in values):
        return tuple(batch(branch) for branch in values)
    if isinstance(values, (list, tuple)):
        return stacked([row(value) for value in values])
    return of_array(values)


def row(value: Any) -> Any:
    """One row: numbers, arrays and pictures as a tensor (pictures in [0, 1], channels first), text as it is."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, (str, dict, tuple)):
        return value
    if isinstance(value, (bool, int, float)):
        return torch.tensor(value)
    if isinstance(value, list):
        return _of_list(value)
    picture = picture_of(value)
    return of_array(value) if picture is None else picture


def column(values: list[Any]) -> Any:
    """One value of each row: plain numbers of one type at once, anything else row by row."""
    kinds = set(map(type, values))
    return torch.tensor(values) if kinds in ({int}, {float}, {bool}) else stacked([row(value) for value in values])


def stacked(rows: list[Any]) -> Any:
    """Rows as one tensor where all are tensors of one shape and dtype, dicts branch by branch, else the list."""
    if rows and all(isinstance(value, Tensor) for value in rows):
        same = len({(value.shape, value.dtype) for value in rows}) == 1
        return torch.stack(rows) if same else rows
    if rows and all(isinstance(value, dict) and value.keys() == rows[0].keys() for value in rows):
        return {name: stacked([row(value[name]) for value in rows]) for name in rows[0]}
    return rows


def of_array(values: Any) -> Any:
    """An array (or what NumPy can make one of) as a tensor, or as a list where it holds text or objects."""
    import numpy as np

    try:
        array = np.asarray(values)
    except Exception as error:  # arrays of other libraries raise what they like
        raise InputError(f"expected tensors, arrays or lists; got {type(values).__name__} ({error}).") from error
    if array.dtype.kind == "O" and array.ndim:
        return stacked([row(value) for value in array.tolist()])
    if array.dtype.kind == "U" and array.ndim:
        return array.tolist()
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"expected an array of numbers or text; got {type(values).__name__} of dtype {array.dtype}. "
            "Convert it to numbers first, or put objects into a list, one a row."
        )
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63:
        raise InputError(f"expected integers below 2**63; got {int(array.max())}. Pass such numbers as float64.")
    wider = {"u2": "i4", "u4": "i8", "u8": "i8", "f16": "f8"}.get(f"{array.dtype.kind}{array.dtype.itemsize}")
    array = array.astype(wider or array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(array if array.flags.writeable and _forward(array) else array.copy())


def _forward(array: Any) -> bool:
    """Whether torch can share the array's memory: no stride runs backwards."""
    return all(stride >= 0 for stride in array.strides)


def _of_list(values: list[Any]) -> Any:
    if any(isinstance(value, str) for value in values):
        return tuple(values)
    try:
        return torch.tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"a row that is a list holds numbers or words; got {str(values)[:60]} ({error}).") from error
