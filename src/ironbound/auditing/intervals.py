"""How sure a fraction is: exact binomial intervals."""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """A count out of a total with its 95% interval."""

    count: int
    total: int
    low: float
    high: float

    @property
    def fraction(self) -> float:
        """The share; 0 of nothing is 0."""
        return self.count / self.total if self.total else 0.0

    @staticmethod
    def of(count: int, total: int, confidence: float = CONFIDENCE) -> Share:
        """The share with its Clopper-Pearson interval."""
        return Share(count, total, *clopper_pearson(count, total, confidence))

    def as_dict(self) -> dict[str, float | int]:
        """For the report and for JSON."""
        return {"count": self.count, "total": self.total, "fraction": self.fraction, "low": self.low, "high": self.high}


def clopper_pearson(count: float, total: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact two-sided interval of a binomial proportion (Clopper, Pearson 1934); (0, 1) of nothing.

    Counts that are no whole numbers lie between their neighbours: what a rate would be at another number of samples.

    >>> [round(end, 4) for end in clopper_pearson(0, 10)]
    [0.0, 0.3085]
    """
    if total == 0:
        return 0.0, 1.0
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 1 - tail))
    return low, high
