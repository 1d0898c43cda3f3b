"""Attacks that trade the distance for the objective: Carlini and Wagner, the elastic net, Szegedy's L-BFGS, convex surrogates."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Goal, Want
from ironbound.goals import Confident, Untargeted
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct
from ironbound.searches.carlini_wagner import CarliniWagner
from ironbound.searches.elastic import Shrinkage
from ironbound.searches.lbfgs import Lbfgs
from ironbound.searches.penalty import Bisect, Penalty
from ironbound.searches.surrogate import Surrogate


def cw(
    steps: int = 100,
    searches: int = 9,
    c: float | None = None,
    rate: float | None = None,
    confidence: float = 0.0,
    abort: bool = True,
    tanh: bool = False,
) -> Attack:
    """The smallest change in L2, Linf or L0 by gradient descent on distance plus objective: slow, thorough, long the yardstick.

    Use it where a minimum-norm attack is to be independent of FAB and DeepFool, or where examples are to be wrong with a
    `confidence` of so many logits. `rate` is Adam's: 0.005 in input units by default, or 0.01 in tanh's coordinates. `c` is the
    first weight of the objective (1e-3; in Linf 1e-5). In L2 there are so many `searches` over c; in Linf and L0 they go on until
    nothing smaller is found, or 20 times as many are done.

    Paper: Carlini, Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv 1608.04644, sections V and VI.
    Differs: Adam steps on the values themselves, clamped to the box, since in the published coordinates (`tanh=True`) black
    and white pixels hardly move; each problem ends a search of its own (`abort`) where a tenth of the steps wins less than a
    hundredth of its loss, and goes on to its next c at once, where the published code stops a whole batch that wins less than
    1e-4 of it; a witness of the first fifth of a search is no sign that c is large enough.
    Cost: at most searches * steps forward and backward rows a problem in L2, less than half of it with `abort`.
    """
    search = CarliniWagner(steps, searches, c, rate, abort, tanh)
    return Attack(TheThreat(), _goal(confidence), Margin(), search, Direct(), Want.SMALLEST)


def ead(
    steps: int = 100,
    searches: int = 9,
    beta: float = 0.01,
    c: float = 1e-2,
    rate: float = 0.001,
    confidence: float = 0.0,
    momentum: bool = True,
    abort: bool = True,
) -> Attack:
    """The smallest change in L1 by gradient steps that shrink small changes to nothing (an elastic net): sparse and small.

    Changes shrink by `beta` at every step of `rate`, in input units: beta / rate weighs the absolute changes beside the
    squared ones, and 0 (with a rate of 0.01, say) is Carlini and Wagner's L2 loss without the tanh. What counts as small is
    the set's own size: L1 balls make the L1 decision rule, L2 and Linf balls their own.

    Paper: Chen, Sharma, Zhang, Yi, Hsieh 2018, EAD: Elastic-Net Attacks to Deep Neural Networks via Adversarial Examples,
    arXiv 1709.04114, algorithm 1 (FISTA; `momentum=False` is ISTA).
    Differs: the points of the gradients are the ones that may win, clamped to the box, so that no step needs a second forward
    pass; steps and shrinking fall together, and with the smallest witness; the published rate, 0.01, lets squared changes
    count more, which leaves L1 up to 16% above the optimum on linear models, where these defaults leave 2.5%; searches end as
    in cw.
    Cost: at most searches * steps forward and backward rows a problem.
    """
    search = Penalty(Shrinkage(steps, rate, beta, momentum), Bisect(searches, c), steps, abort, patience=2)
    return Attack(TheThreat(), _goal(confidence), Margin(), search, Direct(), Want.SMALLEST)


def lbfgs(steps: int = 50, searches: int = 9, c: float = 1e-2, memory: int = 8, abort: bool = True) -> Attack:
    """The first attack of all: distance less weighted cross-entropy by L-BFGS in the box, for the smallest weight that works.

    Paper: Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus 2013, Intriguing Properties of Neural Networks, arXiv
    1312.6199, section 4.1. Differs: the squared distance, whose gradient has no corner at x; the weight c is on the goal's
    cross-entropy, so that untargeted attacks lead away from the label; c is found by the same bisection as in cw; the L-BFGS
    is our own, batched, with projected steps, and a trial of its line search is one of the `steps`.
    Cost: at most searches * steps forward and backward rows a problem.
    """
    search = Penalty(Lbfgs(memory), Bisect(searches, c), steps, abort, hinge=False)
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), search, Direct(), Want.SMALLEST)


def convex_surrogate(
    steps: int = 50, weight: float = 4.0, rate: float = 0.25, kappa: float = 1.0, restarts: int = 1
) -> Attack:
    """Any set that one can project onto: a hinge in place of the 0/1 loss plus the distance to the set, then projected.

    Use it where a set has no steepest direction (L0 balls, sets of your own), or as a second opinion beside pgd: the walk may
    cross what separates it from a witness outside of the set. `weight`: how dear the outside is; `kappa`: how far beyond the
    boundary the hinge ends, in logits.

    No paper has it in this form. The hinge on the margin is Carlini and Wagner's f6 (2017, arXiv 1608.04644, section V.A), the
    squared distance is the classical quadratic penalty for leaving a constraint (Nocedal, Wright 2006, Numerical Optimization,
    section 17.1), where Carlini and Wagner penalise the distance to x itself.
    Cost: at most restarts (steps + 11) forward, restarts steps backward rows a problem.
    """
    search = Surrogate(steps, weight, rate, kappa)
    return Attack(TheThreat(), Untargeted(), Margin(), search, Direct(), restarts=restarts)


def _goal(confidence: float) -> Goal:
    return Confident(Untargeted(), confidence) if confidence else Untargeted()


_CARLINI = Paper(
    ("Carlini, Nicholas", "Wagner, David"), 2017,
    "Towards Evaluating the Robustness of Neural Networks", "1608.04644", "IEEE S&P 2017",
)  # fmt: skip
_CHEN = Paper(
    ("Chen, Pin-Yu", "Sharma, Yash", "Zhang, Huan", "Yi, Jinfeng", "Hsieh, Cho-Jui"), 2018,
    "EAD: Elastic-Net Attacks to Deep Neural Networks via Adversarial Examples", "1709.04114", "AAAI 2018",
)  # fmt: skip
_SZEGEDY = Paper(
    ("Szegedy, Christian", "Zaremba, Wojciech", "Sutskever, Ilya", "Bruna, Joan", "Erhan, Dumitru", "Goodfellow, Ian",
     "Fergus, Rob"),
    2014, "Intriguing Properties of Neural Networks", "1312.6199", "ICLR 2014",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "cw", cw, _CARLINI, aliases=("carlini_wagner",)),
    Entry("attack", "ead", ead, _CHEN),
    Entry("attack", "lbfgs", lbfgs, _SZEGEDY, aliases=("l_bfgs",)),
    Entry("attack", "convex_surrogate", convex_surrogate, _CARLINI, aliases=("surrogate",)),
)
