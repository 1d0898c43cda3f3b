"""Carlini and Wagner's attacks: which penalty search it is in which norm."""

from __future__ import annotations

from dataclasses import dataclass

from ironbound.core.protocols import Can, Task
from ironbound.searches.descents import TanhAdam
from ironbound.searches.norms import norm_among
from ironbound.searches.penalty import Asking, Bisect, Penalty
from ironbound.searches.shrinking import ShrinkPixels, ShrinkTau


@dataclass(frozen=True)
class CarliniWagner:
    """Minimise D(p - x) + c max(0, -objective(p)) by Adam behind a tanh; what D is and what follows is the norm's.

    L2: the squared distance, and a binary search over c. Linf: the sum of what values change beyond tau, which falls below
    every witness. L0: the squared distance of a set of pixels that shrinks.

    Paper: Carlini, Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv 1608.04644, section VI.
    """

    steps: int = 100
    searches: int = 9
    c: float | None = None
    rate: float = 0.01
    abort: bool = True

    norms = ("l2", "linf", "l0")
    needs = Can.GRADIENT | Can.SCORES

    def run(self, task: Task) -> Asking:
        """The search of the region's norm."""
        norm, given = norm_among(task.region, self.norms, self), {} if self.c is None else {"c": self.c}
        if norm == "l2":
            search = Penalty(TanhAdam(self.rate), Bisect(self.searches, **given), self.steps, self.abort)
        elif norm == "linf":
            search = Penalty(TanhAdam(self.rate, beyond=True, warm=True), ShrinkTau(**given), self.steps, self.abort)
        else:
            search = Penalty(TanhAdam(self.rate, warm=True), ShrinkPixels(**given), self.steps, self.abort)
        yield from search.run(task)
