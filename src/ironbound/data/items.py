"""Data sets that are read item by item, and loaders that are read batch by batch."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ironbound.core.errors import DataError, InputError
from ironbound.core.rng import Rng, forked
from ironbound.data.arrays import column, row
from ironbound.data.dataset import Data, draws
from ironbound.data.request import Request, numbered
from ironbound.data.stored import Items, not_streamed, streams


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

    def fetch(number: int) -> Any:
        return _item(source, number, int(Rng.of(request.seed, torch.tensor([number])).keys), name)

    first = [fetch(int(number)) for number in numbers[:1]]
    stored = _stored(first, fetch, numbers, request, name)
    if stored is not None and streams(request.stream, stored):
        items: Iterable[Any] = (_without_input(fetch(number), request, name) for number in numbers.tolist())
        return replace(_of_items(list(items), numbers, source, request), x=stored)
    return _of_items([*first, *(fetch(number) for number in numbers[1:].tolist())], numbers, source, request)


def _stored(
    first: list[Any], fetch: Callable[[int], Any], numbers: Tensor, request: Request, name: str
) -> Items | None:
    """The inputs as rows that are fetched when they are wanted; None where the first is no tensor of numbers."""
    if not first or not (isinstance(first[0], Mapping) or (isinstance(first[0], (tuple, list)) and len(first[0]) == 2)):
        return None  # which _of_items refuses in words
    x = row(first[0][_input_of(first[0], request, name)])
    if not isinstance(x, Tensor):
        not_streamed(request.stream, f"the inputs of {name} are {type(x).__name__}")
        return None

    def input_of(number: int) -> Any:
        item = fetch(number)
        return row(item[_input_of(item, request, name)])

    return Items((len(numbers), *x.shape), x.dtype, numbers, input_of)


def _input_of(item: Any, request: Request, name: str) -> Any:
    """Where the input of an item stands: its key in a dict, 0 in a pair."""
    if not isinstance(item, Mapping):
        return 0
    wanted = request.one_input([str(key) for key in item], name)
    return next(key for key in item if str(key) == wanted)


def _without_input(item: Any, request: Request, name: str) -> Any:
    """An item of which the label and further values are kept, as plain numbers where they are such."""
    if isinstance(item, Mapping):
        key, label = _input_of(item, request, name), request.label_in([str(k) for k in item], name)
        plain = {k: _scalar(value) for k, value in item.items() if k != key}
        return {k: 0.0 if k == key else item[k] if str(k) == label and plain[k] is _NOT_ONE else plain[k] for k in item}
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        return item
    plain_label = _scalar(item[1])
    return 0.0, item[1] if plain_label is _NOT_ONE else plain_label


def from_loader(loader: DataLoader[Any], request: Request) -> Data:
    """Data of a loader, numbered in the order in which it gives them; no more than the subset is held in memory."""
    not_streamed(request.stream, "a loader can only be read in its order: pass its dataset")
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
    return column([item[0] for item in items]), column([item[1] for item in items])


def _of_dicts(items: list[Any], request: Request, name: str) -> tuple[Any, Any, dict[str, list[Any]], str]:
    keys = [str(key) for key in items[0]]
    source, label = request.one_input(keys, name), request.label_in(keys, name)
    for item in items:
        if not isinstance(item, Mapping) or not set(keys) <= set(item):
            raise InputError(f"every item of {name} has the keys {keys}; got {list(item)}.")
    further = {key: [_scalar(item[key]) for item in items] for key in keys if key not in (source, label)}
    columns = {key: values for key, values in further.items() if not any(value is _NOT_ONE for value in values)}
    return column([item[source] for item in items]), column([item[label] for item in items]), columns, label


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
