"""Exhaustive search: all points of a finite set, so that a problem without a witness has none."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from ironbound.core import rows as rows_
from ironbound.core.errors import UsageError
from ironbound.core.judge import ranks
from ironbound.core.protocols import Answer, Ask, Can, Task


@dataclass(frozen=True)
class Exhaustive:
    """Each problem's points in the order of the set, `block` of them an ask; a problem leaves with its first witness.

    A problem that ends as NOT_FOUND heard all of its points: none of them is a witness.
    """

    block: int = 32

    needs = Can.FINITE

    def __post_init__(self) -> None:
        if self.block < 1:
            raise UsageError(
                f"Exhaustive: block is the number of points a problem and ask, at least 1; got {self.block}."
            )

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """All points, block by block."""
        count, first = -1, 0
        while task.n:
            task.compact()
            if task.n != count:  # problems have left: their points need not be looked at again
                count, (points, owner) = task.n, task.region.enumerate()
                rank = ranks(owner, count)
                last = int(rank.max()) if len(rank) else -1
            if first > last:
                return
            at = ((rank >= first) & (rank < first + self.block)).nonzero()[:, 0]
            order = at[torch.argsort(rank[at], stable=True)]  # all problems' first points, then all second ones
            yield Ask(rows_.take(points, order), owner=owner[order], partial=True)
            first += self.block
