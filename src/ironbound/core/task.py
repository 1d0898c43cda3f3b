"""What a search holds: the problems that are still open, and its own tables of rows, which shrink with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.rng import Rng

if TYPE_CHECKING:
    from ironbound.core.engine import Run
    from ironbound.core.protocols import Goal

WORTH = 64  # compaction copies all state: it pays once this share of the rows, one in so many, is dead weight


class State:
    """The search's tables, one row a problem, as attributes."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self.__dict__.update(tables)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the search keeps no table {name!r} in its state")

    def keep(self, index: Tensor) -> None:
        """Only these rows stay."""
        self.__dict__.update({name: rows.take(table, index) for name, table in self.__dict__.items()})


class Task:
    """The problems that were open when the search last looked; row numbers in asks are rows of this."""

    def __init__(self, run: Run, problems: Tensor, rng: Rng, restart: int = 0) -> None:
        self.restart = restart
        self._run, self._states = run, WeakSet[State]()  # tables go with the search that holds them
        self.seen = run.closed_count
        self.problems = problems
        self._parts: dict[tuple[int, int], Any] = {}
        self.region, self._rng, self._turn = rows.kept(run.region, problems, run.n), rng.take(problems), 0
        self.y = run.y if run.collective else rows.kept(run.y, problems, run.n)

    @property
    def n(self) -> int:
        """How many problems are in the task."""
        return self.problems.shape[0]

    @property
    def goal(self) -> Goal:
        """What is to be reached: for searches that are about classes."""
        return self._run.attack.goal

    @property
    def rng(self) -> Rng:
        """The problems' streams, the same at every ask of a turn."""
        return self._rng.fold("turn").fold(self._turn) if self._turn else self._rng

    def turn(self, number: int) -> None:
        """Start over: from now on `rng` draws what belongs to this number. 0 is where every search begins."""
        self._turn = number

    @property
    def fresh(self) -> Rng:
        """Streams that change with every ask that the problem itself was granted."""
        return self.rng.fold("fresh").fold(self._run.ledger.asked.index_select(0, self.problems))

    def members(self, row: int) -> Tensor:
        """The inputs that belong to one (collective) problem of the task."""
        return self._run.pairing.members(int(self.problems[row]))

    def part(self, at: slice) -> Any:
        """The region of neighbouring problems, which the next ask will want again."""
        key = at.start, at.stop
        if key not in self._parts:
            if at.start == 0:  # other slices than the last ask had
                self._parts.clear()
            self._parts[key] = self.region.take(torch.arange(*key, device=self.problems.device))
        return self._parts[key]

    def state(self, **tables: Any) -> Any:
        """Keep these tables of rows: they shrink with the task."""
        state = State(tables)
        self._states.add(state)
        return state

    def compact(self) -> None:
        """Finished problems leave, where that pays."""
        gone = self._run.closed_count - self.seen
        if gone == 0 or self._run.compaction == "never":
            return
        if self._run.compaction == "auto" and gone * WORTH < self.n:
            return
        self.seen = self._run.closed_count
        self._parts.clear()
        index = (~self._run.closed[self.problems]).nonzero()[:, 0]
        self.problems, self.region, self._rng = self.problems[index], self.region.take(index), self._rng.take(index)
        if not self._run.collective:
            self.y = rows.take(self.y, index)
        for state in self._states:
            state.keep(index)
