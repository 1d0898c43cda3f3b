"""What each problem has spent, and what it may still spend. No row is ever run on credit."""

from __future__ import annotations

import torch
from torch import Tensor

from ironbound.core.protocols import Budget

PLENTY = 1 << 40


class Ledger:
    """Counts per problem: model rows forward and backward, rows of the judge, refused claims, asks and judgements."""

    def __init__(self, problems: int, budget: Budget, device: torch.device) -> None:
        self.budget = budget
        zeros = lambda: torch.zeros(problems, dtype=torch.int64, device=device)
        self.forward, self.backward, self.judged, self.refused = zeros(), zeros(), zeros(), zeros()
        self.asked, self.tried = zeros(), zeros()
        self.ran = 0  # model rows of all problems together, forward
        self._pending: list[tuple[Tensor, int, int]] = []

    def charge(self, problem: Tensor, rows: int, backward: int) -> None:
        """Note `rows` model rows for each entry of `problem`; they count once the pass has gone through."""
        self._pending.append((problem, rows, backward))

    def settle(self) -> None:
        """The pass went through: its rows count."""
        for problem, rows, backward in self._pending:
            one = torch.ones_like(problem)
            self.forward.index_add_(0, problem, one, alpha=rows)
            self.ran += len(problem) * rows
            if backward:
                self.backward.index_add_(0, problem, one, alpha=rows * backward)
        self._pending.clear()

    def forget(self) -> None:
        """The pass broke off (out of memory) and will be run again."""
        self._pending.clear()

    def affordable(self, price: Tensor | int, back: Tensor | int | None, kept: Tensor | int) -> Tensor:
        """How many rows at these prices each problem can pay with `kept` forward rows held back for the judge."""
        rows = torch.full_like(self.forward, PLENTY)
        if self.budget.forward is not None:
            rows = (self.budget.forward - self.forward - kept).div(price, rounding_mode="floor")
        if self.budget.backward is not None and back is not None:
            rows = torch.minimum(rows, (self.budget.backward - self.backward).div(back, rounding_mode="floor"))
        return rows

    def poor(self, least: Tensor | int) -> Tensor:
        """Which problems cannot pay `least` forward rows any more."""
        if self.budget.forward is None:
            return torch.zeros_like(self.forward, dtype=torch.bool)
        return self.budget.forward - self.forward < least

    @property
    def unlimited(self) -> bool:
        """Whether nothing is capped."""
        return self.budget.forward is None and self.budget.backward is None
