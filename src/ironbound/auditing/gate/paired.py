"""The drop between two runs on the same samples, with an interval that has a width even where no sample differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from ironbound.auditing.gate.floors import fewest_more
from ironbound.auditing.intervals import CONFIDENCE
from ironbound.auditing.report.schema import Outcome

HALVINGS = 60
"""Of the search for an end: to the last bit of a number of size 1."""


@dataclass(frozen=True)
class Drop:
    """Of `total` samples, `lost` were right in the baseline alone and `gained` in the new run alone."""

    lost: int
    gained: int
    total: int
    low: float
    high: float

    @property
    def fraction(self) -> float:
        """Baseline minus new run; below 0 where the new one is better."""
        return (self.lost - self.gained) / self.total

    @staticmethod
    def of(lost: int, gained: int, total: int, confidence: float = CONFIDENCE) -> Drop:
        """The drop with its interval."""
        return Drop(lost, gained, total, *tango(lost, gained, total, confidence))


def tango(lost: float, gained: float, total: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The two-sided score interval of a difference of paired proportions (Tango 1998, Statistics in Medicine 17, 891-908).

    All differences that a score test does not reject. Its upper end at no differing sample is z^2 / (n + z^2), Wilson's.
    Recommended for its coverage by Fagerland, Lydersen and Laake (2014, Statistics in Medicine 33, 2850-2875), whose
    example of 21 children it gives:

    >>> [round(end, 3) for end in tango(1, 7, 21)]
    [-0.517, -0.026]
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    observed = (lost - gained) / total

    def held(drop: float) -> bool:
        return (lost - gained - total * drop) ** 2 <= z * z * total * _variance(lost, gained, total, drop)

    return _edge(held, observed, -1.0), _edge(held, observed, 1.0)


def _variance(lost: float, gained: float, total: float, drop: float) -> float:
    """Of one pair's difference, where the share gained is what is likeliest given this drop: the root of a quadratic."""
    a, b = 2 * total, (2 * total - lost + gained) * drop - lost - gained
    c = -gained * drop * (1 - drop)
    root = sqrt(max(0.0, b * b - 4 * a * c))
    if b <= 0:
        share = (root - b) / (2 * a)
    else:  # the same without taking two nearly equal numbers from each other
        share = -2 * c / (b + root)
    return max(0.0, 2 * share + drop * (1 - drop))


def _edge(held: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where an interval around `inside` ends, on the way to `outside`, rounded outwards."""
    if held(outside):
        return outside
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if held(middle) else (inside, middle)
    return outside


def drop_outcome(drop: Drop, allowed: float) -> Outcome:
    """ "pass" where the upper end of the drop is at most what is allowed, "above" where the lower end is beyond, else unclear."""
    if drop.high <= allowed:
        return "pass"
    return "above" if drop.low > allowed else "cannot tell"


def more_for_drop(drop: Drop, allowed: float, confidence: float) -> int | None:
    """How many more common samples would settle a drop, if the shares lost and gained stay what they are; None: no number."""
    if drop.lost - drop.gained == allowed * drop.total:
        return None

    def settled(samples: int) -> bool:
        grown = samples / drop.total
        low, high = tango(drop.lost * grown, drop.gained * grown, samples, confidence)
        return high <= allowed if drop.fraction < allowed else low > allowed

    return fewest_more(settled, drop.total)
