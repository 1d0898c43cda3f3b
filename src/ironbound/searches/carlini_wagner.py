"""Carlini and Wagner's attacks: which penalty search it is in which norm."""

from __future__ import annotations

from dataclasses import dataclass

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Can, Task
from ironbound.searches.descents import BoxAdam
from ironbound.searches.norms import norm_among
from ironbound.searches.penalty import Asking, Bisect, Penalty
from ironbound.searches.shrinking import ShrinkPixels, ShrinkTau

MANY = 20
"""Times as many searches where each only lowers a limit a little."""


@dataclass(frozen=True)
class CarliniWagner:
    """Minimise D(p - x) + c max(0, -objective(p)) by Adam in the box; what D is and what follows is the norm's.

    L2: the squared distance, and a binary search over c. Linf: the sum of what values change beyond tau, which falls below
    every witness. L0: the squared distance of a set of pixels that shrinks.

    Paper: Carlini, Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv 1608.04644, section VI.
    """

    steps: int = 100
    searches: int = 9
    c: float | None = None
    rate: float | None = None
    abort: bool = True
    tanh: bool = False
    """The published coordinates, see BoxAdam."""

    norms = ("l2", "linf", "l0")
    needs = Can.GRADIENT | Can.SCORES

    def __post_init__(self) -> None:
        if self.steps < 1 or self.searches < 1 or not all(n is None or n > 0 for n in (self.c, self.rate)):
            raise UsageError(f"C&W takes a step and a search at least, with c and rate above 0; got {self}.")

    def run(self, task: Task) -> Asking:
        """The search of the region's norm."""
        norm, given = norm_among(task.region, self.norms, self), {} if self.c is None else {"c": self.c}
        if self.tanh and norm == "l0":
            raise UsageError("tanh=True moves every value a little, and in L0 every value counts; leave it out.")
        rate = (0.01 if self.tanh else 0.005) if self.rate is None else self.rate
        most = MANY * self.searches
        if norm == "l2":
            search = Penalty(BoxAdam(rate, tanh=self.tanh), Bisect(self.searches, **given), self.steps, self.abort)
        elif norm == "linf":
            search = Penalty(
                BoxAdam(rate, True, self.tanh, True), ShrinkTau(searches=most, **given), self.steps, self.abort
            )
        else:
            search = Penalty(BoxAdam(rate, warm=True), ShrinkPixels(searches=most, **given), self.steps, self.abort)
        yield from search.run(task)
