"""The results of a run, sample by sample: the last verdict of each, its label, its witness, what each stage did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.intervals import Share
from ironbound.auditing.table import VERDICTS
from ironbound.core.errors import RunError

COLUMNS = ["index", "key", "label", "stage", "verdict", "prediction", "confidence"]
RIGHT = {
    "clean": ("broken", "certified", "undecided"),
    "attacked": ("certified", "undecided"),
    "certified": ("certified",),
}
"""The verdicts that count for each of the three fractions."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One row a sample, in the order of the run: some 80 bytes a sample. What else is in the parts stays there."""

    index: np.ndarray[Any, Any]
    digest: np.ndarray[Any, Any]
    """The hash of each sample's content, 32 hexadecimal digits (S32)."""
    label: np.ndarray[Any, Any]
    prediction: np.ndarray[Any, Any]
    """The answer to the clean input."""
    confidence: np.ndarray[Any, Any]
    verdict: np.ndarray[Any, Any]
    stage: np.ndarray[Any, Any]
    """Where the verdict was reached; of undecided samples the last stage."""
    folder: RunFolder
    before: int | None
    """Only parts with lower numbers were read; None: all."""
    stages: list[str]
    """The names of the stages that ran."""
    costs: list[dict[str, Any]]

    @staticmethod
    def of(folder: RunFolder, before: int | None = None) -> Verdicts:
        """Read a run, or its parts with lower numbers. Raises RunError where parts are damaged or contradict each other."""
        named = {"stage": Names(), "verdict": Names()}
        first, last, costs = list[list[Any]](), list[list[Any]](), list[dict[str, Any]]()
        for table, notes in folder.parts(COLUMNS, before):
            index = table["index"].to_numpy()
            stage, verdict = (named[name].codes(table[name]) for name in ("stage", "verdict"))
            clean = stage == named["stage"].code("clean")
            first.append([index[clean], *(_column(folder, table, name)[clean] for name in _OF_SAMPLES)])
            latest = len(index) - 1 - np.unique(index[::-1], return_index=True)[1]
            last.append([index[latest], stage[latest], verdict[latest]])
            costs.append(notes.get("costs", {}))
        order, key, label, prediction, confidence = _joined(first)
        if len(np.unique(order)) != len(order):
            raise RunError(f"{folder.path} holds a sample twice; it was put together from parts of different runs.")
        numbers, stage, verdict = _joined(last)
        numbers, latest = np.unique(numbers[::-1], return_index=True)
        latest = len(stage) - 1 - latest  # in the last part that has them
        if not np.array_equal(numbers, np.sort(order)):
            raise RunError(f"{folder.path} lacks the first row of a sample. Its results were altered.")
        strange = set(named["verdict"].names) - set(VERDICTS)
        if strange:
            raise RunError(f"{folder.path} holds verdicts {sorted(strange)} that there are not.")
        latest = latest[np.searchsorted(numbers, order)]
        said, where = named["verdict"].of(verdict[latest]), named["stage"].of(stage[latest])
        return Verdicts(
            order, key, label, prediction, confidence, said, where, folder, before, named["stage"].names, costs
        )

    @property
    def key(self) -> np.ndarray[Any, Any]:
        """The same as text."""
        return self.digest.astype("U32")

    def key_of(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The keys of some samples as texts."""
        return self.digest[places].astype("U32").astype(object)

    @property
    def table(self) -> Any:
        """The whole Arrow table, a row a sample and stage, read anew."""
        import pyarrow as pa

        return pa.concat_tables([table for table, _ in self.folder.parts(None, self.before)])

    def __len__(self) -> int:
        return len(self.index)

    def places(self, *verdicts: str, most: int | None = None) -> torch.Tensor:
        """The places (0..n-1) of samples with these verdicts; at most `most`, those with the smallest keys."""
        places = np.flatnonzero(np.isin(self.verdict, verdicts))
        if most is not None and len(places) > most:
            places = np.sort(places[np.argsort(self.digest[places], kind="stable")[:most]])
        return torch.from_numpy(places)

    def count(self, *verdicts: str) -> int:
        """How many samples have one of these verdicts."""
        return int(np.isin(self.verdict, verdicts).sum())

    @property
    def clean(self) -> Share:
        """Right when clean, of all samples."""
        return Share.of(self.count(*RIGHT["clean"]), len(self))

    @property
    def attacked(self) -> Share:
        """Not broken by any attack: an upper bound of the true robust accuracy. Wrong when clean counts as attacked."""
        return Share.of(self.count(*RIGHT["attacked"]), len(self))

    @property
    def certified(self) -> Share:
        """Right and certified: a lower bound of the true robust accuracy."""
        return Share.of(self.count(*RIGHT["certified"]), len(self))

    def stage_costs(self, name: str) -> dict[str, float]:
        """What a stage entered, decided, ran and took (seconds by the wall's clock and of CPU), over all pools."""
        keys = ("entered", "decided", "forward", "backward", "bounding", "seconds", "cpu")
        return {key: float(sum(costs.get(name, {}).get(key, 0) for costs in self.costs)) for key in keys}

    def stage_rows(self, name: str) -> StageRows:
        """The rows of one stage, by column; of these only what is asked for is read from the parts."""
        return StageRows(self, name)


class StageRows(Mapping[str, Any]):
    """The rows of one stage, in the order of the parts: a column is read whenever it is asked for, and not kept."""

    def __init__(self, verdicts: Verdicts, stage: str) -> None:
        self.verdicts, self.stage = verdicts, stage

    def __getitem__(self, column: str) -> np.ndarray[Any, Any]:
        """The values of a column; texts of few kinds are each there once. Raises KeyError for one that there is not."""
        values = self.arrow(column)
        if column not in ("stage", "verdict"):
            found: np.ndarray[Any, Any] = values.to_numpy(zero_copy_only=False)
            return found
        names = Names()
        return names.of(names.codes(values))

    def arrow(self, column: str) -> Any:
        """The same as an Arrow array in chunks."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if column not in list(self):
            raise KeyError(column)
        tables = (table for table, _ in self.verdicts.folder.parts(list({column, "stage"}), self.verdicts.before))
        parts = [table.filter(pc.equal(table["stage"], self.stage))[column] for table in tables]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)

    def __iter__(self) -> Iterator[str]:
        return iter(next(self.verdicts.folder.parts(None, self.verdicts.before))[0].column_names)

    def __len__(self) -> int:
        return len(list(iter(self)))


class Names:
    """Texts that repeat, as small numbers."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def code(self, name: str) -> int:
        """The number of a text, a new one where it was never seen."""
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def codes(self, column: Any) -> np.ndarray[Any, Any]:
        """The numbers of a column of texts, int16. Raises RunError for gaps."""
        if column.null_count:
            raise RunError("results without a stage or a verdict: they were altered.")
        said = column.combine_chunks().dictionary_encode()
        table = np.array([self.code(str(name)) for name in said.dictionary.to_pylist()], dtype=np.int16)
        return table[said.indices.to_numpy(zero_copy_only=False)]

    def of(self, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The texts, each of which is there once however often it is named."""
        return np.array([*self.names, None], dtype=object)[codes]


def _joined(parts: list[list[Any]]) -> list[np.ndarray[Any, Any]]:
    """Tables of the same columns as one; each part of a column is forgotten before the next column is put together."""
    columns = [list(column) for column in zip(*parts, strict=True)]
    parts.clear()
    joined = []
    while columns:
        joined.append(np.concatenate(columns.pop(0)))
    return joined


_OF_SAMPLES = ("key", "label", "prediction", "confidence")


def _column(folder: RunFolder, table: Any, name: str) -> np.ndarray[Any, Any]:
    if name != "key":
        values: np.ndarray[Any, Any] = table[name].to_numpy(zero_copy_only=False)
        return values.astype(float) if name == "confidence" else values
    keys = table["key"].to_pylist()
    if not all(isinstance(key, str) and len(key) == 32 and key.isascii() for key in keys):
        raise RunError(f"{folder.path} holds keys that are none. Its results were altered.")
    return np.array(keys, dtype="S32")


def turns(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each element, how many equal ones stand before it, int64 (n,).

    >>> turns(np.array([7, 3, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.arange(len(values)) - np.searchsorted(ascending, ascending)
    return found


class Places:
    """From the numbers of rows to their places in the data: a dict of a million takes a hundred megabytes."""

    def __init__(self, numbers: np.ndarray[Any, Any]) -> None:
        self.numbers, self.order = numbers, np.argsort(numbers, kind="stable")
        self.ascending = numbers[self.order]

    def of(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The places of rows that there are."""
        return self.order[np.searchsorted(self.ascending, numbers)]
