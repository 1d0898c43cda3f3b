"""Beyond chance: what one attack gains over another on the same samples, with an exact lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ironbound.auditing.checks.check import CheckResult
from ironbound.auditing.intervals import CONFIDENCE

FEWEST = 5
"""Samples, all on one side, from which on an exact test at 95% sees a gain at all: 0.5^5 < 0.05."""


FULL = " Or try more of these: --checks full."
FIRST = 16
"""Survivors by margin over which a small gain may be spread: fewer than these looked at see less."""


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
        needed = f"It takes {math.ceil(FEWEST * self.weight / figure):,} samples that are attacked: audit more."
        return judged(self, figure, text, advice, needed)


@dataclass(frozen=True)
class Stratified:
    """How many survivors more effort broke: of those nearest to the boundary, and of a few of all `others`.

    All that is found is a fact and no estimate; only the others stand for more than themselves. `total` is the size of the
    data set, so that gains are in points of it.
    """

    near: int
    near_looked: int
    rest: int
    rest_looked: int
    others: int
    total: int

    @property
    def gained(self) -> int:
        """Survivors broken, of either kind."""
        return self.near + self.rest

    @property
    def looked(self) -> int:
        """Survivors tried, of either kind."""
        return self.near_looked + self.rest_looked

    @property
    def gain(self) -> float:
        """As a share of the data set."""
        return (self.near + self.others * self.rest / max(1, self.rest_looked)) / self.total

    @property
    def low(self) -> float:
        """The gain that chance does not explain: all that was found is on one side, and the others count by their 95% bound."""
        if self.gained == 0:
            return 0.0
        sign = 2 * lower(self.gained, self.gained) - 1
        return sign * (self.near + self.others * lower(self.rest, self.rest_looked)) / self.total

    @property
    def least(self) -> float:
        """The smallest gain that they could have shown, where it is spread over no more than the first few by margin."""
        if self.others == 0:
            return FEWEST / self.total
        if self.near_looked < FEWEST:
            return 1.0
        few = min(FIRST, self.near_looked + self.others)
        return FEWEST * max(1.0, few / self.near_looked) / self.total

    @property
    def text(self) -> str:
        """What was broken, the gain, its bound and what could have been seen."""
        apart = f" and {self.rest} of {self.rest_looked} others" if self.rest_looked else ""
        return (
            f"{self.near} of the {self.near_looked} survivors nearest to the boundary{apart}: a gain of {100 * self.gain:.2f} "
            f"points, at least {100 * max(self.low, 0.0):.2f} beyond chance; the smallest that they could have shown is "
            f"{100 * self.least:.2f}."
        )

    def judged(self, figure: float, text: str, advice: str) -> CheckResult:
        """Fails beyond the figure; passes only where the nearest could have shown as little as that."""
        more = f"Audit {math.ceil(FEWEST / figure):,} samples or more."
        return judged(self, figure, text, advice, more + (FULL if self.others > self.rest_looked else ""))


def judged(found: Paired | Stratified, figure: float, text: str, advice: str, more: str) -> CheckResult:
    """Fails beyond the figure, with advice; cannot tell where so little could not have been seen, with what it takes."""
    if found.low > figure:
        return CheckResult("fail", text, advice)
    if found.least > figure:  # a gain that was seen, if not beyond chance, is more than a want of samples
        return CheckResult("cannot tell", text, more, found.least if found.gain <= figure else None)
    return CheckResult("pass", text)
