"""Attacks that change few pixels or coordinates: for L0 balls, `threat="l0:5"`, or `"l0:inf"` for the smallest number."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Want
from ironbound.goals import Untargeted
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct
from ironbound.searches.ascent import Ascent
from ironbound.searches.greedy import Greedy
from ironbound.searches.moves.sigma import SigmaZero
from ironbound.searches.saliency import Saliency
from ironbound.searches.vfga import Voting


def jsma(theta: float = 1.0, gamma: float = 0.145, maximal: bool = False, probabilities: bool = False) -> Attack:
    """Two features at a time by the Jacobian's saliency map, until it works: the first sparse attack, to compare with.

    `theta` is added to each, in widths of the model's range (below 0: decreasing); at most the share `gamma` of the
    coordinates is changed, and no more pixels than the radius allows. Without a target it leads away from the label
    (NT-JSMA); `maximal` tries every class and both directions at each step (M-JSMA). `probabilities`: derivatives of these
    and not of logits, which needs fewer pixels.
    When to use it: for figures beside published ones. `sigma_zero` and `greedy_l0` need fewer pixels.

    Paper: Papernot, McDaniel, Jha, Fredrikson, Celik, Swami 2016, The Limitations of Deep Learning in Adversarial
    Settings, arXiv 1511.07528, algorithms 2 and 3; without a target: Wiyatno, Xu 2018, Maximal Jacobian-based Saliency Map
    Attack, arXiv 1808.07945.
    Differs: the number of steps is rounded up; where the radius leaves room for one pixel
    the best single feature is changed. M-JSMA goes on from a feature in the direction that is best, without the paper's
    memory of oscillations, since features at an end of the box move no more.
    Cost: at most gamma d / 2 + 1 forward and gamma d backward rows a problem with d values (`probabilities`: half of these);
    `maximal`: classes + 1 backward rows a step.
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Saliency(theta, gamma, maximal, probabilities), Direct())


def sigma_zero(steps: int = 1000, sigma: float = 1e-3, threshold: float = 0.3) -> Attack:
    """The fewest pixels, by gradient descent on a smooth count of them: the strongest sparse attack for its passes.

    When to use it: first, for distances in L0 and for L0 balls; a few hundred steps mostly do.
    Paper: Cina, Villani, Pintor, Schonherr, Biggio, Pelillo 2025, sigma-zero: Gradient-based Optimization of l0-norm
    Adversarial Examples, arXiv 2402.01879, algorithm 1.
    Differs: changes are counted in widths of the model's range; of images with channels pixels are counted, where the set
    does so; targets are allowed; the last point is looked at, too.
    Cost: steps + 1 forward, steps backward rows a problem.
    """
    search = Ascent(steps, SigmaZero(sigma=sigma, threshold=threshold))
    return Attack(TheThreat(), Untargeted(), Margin(), search, Direct(), Want.SMALLEST)


def vfga(steps: int | None = None, draws: int = 10) -> Attack:
    """One pixel a step, by a vote among random changes of the two that the gradient names: few settings, many passes.

    `steps` is how many pixels it changes at most; None: as many as the set allows.
    When to use it: beside `sigma_zero`, where full changes of pixels overshoot. A problem that fails costs 20 rows a pixel.
    Paper: Hajri, Cesaire, Combey, Lamprier, Gallinari 2020, Stochastic Sparse Adversarial Attacks, arXiv 2011.12423,
    algorithm 3 (VFGA).
    Differs: it climbs the goal's cross-entropy, whose gradient points where that of the probability does and does not
    vanish with it; a side to which no gradient points is not tried; of images with channels whole pixels are drawn, where
    the set counts these.
    Cost: 1 + 2 draws forward and 1 backward row a pixel.
    """
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), Voting(steps, draws), Direct(), Want.SMALLEST)


def greedy_l0(steps: int = 100, share: float = 0.5) -> Attack:
    """Pixels with the largest gains go to the ends of the box, those not needed go back, then exchanges: cheap and strong.

    When to use it: for L0 balls beside `sigma_zero`, whose failures are others; with 20 steps for a first look.
    Paper: none has just this. Croce, Hein 2019, Sparse and Imperceivable Adversarial Attacks, arXiv 1909.05040, section 3,
    ranks changes of single pixels to the corners of the box (CornerSearch, by the model's answers) and projects onto L0
    (PGD0); here the gradient ranks, and pixels go back as well.
    Cost: steps + 1 forward, steps backward rows a problem.
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Greedy(steps, share), Direct(), Want.SMALLEST)


_PAPERNOT = Paper(
    ("Papernot, Nicolas", "McDaniel, Patrick", "Jha, Somesh", "Fredrikson, Matt", "Celik, Z. Berkay", "Swami, Ananthram"),
    2016, "The Limitations of Deep Learning in Adversarial Settings", "1511.07528", "IEEE EuroS&P 2016",
)  # fmt: skip
_CINA = Paper(
    ("Cina, Antonio Emanuele", "Villani, Francesco", "Pintor, Maura", "Schonherr, Lea", "Biggio, Battista",
     "Pelillo, Marcello"),
    2025, "sigma-zero: Gradient-based Optimization of l0-norm Adversarial Examples", "2402.01879", "ICLR 2025",
)  # fmt: skip
_HAJRI = Paper(
    ("Hajri, Hatem", "Cesaire, Manon", "Combey, Theo", "Lamprier, Sylvain", "Gallinari, Patrick"),
    2020, "Stochastic Sparse Adversarial Attacks", "2011.12423",
)  # fmt: skip
_CROCE = Paper(
    ("Croce, Francesco", "Hein, Matthias"),
    2019,
    "Sparse and Imperceivable Adversarial Attacks",
    "1909.05040",
    "ICCV 2019",
)

ENTRIES = (
    Entry("attack", "jsma", jsma, _PAPERNOT),
    Entry("attack", "sigma_zero", sigma_zero, _CINA),
    Entry("attack", "vfga", vfga, _HAJRI),
    Entry("attack", "greedy_l0", greedy_l0, _CROCE, aliases=("greedy",)),
)
