"""What is counted of each batch, over all its parts and processes, and what an epoch's row of the history says of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.defenses.train.objective import Outcome
from ironbound.defenses.train.validation import Measured

MEASURES = ("clean", "attacked", "certified")
COUNTS = ("loss", "samples", "rows", *(f"{name}{of}" for name in MEASURES for of in ("", " of")))
"""In this order."""


def counted(outcome: Outcome) -> Tensor:
    """What an outcome says as numbers, in the order of COUNTS, on its device."""
    losses, good = outcome.losses.detach(), {name: getattr(outcome, name) for name in MEASURES}
    sizes = [0 if good[name] is None else len(good[name]) for name in MEASURES]
    known = [0, len(losses), outcome.rows, *(number for size in sizes for number in (0, size))]
    numbers = torch.tensor(known, dtype=torch.promote_types(losses.dtype, torch.float32), device=losses.device)
    numbers[0] = losses.sum()
    for place, name in enumerate(MEASURES):
        if good[name] is not None:
            numbers[3 + 2 * place] = good[name].sum()
    return numbers


def added(sums: dict[str, float], found: dict[str, Any], seconds: float) -> dict[str, float]:
    """Add a batch to the sums of an epoch, in place; what was added is given back."""
    new = {"rows": int(found["samples"]), "loss": found["loss"], "seconds": seconds}
    for name in MEASURES:
        of = f"{name} of"
        new |= {name: int(found[name]), of: int(found[of])} if found[of] else {}
    for name, value in new.items():
        sums[name] = sums.get(name, 0) + value
    sums |= {name: float(value) for name in ("eps", "kappa") if (value := found[name]) is not None}
    return new


def row(epoch: int, sums: dict[str, float], rate: float, measured: Measured | None, recoveries: int) -> dict[str, Any]:
    """An epoch as a row of the history (history.py says what each column is)."""
    share = lambda name: sums[name] / sums[f"{name} of"] if name in sums else None
    return {
        "epoch": epoch,
        "loss": sums["loss"] / sums["rows"],
        **{f"{name}_accuracy": share(name) for name in MEASURES},
        "eps": sums.get("eps"),
        "kappa": sums.get("kappa"),
        "rate": rate,
        "seconds": sums["seconds"],
        "validation_clean": None if measured is None else measured.clean / measured.of,
        "validation_attacked": None
        if measured is None or measured.attacked is None
        else measured.attacked / measured.of,
        "validation_rows": None if measured is None else measured.of,
        "recoveries": recoveries,
    }
