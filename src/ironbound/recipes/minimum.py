"""Minimum-norm attacks by steps of fixed cost: the smallest change that misleads the model, within the set where that ends.

The threat names the norm: L2() looks for the smallest Euclidean change, L2(0.5) for the smallest of at most 0.5. None of
them draws, so that a run is a function of model and input alone.
"""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Objective, Want
from ironbound.goals import Untargeted
from ironbound.objectives import CrossEntropy, Dlr, Margin
from ironbound.oracles import Direct
from ironbound.searches.minimum import Closing
from ironbound.searches.moves import Alma, Ddn, Fmn, Pdpgd


def _closing(
    steps: int, move: Alma | Ddn | Fmn | Pdpgd, objective: Objective | None = None, looks: int | None = None
) -> Attack:
    objective = Margin() if objective is None else objective
    search = Closing(steps, move, steps // 6 if looks is None else looks)
    return Attack(TheThreat(), Untargeted(), objective, search, Direct(), Want.SMALLEST)


def ddn(steps: int = 100) -> Attack:
    """A small L2 change at little cost: the direction follows the gradient, the norm only success. For training, too.

    Paper: Rony et al. 2019, Decoupling Direction and Norm, arXiv 1811.09600, algorithm 1, on the cross-entropy. Differs: gamma
    falls with the step, from 0.1 to 0.001 (constant 0.05), the first step is 2 (1), and values are not rounded to 256 levels.
    Cost: at most steps forward and 70% of them backward rows a problem: the last 30% only go back towards the input.
    """
    return _closing(steps, Ddn(), CrossEntropy(), steps * 3 // 10)


def fmn(steps: int = 100) -> Attack:
    """The smallest change in L0, L1, L2 or Linf at little cost: the first minimum-norm attack to try.

    Paper: Pintor et al. 2021, Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints, arXiv 2102.12827,
    algorithm 1. Differs: steps are long and measured in radii; the ball grows until there is a witness, which the published
    estimate often does not find on images with many values at the ends of their range (see moves/fmn.py).
    Cost: at most steps forward and 65% of them backward rows a problem: the last 35% only go back towards the input.
    """
    return _closing(steps, Fmn(), looks=steps * 7 // 20)


def alma(steps: int = 200) -> Attack:
    """A small L2 or L1 change by an augmented Lagrangian: slower than fmn, and another way to the same end.

    Paper: Rony et al. 2021, Augmented Lagrangian Adversarial Attacks, arXiv 2011.11857, algorithm 1, penalty P2, on DLR.
    Differs: constraint, penalty and steps are measured in the linearised distance to the boundary (see moves/alma.py), and the
    last sixth of the points looks back towards the input.
    Cost: steps forward, steps - 1 backward rows a problem.
    """
    return _closing(steps, Alma(), Dlr())


def pdpgd(steps: int = 200) -> Attack:
    """A small change in L0, L1, L2 or Linf by primal and dual steps: another way to the end that fmn serves.

    Paper: Matyasko, Chau 2021, PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack, arXiv 2106.01538, algorithm 1.
    Differs: the proximal operator is exact in Adam's metric, and multipliers and steps are measured in the linearised distance
    to the boundary (see moves/pdpgd.py); the last sixth of the points looks back towards the input.
    Cost: steps forward, steps - 1 backward rows a problem.
    """
    return _closing(steps, Pdpgd())


_DDN = Paper(
    ("Rony, Jerome", "Hafemann, Luiz G.", "Oliveira, Luiz S.", "Ben Ayed, Ismail", "Sabourin, Robert", "Granger, Eric"), 2019,
    "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and Defenses", "1811.09600", "CVPR 2019",
)  # fmt: skip
_FMN = Paper(
    ("Pintor, Maura", "Roli, Fabio", "Brendel, Wieland", "Biggio, Battista"), 2021,
    "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints", "2102.12827", "NeurIPS 2021",
)  # fmt: skip
_ALMA = Paper(
    ("Rony, Jerome", "Granger, Eric", "Pedersoli, Marco", "Ben Ayed, Ismail"), 2021,
    "Augmented Lagrangian Adversarial Attacks", "2011.11857", "ICCV 2021",
)  # fmt: skip
_PDPGD = Paper(
    ("Matyasko, Alexander", "Chau, Lap-Pui"), 2021,
    "PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack", "2106.01538",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "ddn", ddn, _DDN),
    Entry("attack", "fmn", fmn, _FMN),
    Entry("attack", "alma", alma, _ALMA),
    Entry("attack", "pdpgd", pdpgd, _PDPGD),
)
