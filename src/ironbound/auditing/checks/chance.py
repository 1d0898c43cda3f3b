"""Beyond chance: what one attack gains over another on the same samples, with an exact lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from ironbound.auditing.checks.check import CheckResult
from ironbound.auditing.intervals import CONFIDENCE

FEWEST = 5
"""Samples, all on one side, from which on an exact test at 95% sees a gain at all: 0.5^5 < 0.05."""


def lower(count: int, total: int) -> float:
    """The one-sided exact 95% lower bound of a proportion; 0 of nothing."""
    if count == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(count, total - count + 1, 1 - CONFIDENCE))


@dataclass(frozen=True)
class Paired:
    """On how many of `looked` samples the second attack alone won, and on how many the first alone did.

    `weight` is the share of the whole data set that the samples stand for, so that gains are in points of it.
    """

    gained: int
    lost: int
    looked: int
    weight: float

    @property
    def gain(self) -> float:
        """As a share of the data set."""
        return self.weight * (self.gained - self.lost) / self.looked

    @property
    def low(self) -> float:
        """The gain that chance does not explain: its lower 95% bound, from the samples where the two differ."""
        differ = self.gained + self.lost
        return self.weight * (2 * lower(self.gained, differ) - 1) * differ / self.looked if differ else 0.0

    @property
    def least(self) -> float:
        """The smallest gain that so many samples could have told from chance."""
        return self.weight * FEWEST / self.looked

    @property
    def text(self) -> str:
        """The gain, its bound and what could have been seen."""
        return (
            f"a gain of {100 * self.gain:.2f} points, at least {100 * max(self.low, 0.0):.2f} beyond chance; the smallest that "
            f"{self.looked} samples could have shown is {100 * self.least:.2f}."
        )

    def judged(self, figure: float, text: str, advice: str) -> CheckResult:
        """Fails beyond the figure; passes only where the sample could have shown as little as that."""
        if self.low > figure:
            return CheckResult("fail", text, advice)
        if self.least > figure:
            return CheckResult("cannot tell", text, "Audit more samples.")
        return CheckResult("pass", text)
