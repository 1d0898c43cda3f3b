"""The best point of each problem so far. Only points inside the set may become one, ties go to the earlier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.judge import one_each
from ironbound.core.protocols import Want


@dataclass(frozen=True)
class Candidates:
    """At most one point a problem that would become the incumbent; and whose claims were too weak even for that."""

    lost: Tensor
    whose: Tensor | None = None
    points: Any = None
    key: Any = None
    margin: Any = None
    rate: Any = None
    claimed: Any = None
    hopeful: Any = None

    @staticmethod
    def best(parts: list[Candidates]) -> Candidates:
        """Of the candidates of several slices of an ask, again one a problem."""
        lost, some = torch.cat([part.lost for part in parts]), [part for part in parts if part.whose is not None]
        if len(parts) == 1 or not some:
            return replace(parts[0], lost=lost)
        names = ("whose", "points", "key", "margin", "rate", "claimed", "hopeful")
        tables = {name: rows.join([getattr(part, name) for part in some]) for name in names}
        at = one_each(tables["whose"], tables["key"], tables["hopeful"], tables["claimed"])
        total = len(tables["whose"])
        return Candidates(lost, **{name: rows.kept(table, at, total) for name, table in tables.items()})


class Incumbents:
    """What the answer of a run would be now."""

    def __init__(self, want: Want, region: Any, device: torch.device) -> None:
        self.want, self.points, self._own = want, region.identity(), False
        start = torch.full((len(region),), -torch.inf, dtype=torch.float64, device=device)
        self.key, self.margin = start, start.clone()
        self.rate = torch.zeros_like(start)
        """Collective problems: the share of the items on which the point worked, as the judge or the search's pass saw it."""
        self.found = torch.zeros_like(start, dtype=torch.bool)

    def candidates(
        self, region: Any, whose: Tensor, points: Any, margin: Tensor, value: Tensor, rate: Tensor, claimed: Tensor,
        hopeful: Tensor,
    ) -> Candidates:  # fmt: skip
        """Of these rows, the best contained one of each problem that beats its incumbent.

        A failure never replaces a success; a hopeful point always beats a failure.
        """
        key = self._key(region, points, margin, value)
        size = -key if self.want is Want.SMALLEST else None
        if self.want is not Want.STRONGEST:  # only those that claim something
            key = key.masked_fill(~(claimed | hopeful), -torch.inf)
        better, found = key > self.key[whose], self.found[whose]
        worth = (better | (hopeful & ~found)) & (hopeful | ~found)
        weak = claimed & ~hopeful & (~found | better)
        at = _inside(region, points, worth | weak, size)
        lost, at = whose[at[weak[at]]], at[worth[at]]
        if len(at) == 0:
            return Candidates(lost)
        at = at[one_each(whose[at], key[at], hopeful[at], claimed[at])]
        points = rows.kept(points, at, len(whose))
        return Candidates(lost, whose[at], points, key[at], margin[at], rate[at], claimed[at], hopeful[at])

    def accept(self, table: Candidates, won: Tensor) -> None:
        """Take over the candidates that won; where the strongest is wanted, also failures while there is no success."""
        whose = table.whose
        assert whose is not None
        kept = won if self.want is not Want.STRONGEST else won | ~self.found[whose]
        at = kept.nonzero()[:, 0]
        points = rows.kept(table.points, at, len(whose))
        self._put(whose[at], points, table.key[at], table.margin[at], table.rate[at])
        self.found[whose[won]] = True

    def keep_failures(self, region: Any, whose: Tensor, points: Any, margin: Tensor, rate: Tensor) -> None:
        """The best contained point of each problem without a witness, by margin."""
        inside = region.contains(points) & (margin > self.margin[whose])
        at = inside.nonzero()[:, 0]
        if len(at):
            yes = torch.ones(len(at), dtype=torch.bool, device=whose.device)
            at = at[one_each(whose[at], margin[at], yes, yes)]
            self._put(whose[at], rows.kept(points, at, len(whose)), self.key[whose[at]], margin[at], rate[at])

    def _put(self, whose: Tensor, points: Any, key: Tensor, margin: Tensor, rate: Tensor) -> None:
        self.points = (rows.write if self._own else rows.put)(self.points, whose, points)
        self._own = True
        self.key[whose], self.margin[whose], self.rate[whose] = key, margin.double(), rate.double()

    def _key(self, region: Any, points: Any, margin: Tensor, value: Tensor) -> Tensor:
        if self.want is Want.SMALLEST:
            return -region.size(points)
        return (margin if self.want is Want.FIRST else value).double()


def _inside(region: Any, points: Any, which: Tensor, size: Tensor | None) -> Tensor:
    """The numbers of the rows marked whose points lie in the set: a point outside (FAB walks there) claims nothing."""
    at = which.nonzero()[:, 0]
    if len(at) == 0:
        return at
    if 2 * len(at) < len(which):
        region, points, size = region.take(at), rows.take(points, at), None if size is None else size[at]
        which = which[at]
    else:
        at = torch.arange(len(which), device=which.device)
    holds = getattr(region, "holds", None)
    inside = region.contains(points) if size is None or holds is None else holds(points, size)
    return at[inside & which]
