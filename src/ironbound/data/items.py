"""Data sets that are read item by item, and loaders that are read batch by batch."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ironbound.core.errors import DataError, InputError
from ironbound.core.rng import Rng, forked
from ironbound.data.arrays import row, stacked
from ironbound.data.dataset import Data, draws
from ironbound.data.request import Request, numbered


@runtime_checkable
class Indexed(Protocol):
    """A map-style data set."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def __getitem__(self, number: int) -> Any:
        """One item: a pair (input, label) or a dict."""
        ...


def from_items(source: Indexed, request: Request) -> Data:
    """Data of a map-style data set; only the items of the subset are fetched. Raises InputError for other items."""
    name, numbers = type(source).__name__, request.rows(_length(source))
    keys = Rng.of(request.seed, numbers).keys.tolist()
    items = [_item(source, number, key, name) for number, key in zip(numbers.tolist(), keys, strict=True)]
    return _of_items(items, numbers, source, request)


def from_loader(loader: DataLoader[Any], request: Request) -> Data:
    """Data of a loader, numbered in the order in which it gives them; no more than the subset is held in memory."""
    with forked(request.seed):
        items: Iterator[tuple[int, Any]] = enumerate(_unbatched(loader, copy=request.samples is not None))
        if request.samples is not None:
            drawn = ((draw, *item) for draw, item in zip(_draws(request.seed), items, strict=False))
            items = iter(
                sorted((number, item) for _, number, item in heapq.nsmallest(request.samples, drawn, key=_key))
            )
        kept = list(items)
    numbers = torch.tensor([number for number, _ in kept], dtype=torch.int64)
    return _of_items([item for _, item in kept], numbers, loader.dataset, request)


def _key(drawn: tuple[float, int, Any]) -> tuple[float, int]:
    return drawn[:2]


def _draws(seed: int) -> Iterator[float]:
    for start in count(0, 4096):
        yield from draws(torch.arange(start, start + 4096), seed).tolist()


def _length(source: Indexed) -> int:
    try:
        return len(source)
    except Exception as error:
        raise InputError(
            f"len of the data set {type(source).__name__} raised {type(error).__name__}: {error}."
        ) from error


def _item(source: Indexed, number: int, key: int, name: str) -> Any:
    """One item; what its transforms draw from torch's global generator depends on the seed and its number alone."""
    try:
        with forked(key):
            return source[number]
    except Exception as error:  # a user's code
        raise InputError(
            f"{name}[{number}] raised {type(error).__name__}: {error}. Items are fetched by number, 0 to len - 1; "
            "a table of another library is best passed as a pair of arrays."
        ) from error


def _of_items(items: list[Any], numbers: Tensor, source: Any, request: Request) -> Data:
    name = type(source).__name__
    if not items:
        raise InputError(f"{name} holds no rows; at least one is needed.")
    if isinstance(items[0], Mapping):
        x, y, columns, label = _of_dicts(items, request, name)
    else:
        request.without_columns("a data set of pairs")
        x, y, columns, label = *_of_pairs(items, name), {}, ""
    labels, classes = numbered(y, _class_names(source, label), name)
    return Data(x, labels, columns, numbers, classes, name)


def _of_pairs(items: list[Any], name: str) -> tuple[Any, Any]:
    for item in items:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            got = f"{len(item)} parts" if isinstance(item, (tuple, list)) else type(item).__name__
            raise InputError(
                f"the items of {name} are pairs (input, label) or dicts; got {got}. "
                "To keep further values, return a dict: {'x': ..., 'y': ..., 'group': ...}."
            )
    return stacked([row(item[0]) for item in items]), stacked([row(item[1]) for item in items])


def _of_dicts(items: list[Any], request: Request, name: str) -> tuple[Any, Any, dict[str, list[Any]], str]:
    keys = [str(key) for key in items[0]]
    source, label = request.one_input(keys, name), request.label_in(keys, name)
    for item in items:
        if not isinstance(item, Mapping) or not set(keys) <= set(item):
            raise InputError(f"every item of {name} has the keys {keys}; got {list(item)}.")
    further = {key: [_scalar(item[key]) for item in items] for key in keys if key not in (source, label)}
    columns = {key: values for key, values in further.items() if not any(value is _NOT_ONE for value in values)}
    return stacked([row(item[source]) for item in items]), stacked([row(item[label]) for item in items]), columns, label


_NOT_ONE = object()


def _scalar(value: Any) -> Any:
    """A plain number, text or None; `_NOT_ONE` for what holds more than one value."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    converted = value if isinstance(value, Tensor) else getattr(value, "item", None) and torch.as_tensor(value)
    return converted.item() if isinstance(converted, Tensor) and converted.ndim == 0 else _NOT_ONE


def _class_names(source: Any, label: str) -> list[str] | None:
    """Names as torchvision (`.classes`) and Hugging Face (`.features[label].names`) keep them."""
    features = getattr(source, "features", None)
    feature = features.get(label) if isinstance(features, dict) else None
    for names in (getattr(source, "classes", None), getattr(feature, "names", None)):
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return list(names)
    return None


def _unbatched(loader: Iterable[Any], copy: bool) -> Iterator[Any]:
    """The items of all batches, pairs or dicts; copied where the batch is to be forgotten."""
    batches = iter(loader)
    for number in count():
        try:
            batch = next(batches)
            items = _rows_of(batch, copy) if isinstance(batch, Mapping) else _pairs_of(batch, copy)
        except StopIteration:
            return
        except (InputError, DataError):
            raise
        except Exception as error:  # a user's code
            raise InputError(f"batch {number} of the loader raised {type(error).__name__}: {error}.") from error
        yield from items


def _pairs_of(batch: Any, copy: bool) -> list[Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise InputError(f"the batches of a loader are pairs (inputs, labels) or dicts; got {got}.")
    x, y = (_rows_of(part, copy) for part in batch)
    if len(x) != len(y):
        raise InputError(f"a batch of the loader has {len(x)} inputs and {len(y)} labels; expected one label an input.")
    return list(zip(x, y, strict=True))


def _rows_of(part: Any, copy: bool) -> list[Any]:
    if isinstance(part, Tensor):
        return [value.clone() if copy else value for value in part.detach().unbind(0)]
    if isinstance(part, Mapping):
        branches = [_rows_of(branch, copy) for branch in part.values()]
        return [dict(zip(part, values, strict=True)) for values in zip(*branches, strict=True)]
    return list(part)
