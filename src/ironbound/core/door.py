"""The door: the only place where a model is called. It counts rows, checks prices and keeps lone rows company."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import CompositionError
from ironbound.core.ledger import Ledger
from ironbound.core.protocols import Counted, Model, Oracle
from ironbound.core.rng import Rng


class Door:
    """Calls one model for the problems of one run.

    `pad` fills every pass up to a multiple of so many rows (for results that are equal to the last bit at every batch
    size where the kernels' rounding depends on it); None runs what is asked.
    """

    def __init__(self, model: Model, ledger: Ledger, cheap: bool, pad: int | None) -> None:
        self.model, self.ledger, self.cheap, self.pad = model, ledger, cheap, pad
        self._exact: Counted
        self._cheap: Counted

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The user's module is in evaluation mode inside and as it was outside."""
        with ExitStack() as stack:
            self._exact = stack.enter_context(self.model.opened())
            self._cheap = stack.enter_context(self.model.opened(cheap=True)) if self.cheap else self._exact
            yield

    def seen(self, oracle: Oracle, problem: Tensor, backward: int) -> Counted:
        """The model through an oracle, on account of these problems (one entry a row asked).

        Rows that the oracle runs `elsewhere`, on models of its own, are a part of its cost and charged here, too.
        """
        elsewhere: int = getattr(oracle, "elsewhere", 0)
        left = oracle.cost - elsewhere

        def counted(x: Any, rng: Rng) -> Any:  # which the oracle may call more than once
            nonlocal left
            allowed, left = left, left - rows.count(x) // len(problem)
            return self.rows(x, rng, problem, backward, allowed)

        bound = oracle.bind(counted)
        if not elsewhere:
            return bound

        def charged(x: Any, rng: Rng) -> Any:
            self.ledger.charge(problem, elsewhere, backward)
            return bound(x, rng)

        return charged

    def rows(self, x: Any, rng: Rng, problem: Tensor, backward: int, allowed: int = 1) -> Any:
        """Run x for the problems given, of which an oracle may have made up to `allowed` rows each, and charge them."""
        asked, ran = len(problem), rows.count(x)
        each = ran // asked
        if each * asked != ran or each > allowed:
            raise CompositionError(
                f"an oracle runs {ran} model rows for {asked} asked, where its cost leaves {allowed} each. "
                "Declare the true `cost`, or budgets would not hold."
            )
        self.ledger.charge(problem, each, backward)
        model = self._cheap if backward else self._exact
        unit = self.pad or 1
        total = max(-(-ran // unit) * unit, 2)  # kernels for one row differ in the last bits from those for many
        if total == ran:
            return model(x, rng)
        index = torch.arange(total, device=problem.device).clamp_max(ran - 1)
        return rows.part(model(rows.take(x, index), rng.take(index)), slice(0, ran))
