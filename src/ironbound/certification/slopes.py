"""The free parameters of lines, a table for each pass and function, and the ascent that optimises them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ironbound.certification.functionals import Free
from ironbound.certification.graph import Node
from ironbound.certification.intervals import Interval
from ironbound.certification.operations import OPERATIONS

Key = tuple[str, str]
"""The value that a pass begins at, and the function on its way."""
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8


@dataclass(eq=False)
class Slopes:
    """Tables in [0, 1], each with one row a functional in the form of its coefficients; made when first asked for."""

    tables: dict[Key, Tensor] = field(default_factory=dict)
    moments: dict[Key, tuple[Tensor, Tensor]] = field(default_factory=dict)
    count: int = 0
    paces: dict[Key, float] = field(default_factory=dict)
    """How long the steps of a table are, where that is not 1 (`Operation.pace`)."""

    def of(self, start: str) -> Free:
        """What a pass that begins at this value asks for."""

        def free(node: Node, x: Interval, rows: int) -> Tensor:
            key = (start, node.name)
            if key not in self.tables:
                begin = OPERATIONS[node.op].start
                assert begin is not None
                first = begin(node, x).detach()
                self.paces[key] = OPERATIONS[node.op].pace
                self.tables[key] = first.expand(rows, *first.shape[1:]).clone().requires_grad_()
            return self.tables[key]

        return free

    def climb(self, value: Tensor, rate: float) -> None:
        """One step of Adam up the gradient of a number, each entry clamped to [0, 1]. Kingma, Ba 2015, arXiv 1412.6980."""
        if not self.tables or not value.requires_grad:  # nothing is undecided, so that nothing is free
            return
        found = torch.autograd.grad(value, list(self.tables.values()), allow_unused=True)
        self.count += 1
        rate = rate / (1 - FIRST**self.count)
        with torch.no_grad():
            for (key, table), g in zip(self.tables.items(), found, strict=True):
                if g is None:
                    continue
                if key not in self.moments:
                    self.moments[key] = torch.zeros_like(table), torch.zeros_like(table)
                mean, square = self.moments[key]
                mean.lerp_(g, 1 - FIRST)
                square.mul_(SECOND).addcmul_(g, g, value=1 - SECOND)
                length = (square / (1 - SECOND**self.count)).sqrt_().add_(TINY)
                table.addcdiv_(mean, length, value=rate * self.paces.get(key, 1.0)).clamp_(0, 1)

    def take(self, rows: dict[str, Tensor]) -> Slopes:
        """Some rows, by the value that they begin at."""

        def some(key: Key, table: Tensor) -> Tensor:
            mask = rows[key[0]]
            return table[mask.repeat_interleave(len(table) // max(1, len(mask)))]  # values of k rows an input have k

        tables = {key: some(key, table.detach()).requires_grad_() for key, table in self.tables.items()}
        moments = {key: (some(key, m), some(key, v)) for key, (m, v) in self.moments.items()}
        return Slopes(tables, moments, self.count, self.paces)

    def to(self, dtype: torch.dtype) -> Slopes:
        """The tables in another type, for a pass that only evaluates them."""
        return Slopes({key: table.detach().to(dtype) for key, table in self.tables.items()})

    @staticmethod
    def joined(parts: Iterable[Slopes]) -> Slopes:
        """The rows of several, one after the other; those without a table have no rows there."""
        found: dict[Key, list[Tensor]] = {}
        for part in parts:
            for key, table in part.tables.items():
                found.setdefault(key, []).append(table)
        return Slopes({key: torch.cat(tables) for key, tables in found.items()})
