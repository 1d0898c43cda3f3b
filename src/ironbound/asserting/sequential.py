"""Is a share at least so much? A test that may look after every sample, and stops as soon as it knows.

For the claim "the share p is above t" the evidence after k successes of n is a likelihood ratio, averaged over what p might be
above t (a mixture, uniform on (t, 1); Robbins 1970, Kaufmann and Koolen 2018, arXiv 1811.11419):

    M(k, n) = 1 / (1 - t) * integral from t to 1 of (q / t)^k ((1 - q) / (1 - t))^(n - k) dq

For every p <= t it is a supermartingale that begins at 1, because a success weighs more than 1 and a failure less: so by Ville's
inequality it ever reaches 1 / e with probability e at most, however often one looks. Likewise below t, by the other half of the
integral. The shares t that neither of the two has excluded are a confidence sequence (Waudby-Smith and Ramdas 2020, arXiv
2010.09686): an interval that holds at all n at once, and so also at the n at which somebody chose to stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ironbound.core.errors import UsageError

BLOCK = 1024
"""Numbers of samples whose boundaries are computed together."""
SLACK = 1e-9
"""By which the logarithm must be above its limit: more than its rounding, so that errors stay within their bounds."""
FAR = 10_000_000
"""Samples beyond which nobody counts."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sequential:
    """The test of "a share is at least `threshold`", from independent samples in random order.

    pass_error: how often at most it passes a share below the threshold; fail_error: how often at most it fails a share at or
    above it. Both hold for all samples together, however many are taken.

    >>> test = Sequential(0.45)
    >>> test.decide(7, 7), test.decide(6, 7), test.decide(0, 9)
    ('pass', '', 'below')
    """

    threshold: float
    pass_error: float = 0.025
    fail_error: float = 0.025

    def __post_init__(self) -> None:
        for name, value, low in (
            ("threshold", self.threshold, 0.0), ("pass_error", self.pass_error, 1e-12), ("fail_error", self.fail_error, 1e-12)
        ):  # fmt: skip
            if not low <= value <= (1.0 if name == "threshold" else 0.5):
                raise UsageError(
                    f"{name} is a share, from {low:g} to {1.0 if name == 'threshold' else 0.5}; got {value!r}."
                )

    @staticmethod
    def at(threshold: float, confidence: float, beside: int = 1) -> Sequential:
        """The test whose verdicts say on which side of a two-sided confidence sequence the threshold is.

        Each end has half of 1 - confidence. Of `beside` tests that must all pass, each fails that much more rarely from the
        third on, so that together they fail a model that meets them all with 1 - confidence at most. Passing needs no such
        care: a model that lacks one must pass that one, too (an intersection-union test: Berger 1982).
        """
        return Sequential(threshold, (1 - confidence) / 2, (1 - confidence) / max(2, beside))

    def decide(self, count: int, total: int) -> str:
        """What `count` successes of `total` samples show: "pass", "below", or "" where that cannot be told yet."""
        if total == 0:
            return "pass" if self.threshold == 0 else ""
        passes, fails = self.boundary(total)
        return "pass" if count >= passes else "below" if count <= fails else ""

    def boundary(self, total: int) -> tuple[int, int]:
        """The fewest successes of `total` samples that pass, and the most that fail (total + 1 and -1 where none do)."""
        passes, fails = self.boundaries((total - 1) // BLOCK)
        at = (total - 1) % BLOCK
        return int(passes[at]), int(fails[at])

    def boundaries(self, block: int) -> tuple[Array, Array]:
        """The same for the totals from block * BLOCK + 1 on, int64 (BLOCK,) each."""
        return _boundaries(self.threshold, self.pass_error, self.fail_error, block)

    def least(self, count: int, total: int, most: int) -> int:
        """How many samples more could decide at the earliest; more than `most` where no so many could.

        The nearest verdict is reached by successes only, or by failures only.
        """
        for more in range(1, most + 1):
            passes, fails = self.boundary(total + more)
            if count + more >= passes or count <= fails:
                return more
        return most + 1

    def open(self, count: int, total: int, most: int) -> bool:
        """Whether samples up to `most` in all could still decide either way."""
        if total >= most:
            return False
        passes, fails = self.boundary(most)  # a success more a sample is more than the boundary rises; it never falls
        return count + most - total >= passes or count <= fails

    def further(self, count: int, total: int) -> int | None:
        """About how many samples more would decide, were the share what was found; None where no number would (beyond 10^7).

        The samples are thought to go on as they were: half of all cases take less, as many more.
        """
        share = count / total if total else self.threshold
        low, high = total, max(2 * total, 16)
        while not self._decided(share, high):
            low, high = high, 2 * high
            if high > FAR:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._decided(share, middle) else (middle, high)
        return high - total

    def chances(self, share: float, most: int) -> tuple[Array, Array]:
        """The probabilities to have passed, and to have failed, after 1..most samples of a population with this share.

        Exact: all paths of successes and failures are summed up, float64 (most,) each. It takes most^2 / 2 additions.
        """
        blocks = [self.boundaries(block) for block in range(-(-most // BLOCK))]
        passes, fails = (np.concatenate(side)[:most].tolist() for side in zip(*blocks, strict=True))
        undecided, passed, failed = np.ones(1), np.zeros(most), np.zeros(most)
        for n in range(most):
            after = np.zeros(n + 2)
            after[:-1] += undecided * (1 - share)
            after[1:] += undecided * share
            passed[n], failed[n] = after[passes[n] :].sum(), after[: fails[n] + 1].sum()
            after[passes[n] :] = 0.0
            after[: fails[n] + 1] = 0.0
            undecided = after
        return passed.cumsum(), failed.cumsum()

    def _decided(self, share: float, total: int) -> bool:
        count = np.array([share * total])
        above, below = (evidence(self.threshold, count, np.array([total]), side)[0] for side in ("above", "below"))
        return bool(above >= self._pass_limit or below >= self._fail_limit)

    @cached_property
    def _pass_limit(self) -> float:
        return -math.log(self.pass_error) + SLACK

    @cached_property
    def _fail_limit(self) -> float:
        return -math.log(self.fail_error) + SLACK


def interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The confidence sequence of a share at `count` of `total`: it may be looked at after every sample.

    The threshold of a `Sequential.at(threshold, confidence)` is outside exactly where that decides. (0, 1) of nothing.

    >>> [round(end, 3) for end in interval(9, 10)]
    [0.449, 1.0]
    """
    if total == 0:
        return 0.0, 1.0
    limit = math.log(2 / (1 - confidence)) + SLACK
    found = count / total
    low = 0.0 if count == 0 else _end(count, total, "above", limit, 0.0, found)
    high = 1.0 if count == total else _end(count, total, "below", limit, 1.0, found)
    return low, high


def _end(count: int, total: int, side: str, limit: float, excluded: float, kept: float) -> float:
    """Where the evidence against a share falls to the limit, between one that is excluded and one that is not."""
    k, n = np.array([count]), np.array([total])
    for _ in range(60):
        middle = (excluded + kept) / 2
        if middle in (excluded, kept):
            break
        if evidence(middle, k, n, side)[0] >= limit:
            excluded = middle
        else:
            kept = middle
    return excluded


def evidence(threshold: float, count: Array, total: Array, side: str) -> Array:
    """log M for the share being "above" or "below" the threshold, float64 (n,), by counts and totals (n,).

    In logarithms throughout, so that nothing overflows. Exact to rounding from 0 on, where most of the beta distribution is on
    that side; far below it, where it has next to nothing there, evidence is only known to be small (-inf at last).
    """
    from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

    if threshold in (0.0, 1.0):
        return _at_the_end(threshold, count, total, side)
    a, b = count + 1.0, total - count + 1.0
    half, width = (betaincc, 1 - threshold) if side == "above" else (betainc, threshold)
    with np.errstate(divide="ignore"):  # of a half that is 0 in float64
        mass = np.log(half(a, b, threshold))
    found: Array = betaln(a, b) + mass - xlogy(count, threshold) - xlog1py(total - count, -threshold) - math.log(width)
    return found


def _at_the_end(threshold: float, count: Array, total: Array, side: str) -> Array:
    """One success shows that a share is above 0, one failure that it is below 1; nothing is below 0 or above 1."""
    shown = count > 0 if side == "above" else count < total
    possible = side == ("above" if threshold == 0.0 else "below")
    return np.where(shown, np.inf, -np.inf) if possible else np.full(len(total), -np.inf)


@lru_cache(maxsize=4096)
def _boundaries(threshold: float, pass_error: float, fail_error: float, block: int) -> tuple[Array, Array]:
    """By bisection for all totals of a block at once: the evidence above rises with every success, that below falls."""
    total = np.arange(block * BLOCK + 1, (block + 1) * BLOCK + 1)
    if threshold == 0.0:  # every share is at least 0
        return np.zeros_like(total), np.full_like(total, -1)
    limit = -math.log(pass_error) + SLACK
    passes = _first(total, lambda count: evidence(threshold, count, total, "above") >= limit)
    limit_below = -math.log(fail_error) + SLACK
    fails = _first(total, lambda count: evidence(threshold, count, total, "below") < limit_below) - 1
    return passes, fails


def _first(total: Array, holds: Any) -> Array:
    """For each total the smallest count in 0..total for which `holds`, which stays true from there on; total + 1 for none."""
    low, high = np.full_like(total, -1), total + 1
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        asked = np.clip(middle, 0, total)
        yes = holds(asked) & (middle <= total) & (middle >= 0)
        moving = high - low > 1
        high = np.where(moving & yes, middle, high)
        low = np.where(moving & ~yes, middle, low)
    return high
