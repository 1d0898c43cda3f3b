"""The fairness gap: the best group's share minus the worst group's, with an interval that knows that both were picked.

Of k groups the one that looks worst is partly worst by chance, and so is the one that looks best. So the difference of the
two is too large on average, and an interval for two groups named beforehand begins too high. What is bounded here is the gap
of the true shares, max p - min p, from bounds of single differences p_i - p_j:

- below by the largest of the k (k - 1) lower bounds, at least 0, each at the level a / (2 k (k - 1)): all of them hold at
  once, and no true difference is larger than the gap (Bonferroni);
- above by the largest of the k (k - 1) upper bounds, each at the level a / 2: that of the truly best and the truly worst
  group is one of them, and that pair is fixed, whichever it is; so this end needs no correction for k.

A difference is bounded by the shares that two independent exact binomial tests do not reject together (the tails of Clopper
and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26; their
p-values multiplied as in Fisher 1932, "Statistical Methods for Research Workers", 21.1). Nothing is approximated: the
interval holds with probability 1 - a or more at any sizes of the groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ironbound.auditing.intervals import CONFIDENCE, clopper_pearson

KINDS = ("clean", "attacked")
"""The shares that have a gap."""
CELLS = 128
"""Parts of the range of splits of a product of p-values between its two; more make the bounds a little narrower."""
Vector = np.ndarray[Any, Any]


def gaps_of(classes: Sequence[Any], slices: Sequence[Any]) -> list[dict[str, Any]]:
    """The gap by class and by each column, clean and under attack, as report/schema.py has it; none of a single group."""
    tables = [(None, classes), *((found["column"], found["groups"]) for found in slices)]
    return [
        {"column": column, "share": kind, **found}
        for column, groups in tables
        for kind in KINDS
        if (found := gap_of([(group["name"], group[kind]["count"], group["total"]) for group in groups])) is not None
    ]


def weakness(group: Any, kind: str = "attacked") -> tuple[bool, float, int]:
    """Sorts first the group of which least is right; of equal ones the larger, of which that is surer. Empty ones come last."""
    return not group["total"], group[kind]["fraction"], -group["total"]


def gap_of(groups: Sequence[tuple[str, int, int]], confidence: float = CONFIDENCE) -> dict[str, Any] | None:
    """The gap of groups given as (name, count, total); None where fewer than two of them have samples.

    `worst` and `best` are named with intervals that hold for all groups at once, and so for one that was picked (Sidak 1967).

    >>> found = gap_of([("a", 90, 100), ("b", 50, 100)])
    >>> [round(found[end], 2) for end in ("difference", "low", "high")]
    [0.4, 0.24, 0.53]
    """
    filled = [(name, count, total) for name, count, total in groups if total]
    if len(filled) < 2:
        return None
    each = confidence ** (1 / len(filled))
    told = [clopper_pearson(count, total, each) for _, count, total in filled]
    share = [count / total for _, count, total in filled]
    worst = min(range(len(filled)), key=lambda i: (share[i], -filled[i][2]))
    best = max(range(len(filled)), key=lambda i: (share[i], filled[i][2]))
    low, high = _ends(np.array([f[1] for f in filled]), np.array([f[2] for f in filled]), 1 - confidence)
    return {
        "groups": len(filled),
        "worst": _extreme(filled[worst], told[worst]),
        "best": _extreme(filled[best], told[best]),
        "difference": share[best] - share[worst],
        "low": low,
        "high": high,
    }


def _extreme(group: tuple[str, int, int], interval: tuple[float, float]) -> dict[str, Any]:
    name, count, total = group
    return {
        "name": name, "count": count, "total": total, "fraction": count / total, "low": interval[0], "high": interval[1],
    }  # fmt: skip


def _ends(count: Vector, total: Vector, alpha: float) -> tuple[float, float]:
    """Both ends of the gap of these groups, each (k,)."""
    pairs = len(count) * (len(count) - 1)
    (count, total), copies = np.unique(np.stack([count, total]), axis=1, return_counts=True)
    twice = np.minimum(copies, 2)  # equal groups have equal bounds, so that two of them stand for a thousand
    count, total = np.repeat(count, twice), np.repeat(total, twice)
    low = lower_differences(count, total, alpha / (2 * pairs))
    high = lower_differences(count, total, alpha / 2)
    np.fill_diagonal(low, 0.0)
    np.fill_diagonal(high, 0.0)
    return max(0.0, float(low.max())), min(1.0, -float(high.min()))  # p_i - p_j is at most -(lower bound of p_j - p_i)


def lower_differences(count: Vector, total: Vector, level: float) -> Vector:
    """A lower bound of p_i - p_j at this one-sided level for each pair i, j, as a table (k, k).

    With X_i ~ Bin(n_i, p_i), the p-values P(X_i >= x_i) and P(X_j <= x_j) at the true shares are independent and no smaller
    than uniform ones, so that their product is below c with probability `level` at most, where c (1 - log c) = level. The
    least p_i - p_j of all shares whose product is at least c is looked for split by split, from below in each cell.
    """
    from scipy.special import betaincinv

    log_c = _log_product(level)
    split = np.linspace(0.0, 1.0, CELLS + 1)
    tail = np.exp(log_c * split)[:, None]  # of the first p-value; the second has the rest of the product
    low = np.where(count == 0, 0.0, betaincinv(np.maximum(count, 1), total - count + 1, tail))
    rest = np.maximum(total - count, 1)
    high = np.where(count == total, 1.0, betaincinv(count + 1, rest, 1 - tail))
    found = np.full((len(count), len(count)), np.inf)
    for cell in range(CELLS):  # the first p-value is nowhere smaller than at its end, the second than at its beginning
        found = np.minimum(found, low[cell + 1][:, None] - high[CELLS - cell][None, :])
    return found


def _log_product(level: float) -> float:
    """log c of the product of two independent uniform numbers that is below c with this probability."""
    from scipy.special import lambertw

    return float(lambertw(-level / np.e, -1).real) + 1.0
