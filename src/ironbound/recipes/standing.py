"""The clean pass before an attack: what is wrong already, or NaN, is not attacked and says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.errors import UsageError
from ironbound.core.judge import convincing, scale_of
from ironbound.core.predict import majority_margin, predict
from ironbound.core.protocols import Model, Status
from ironbound.core.result import Result
from ironbound.core.rng import Rng
from ironbound.recipes.draws import VOTES


def own_answers(model: Model, x: Any, rng: Rng, rows: int | None) -> Tensor:
    """The classes that the model itself answers, int64 (n,)."""
    out = predict(model, x, rng.fold("own answers"), rows=rows)
    if not isinstance(out, Tensor):
        raise UsageError("the model answers with no single class that could be kept from; pass y, what the goal reads.")
    answers: Tensor = out.argmax(1) if out.is_floating_point() else out
    return answers


def attack_from_clean(
    chosen: Attack | Cascade, model: Model, x: Any, y: Any, keys: Tensor, *, seed: int, rows: int | None, **options: Any
) -> Result:
    """The clean pass, then the attack on those that are right: a result with a row for every input."""
    region = chosen.set.at(x, model.box)
    if region.items is not None:
        return chosen(model, x, y, seed=seed, rows=rows, **options)
    margin, met, out = majority_margin(model, x, y, chosen.goal, Rng.of(seed, keys), VOTES, rows=rows)
    if not model.random and (largest := scale_of(out, chosen.goal)) is not None:
        met &= convincing(margin, largest)  # else a tie could be one's own in this batch, and the label's in another
    bad = _bad(out, met)
    whole = _standing(chosen, region, x, margin, met & ~bad, bad, seed, VOTES + 1 if model.random else 1)
    at = (~met & ~bad).nonzero()[:, 0]
    if len(at) == 0:
        return whole
    taken = rows_.take(x, at), rows_.take(y, at)
    found = chosen.rows(at)(model, *taken, keys=keys[at], seed=seed, rows=rows, **options)
    return replace(whole.with_rows(at, found), config={**found.config, "attack": whole.config["attack"]})


def _bad(out: Any, like: Tensor) -> Tensor:
    """Whose answers hold NaN or infinity, in any part."""
    if isinstance(out, list):
        rows = [all(bool(torch.isfinite(leaf).all()) for leaf in rows_.leaves(row)) for row in out]
        return ~torch.tensor(rows, device=like.device)
    bad = torch.zeros_like(like)
    for part in out.values() if isinstance(out, dict) else out if isinstance(out, tuple) else (out,):
        if not isinstance(part, Tensor):
            bad |= _bad(part, like)
        elif part.is_floating_point():
            bad |= ~torch.isfinite(rows_.flat(part)).all(1)
    return bad


def _standing(
    chosen: Attack | Cascade, region: Any, x: Any, margin: Tensor, met: Tensor, bad: Tensor, seed: int, passes: int
) -> Result:  # fmt: skip
    """The result before the attack: what the clean pass alone says."""
    status = torch.full_like(met, int(Status.NOT_FOUND), dtype=torch.long)
    status[met], status[bad] = int(Status.ALREADY_WRONG), int(Status.NON_FINITE)
    none = torch.zeros_like(status)
    return Result(
        points=region.identity(), adversarial=x, success=met, size=torch.zeros_like(margin, dtype=torch.float64),
        margin=margin.double(), status=status, forward=none + passes, backward=none, refused=none, judged=none,
        config={"attack": chosen.describe(), "seed": seed},
    )  # fmt: skip
