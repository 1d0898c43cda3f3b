"""What the model says of inputs, through the same door as attacks: counted, in chunks that fit, left as it was."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.door import Door
from ironbound.core.judge import wins_beyond_chance
from ironbound.core.ledger import Ledger
from ironbound.core.memory import Chunks
from ironbound.core.protocols import Budget, Goal, Model
from ironbound.core.rng import Rng


def predict(model: Model, x: Any, rng: Rng, *, rows: int | None = None, pad: int | None = None) -> Any:
    """The model's answers (logits (n, classes), or decisions (n,)) to admitted inputs, one pass each."""
    count = rows_.count(x)
    ledger = Ledger(count, Budget(), model.device)
    door, chunks = Door(model, ledger, cheap=False, pad=pad), Chunks(rows, model.device)
    problem = torch.arange(count, device=model.device)

    def job(at: slice) -> Any:
        return door.rows(rows_.part(x, at), Rng(rng.keys[at]), problem[at], 0)

    with door.opened(), torch.no_grad():
        return rows_.join(chunks.run(count, job))


def majority_margin(
    model: Model, x: Any, y: Any, goal: Goal, rng: Rng, votes: int, *, rows: int | None = None
) -> tuple[Tensor, Bool[Tensor, " n"], Any]:
    """Margin of the first pass, whether the goal is met (by the majority of draws of a random model), and the answers.

    For a random model the goal is met where it wins the majority of `votes` draws beyond chance, as for a witness.
    """
    out = predict(model, x, rng.fold("clean").fold(0), rows=rows)
    margin = goal.margin(out, y)
    if not model.random:
        return margin, margin > 0, out
    wins = torch.zeros_like(margin, dtype=torch.long)
    for vote in range(votes):
        wins += goal.margin(predict(model, x, rng.fold("clean").fold(vote), rows=rows), y) > 0
    return margin, wins >= wins_beyond_chance(votes), out
