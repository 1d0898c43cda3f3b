"""What is asked of a loader, and which of a source's columns are meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import DataError, InputError, UsageError
from ironbound.data.dataset import check_samples, choose

INPUTS = ("image", "img", "images", "text", "sentence", "x", "data", "features", "input", "inputs")
LABELS = ("label", "labels", "class", "target", "targets", "y")


@dataclass(frozen=True)
class Request:
    """The arguments of `load` beside the source. Raises UsageError where samples or seed are no whole numbers."""

    samples: int | None = None
    seed: int = 0
    split: str = "test"
    input: str | Sequence[str] | None = None
    label: str | None = None
    stream: bool | None = None

    def __post_init__(self) -> None:
        check_samples(self.samples, self.seed)
        if not isinstance(self.split, str) or not self.split:
            raise UsageError(f"split is the name of a part of the data, such as 'test'; got {self.split!r}.")
        if self.stream not in (None, True, False):
            raise UsageError(f"stream is True, False, or None to decide by the size; got {self.stream!r}.")

    def rows(self, count: int) -> Tensor:
        """Which of `count` rows to read, ascending, int64."""
        return choose(torch.arange(count), self.samples, self.seed)

    def without_columns(self, what: str) -> Request:
        """The same; raises UsageError where columns are named, of a source that has none."""
        if self.input is not None or self.label is not None:
            raise UsageError(
                f"input= and label= name columns of a table or keys of an archive; {what} has none. Leave them out."
            )
        return self

    def inputs(self, names: Sequence[str], where: str) -> list[str]:
        """The columns named by `input=`, each of which must be there; none named gives none."""
        if self.input is None:
            return []
        named = [self.input] if isinstance(self.input, str) else list(self.input)
        return [present(name, names, "input", where) for name in named]

    def one_input(self, names: Sequence[str], where: str) -> str:
        """The one input column, named or known by its name. Raises DataError where there is none."""
        named = self.inputs(names, where)
        if len(named) > 1:
            raise UsageError(f"{where}: one input column is expected here; got input={named}.")
        found = named[0] if named else known([*INPUTS, f"x_{self.split}", f"{self.split}_images"], names)
        return found if found is not None else _missing("input", INPUTS, names, where)

    def label_in(self, names: Sequence[str], where: str) -> str:
        """The label column, named or known by its name. Raises DataError where there is none."""
        if self.label is not None:
            return present(self.label, names, "label", where)
        found = known([*LABELS, f"y_{self.split}", f"{self.split}_labels"], names)
        return found if found is not None else _missing("label", LABELS, names, where)


def known(candidates: Iterable[str], names: Sequence[str]) -> str | None:
    """The first candidate that is among the names, upper or lower case."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[candidate] for candidate in candidates if candidate in lower), None)


def present(name: str, names: Sequence[str], what: str, where: str) -> str:
    """The name itself; raises DataError listing those there are, nearest first."""
    if name in names:
        return name
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(f"{where}: there is no {what} column {name!r};{hint} it has {_listed(names)}.")


def numbered(labels: Any, classes: Sequence[str] | None, where: str) -> tuple[Any, tuple[str, ...] | None]:
    """Labels that are names as class numbers: by `classes`, or else by the sorted names. Other labels as they are."""
    names = tuple(classes) if classes is not None else None
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        return labels, names
    if names is None:
        names = tuple(sorted(set(labels)))
    place = {name: number for number, name in enumerate(names)}
    unknown = sorted({label for label in labels if label not in place})
    if unknown:
        raise InputError(f"{where}: the labels {unknown[:5]} are not among the class names {_listed(names)}.")
    return [place[label] for label in labels], names


def _missing(what: str, candidates: Sequence[str], names: Sequence[str], where: str) -> str:
    raise DataError(
        f"{where}: no {what} column was found; it has {_listed(names)}. "
        f"Expected one of {', '.join(candidates)}: name yours with {what}=..., at the prompt by --{what} NAME."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return (shown or "none") + (f" and {len(names) - 20} more" if len(names) > 20 else "")
