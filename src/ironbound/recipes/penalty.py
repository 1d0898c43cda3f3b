"""Attacks that trade the distance for the objective: Carlini and Wagner, the elastic net, Szegedy's L-BFGS, convex surrogates."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Goal, Want
from ironbound.goals import Confident, Untargeted
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.searches.carlini_wagner import CarliniWagner


def cw(
    steps: int = 100,
    searches: int = 9,
    c: float | None = None,
    rate: float = 0.01,
    confidence: float = 0.0,
    abort: bool = True,
) -> Attack:
    """The smallest change in L2, Linf or L0 by gradient descent on distance plus objective: slow, thorough, long the yardstick.

    Use it where a minimum-norm attack is to be independent of FAB and DeepFool, or where examples are to be wrong with a
    `confidence` of so many logits. `rate` is Adam's, in tanh's coordinates; `c` is the first weight of the objective (1e-3; in
    Linf 1e-5). `searches` over c count in L2; in Linf and L0 searches go on until nothing smaller is found.

    Paper: Carlini, Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv 1608.04644, sections V and VI.
    Differs: each problem ends a search of its own (`abort`) where a tenth of the steps wins less than a hundredth of its loss,
    and goes on to its next c at once, where the published code stops a whole batch that wins less than 1e-4 of it; a witness
    of the first fifth of a search does not count as a sign that c is large enough.
    Cost: at most searches * steps forward and backward rows a problem in L2, about half of it with `abort`.
    """
    search = CarliniWagner(steps, searches, c, rate, abort)
    return Attack(TheThreat(), _goal(confidence), Margin(), search, Direct(), Want.SMALLEST)


def _goal(confidence: float) -> Goal:
    return Confident(Untargeted(), confidence) if confidence else Untargeted()


_CARLINI = Paper(
    ("Carlini, Nicholas", "Wagner, David"), 2017,
    "Towards Evaluating the Robustness of Neural Networks", "1608.04644", "IEEE S&P 2017",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "cw", cw, _CARLINI, aliases=("carlini_wagner",)),
)  # fmt: skip
