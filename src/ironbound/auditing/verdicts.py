"""The results of a run, sample by sample: the last verdict of each, its label, its witness, what each stage did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.intervals import Share
from ironbound.auditing.table import VERDICTS
from ironbound.core.errors import RunError


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One row a sample, in the order of the run."""

    index: np.ndarray[Any, Any]
    key: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]
    prediction: np.ndarray[Any, Any]
    """The answer to the clean input."""
    confidence: np.ndarray[Any, Any]
    verdict: np.ndarray[Any, Any]
    stage: np.ndarray[Any, Any]
    """Where the verdict was reached; of undecided samples the last stage."""
    table: Any
    """The whole Arrow table, a row a sample and stage."""
    costs: list[dict[str, Any]]

    @staticmethod
    def of(folder: RunFolder, before: int | None = None) -> Verdicts:
        """Read a run, or its parts with lower numbers. Raises RunError where parts are damaged or contradict each other."""
        table, notes = folder.table(before)
        stage = table["stage"].to_numpy(zero_copy_only=False)
        index = table["index"].to_numpy()
        first = stage == "clean"
        order = index[first]
        if len(np.unique(order)) != len(order):
            raise RunError(f"{folder.path} holds a sample twice; it was put together from parts of different runs.")
        if set(order.tolist()) != set(index.tolist()):
            raise RunError(f"{folder.path} lacks the first row of a sample. Its results were altered.")
        last = len(index) - 1 - np.unique(index[::-1], return_index=True)[1]  # of each sample, by ascending index
        last = last[np.searchsorted(np.sort(order), order)]
        column = lambda name, rows: table[name].to_numpy(zero_copy_only=False)[rows]
        verdict = column("verdict", last)
        if not set(verdict) <= set(VERDICTS):
            raise RunError(f"{folder.path} holds verdicts {sorted(set(verdict) - set(VERDICTS))} that there are not.")
        confidence = table["confidence"].to_numpy(zero_copy_only=False).astype(float)[first]
        return Verdicts(
            order, column("key", first), column("label", first), column("prediction", first), confidence,
            verdict, stage[last], table, [note.get("costs", {}) for note in notes],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.index)

    def places(self, *verdicts: str, most: int | None = None) -> torch.Tensor:
        """The places (0..n-1) of samples with these verdicts; at most `most`, those with the smallest keys."""
        places = np.flatnonzero(np.isin(self.verdict, verdicts))
        if most is not None and len(places) > most:
            places = np.sort(places[np.argsort(self.key[places], kind="stable")[:most]])
        return torch.from_numpy(places)

    def count(self, *verdicts: str) -> int:
        """How many samples have one of these verdicts."""
        return int(np.isin(self.verdict, verdicts).sum())

    @property
    def clean(self) -> Share:
        """Right when clean, of all samples."""
        return Share.of(self.count("broken", "certified", "undecided"), len(self))

    @property
    def attacked(self) -> Share:
        """Not broken by any attack: an upper bound of the true robust accuracy. Wrong when clean counts as attacked."""
        return Share.of(self.count("certified", "undecided"), len(self))

    @property
    def certified(self) -> Share:
        """Right and certified: a lower bound of the true robust accuracy."""
        return Share.of(self.count("certified"), len(self))

    @property
    def stages(self) -> list[str]:
        """The names of the stages that ran."""
        return [str(name) for name in self.table["stage"].unique().to_pylist()]

    def stage_costs(self, name: str) -> dict[str, float]:
        """What a stage entered, decided, ran and took (seconds by the wall's clock and of CPU), over all pools."""
        keys = ("entered", "decided", "forward", "backward", "seconds", "cpu")
        return {key: float(sum(costs.get(name, {}).get(key, 0) for costs in self.costs)) for key in keys}

    def stage_rows(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """The rows of one stage as columns."""
        import pyarrow.compute as pc

        rows = self.table.filter(pc.equal(self.table["stage"], name))
        return {column: rows[column].to_numpy(zero_copy_only=False) for column in rows.column_names}
