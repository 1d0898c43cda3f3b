"""How well a score tells two kinds of inputs apart: the ROC curve and the area under it, exact by ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Roc:
    """The receiver operating characteristic of a score, each array float64.

    threshold: the values of the score, descending, after +inf. true_positives: at each, the share of positives whose score is
    at least the threshold; false_positives: that of negatives. The points of the curve, from (0, 0) to (1, 1).
    auroc: the probability that a positive has the higher score, ties counted half.
    """

    threshold: Tensor
    true_positives: Tensor
    false_positives: Tensor
    auroc: float

    def false_positives_at(self, true_positives: float = 0.95) -> float:
        """The least share of negatives passed where at least so many positives are: "FPR95" at 0.95."""
        return float(self.false_positives[self.true_positives >= true_positives - 1e-12].min())

    def threshold_at(self, true_positives: float = 0.95) -> float:
        """The highest threshold that passes at least so many positives: a detector set by its users' own data."""
        return float(self.threshold[self.true_positives >= true_positives - 1e-12].max())

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; the first threshold, above all scores, is None."""
        columns = {
            "threshold": self.threshold,
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
        }
        table = {name: column.tolist() for name, column in columns.items()}
        return {"auroc": self.auroc, **table, "threshold": [None, *table["threshold"][1:]]}


def roc(positives: Any, negatives: Any) -> Roc:
    """The curve of scores (n,) of inputs that should score high, and scores (m,) of those that should score low.

    For a detector of what the model does not know, positives are scores (max_softmax, energy) of ordinary inputs, negatives
    those of unknown ones. The area is Mann and Whitney's U over n m (Fawcett 2006, An Introduction to ROC Analysis,
    algorithms 1 and 2), exact for up to 2^53 pairs. Raises InputError for no scores, or NaN.
    """
    high, low = (torch.as_tensor(scores, dtype=torch.float64).flatten().cpu() for scores in (positives, negatives))
    if len(high) == 0 or len(low) == 0 or bool(high.isnan().any() | low.isnan().any()):
        raise InputError(
            f"scores of both kinds are needed, without NaN; got {len(high)} positives and {len(low)} negatives."
        )
    values, place = torch.cat([high, low]).unique(return_inverse=True)
    count = lambda at: torch.bincount(at, minlength=len(values)).flip(0)
    passed, wrongly = count(place[: len(high)]).cumsum(0), count(place[len(high) :]).cumsum(0)
    zero = torch.zeros(1, dtype=torch.int64)
    passed, wrongly = torch.cat([zero, passed]), torch.cat([zero, wrongly])
    twice = (
        (wrongly[1:] - wrongly[:-1]) * (passed[1:] + passed[:-1])
    ).sum()  # whole numbers: trapezoids count ties half
    threshold = torch.cat([torch.tensor([torch.inf], dtype=torch.float64), values.flip(0)])
    area = int(twice) / (2 * len(high) * len(low))
    return Roc(threshold, passed.double() / len(high), wrongly.double() / len(low), area)
