"""What an assertion found: the figures of each requirement, and the samples that speak against it, worst first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from typing import Any

from ironbound.asserting.samples import Case
from ironbound.asserting.sequential import Sequential, interval

KEPT = 24
"""Samples that are kept with their inputs, for the page."""


@dataclass(frozen=True)
class Figure:
    """One requirement: "attacked", "certified" or "clean" accuracy is at least so much.

    `low` and `high` are the ends of a confidence sequence: they hold though the test looked after every sample and stopped
    when it knew, which those of a binomial interval (Clopper-Pearson) would not.
    """

    requirement: str
    at_least: float
    count: int
    total: int
    low: float
    high: float
    result: str
    """"pass"; "below"; "cannot tell", where the samples ran out; "open", where another requirement had failed before."""
    further: int | None = None
    """Where it cannot be told: about how many samples more would, None where 10^7 would not."""

    @property
    def fraction(self) -> float:
        """What was found; 0 of nothing is 0."""
        return self.count / self.total if self.total else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        names = ("requirement", "at_least", "result", "count", "total", "fraction", "low", "high")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Found:
    """What `assert_robust` returns where all requirements are met, and what a failure has as `found`."""

    figures: tuple[Figure, ...]
    threat: str
    method: str
    """The plan's name; "" where only clean accuracy was asked for."""
    confidence: float
    seed: int
    used: int
    """Samples that were looked at until it was decided."""
    available: int
    """Samples that could have been."""
    name: str = ""
    against: tuple[Case, ...] = field(default=(), repr=False)
    """Of a failure, the samples that did not count, the worst first, KEPT of them at most."""
    sizes: tuple[str, ...] = field(default=(), repr=False)
    """Of each of them the change in words, "size 0.1 in L-inf"; "" where nothing was changed."""
    kinds: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)
    """Of a failure, how many samples did not count, by verdict and stage."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """Of the classes, where they have some."""
    notes: tuple[str, ...] = ()
    page: Path | None = None
    """Where the page of the worst witnesses was written."""

    @property
    def passed(self) -> bool:
        """Whether every requirement is met."""
        return all(figure.result == "pass" for figure in self.figures)

    @property
    def result(self) -> str:
        """ "pass", "below" or "cannot tell"."""
        results = {figure.result for figure in self.figures}
        return next(word for word in ("below", "cannot tell", "pass") if word in results)

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for a log or a property of the test."""
        return {
            "name": self.name, "result": self.result, "threat": self.threat, "method": self.method, "used": self.used,
            "available": self.available, "confidence": self.confidence, "seed": self.seed,
            "figures": [figure.as_dict() for figure in self.figures],
        }  # fmt: skip

    def __str__(self) -> str:
        from ironbound.asserting.wording import message

        return message(self)


class NotRobust(AssertionError):
    """A requirement is not met, or cannot be told with the samples there are; `found` has the figures."""

    def __init__(self, found: Found) -> None:
        super().__init__(str(found))
        self.found = found


@dataclass
class Tally:
    """A requirement while samples come in."""

    requirement: str
    test: Sequential
    count: int = 0
    total: int = 0
    result: str = ""
    against: list[Case] = field(default_factory=list)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.result = self.test.decide(0, 0)

    def hear(self, case: Case) -> None:
        """One sample more; nothing, once it is decided."""
        if self.result:
            return
        self.total += 1
        if case.counts(self.requirement):
            self.count += 1
        else:
            self.kinds[case.verdict, case.stage] += 1
            self.against.append(case)
        self.result = self.test.decide(self.count, self.total)

    def tidy(self) -> None:
        """Keep the worst samples only: inputs take memory."""
        self.against = sorted(self.against, key=badness)[:KEPT]

    def figure(self, confidence: float, failed: bool) -> Figure:
        """The figures as they are; `failed`: another requirement is not met."""
        low, high = interval(self.count, self.total, confidence)
        result = self.result or ("open" if failed else "cannot tell")
        further = self.test.further(self.count, self.total) if result == "cannot tell" else None
        return Figure(self.requirement, self.test.threshold, self.count, self.total, low, high, result, further)


def badness(case: Case) -> tuple[float, ...]:
    """What sorts the worst first: witnesses of the smallest change, of equal ones the largest margin; then samples that are
    wrong without any, by margin, then those that were only not proved, the nearest to being disproved first.

    Sizes are compared to three digits: most attacks use up the whole radius.
    """
    margin = -case.margin if case.margin is not None else 0.0
    if case.verdict == "broken":
        return 0.0, _rounded(case.size or 0.0), margin, case.index
    if case.verdict == "wrong":
        return 1.0, 0.0, margin, case.index
    return 2.0, 0.0, -margin, case.index


def _rounded(size: float) -> float:
    return round(size, 2 - int(log10(size) // 1)) if size > 0 else 0.0
