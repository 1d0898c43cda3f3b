"""Which class a targeted attack is to reach: given, drawn, the next or the least likely, or each of them in turn."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.core.errors import ModelError, UsageError
from ironbound.core.predict import predict
from ironbound.core.protocols import Model
from ironbound.core.rng import Rng

NAMES = ("random", "next likely", "least likely", "all")


def ranked_targets(model: Model, x: Any, y: Int[Tensor, " n"], which: str, rng: Rng, rows: int | None) -> Tensor:
    """Classes to reach, int64 (n, k), those of a column one a problem: k is 1, or the number of other classes for "all".

    "random" is uniform over the classes that are not y, by the problem's own stream; the others follow the clean logits,
    ties to the lower class. Carlini and Wagner (2017, arXiv 1608.04644, section II.B) call these average case (random),
    and best and worst case (all, the easiest and the hardest); least likely is of Kurakin et al. (2017, arXiv 1607.02533).
    Raises UsageError for another word.
    """
    name = which.strip().lower().replace("_", " ").replace("-", " ")
    if name not in NAMES:
        raise UsageError(f"a target is a class, one class a sample, or one of {', '.join(NAMES)}; got {which!r}.")
    out = predict(model, x, rng.fold("targets"), rows=rows)
    if not (isinstance(out, Tensor) and out.is_floating_point() and out.ndim == 2):
        raise ModelError("targets by name need logits (n, classes); of bare decisions, give the classes themselves.")
    if name == "random":
        drawn = rng.fold("random target").integers(0, out.shape[1] - 1)
        return (drawn + (drawn >= y))[:, None]
    order = out.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]
    return {"next likely": order[:, :1], "least likely": order[:, -1:], "all": order}[name]
