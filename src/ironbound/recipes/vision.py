"""Attacks on tensors of real numbers within a ball. The set is given by the verb's `threat`, or by replace(set=...)."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Budget, Want
from ironbound.goals import Untargeted
from ironbound.objectives import Margin, TargetMargin
from ironbound.oracles import Direct, Labels
from ironbound.recipes.gradient import CROCE, apgd, fgsm, i_fgsm, mi_fgsm, pgd  # noqa: F401 - found here too
from ironbound.recipes.gradient import ENTRIES as GRADIENT
from ironbound.searches.boundary import HopSkipJump
from ironbound.searches.chance import Draws
from ironbound.searches.exhaustive import Exhaustive
from ironbound.searches.fab import Fab
from ironbound.searches.guided import Aimed, Likely
from ironbound.searches.square import Square


def noise(draws: int = 100) -> Attack:
    """Random points of the set; never a strong attack, always a sanity check.

    Cost: `draws` forward rows a problem. Paper: none is needed; checks.md 16 asks for it (Carlini et al. 2019, 1902.06705).
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Draws(draws), Direct())


def exhaustive(block: int = 32) -> Attack:
    """Every point of a finite set, `block` at a time: what it does not break cannot be broken within the set.

    Paper: Engstrom et al. 2019, Exploring the Landscape of Spatial Robustness, arXiv 1712.02779, section 3 (grid search).
    Cost: at most the set's points forward rows a problem.
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Exhaustive(block), Direct())


def fab(steps: int = 100, restarts: int = 1) -> Attack:
    """The smallest change in Linf, L2 or L1 by steps along the boundary, towards the nearest of ten classes.

    Paper: Croce, Hein 2020, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv 1907.02044,
    algorithm 1. Differs: of models with more than ten classes the label and the nine likeliest others are linearised.
    Cost of each restart: 2 steps + 4 forward, 10 steps backward rows a problem. With many classes use fab_targeted.
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Fab(steps, restarts), Direct(), Want.SMALLEST)


def fab_targeted(steps: int = 100, targets: int = 9, restarts: int = 1) -> Attack:
    """FAB towards each of the likeliest classes in turn: one gradient a step, however many classes there are.

    Paper: Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness, arXiv 2003.01690, section 5 (FAB-T).
    Cost of each restart: targets (2 steps + 4) forward, targets * steps backward rows a problem.
    """
    search = Aimed(Fab(steps, restarts, towards=True), TargetMargin(), Likely(targets))
    return Attack(TheThreat(), Untargeted(), Margin(), search, Direct(), Want.SMALLEST)


def square(queries: int = 5000, restarts: int = 1, rescaled: bool = True) -> Attack:
    """Random search by square windows in a Linf, L2 or L1 ball: sees scores only, needs no gradient.

    Paper: Andriushchenko, Croce, Flammarion, Hein 2020, Square Attack, arXiv 1912.00049, algorithms 1 to 3; L1: Croce, Hein
    2021, Mind the Box, arXiv 2103.01208. The margin is climbed, as in AutoAttack, which has not `rescaled` the schedule of
    window sizes to the number of queries.
    Cost: at most restarts * queries forward rows a problem.
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Square(queries, rescaled=rescaled), Direct(), restarts=restarts)


def hopskipjump(queries: int = 5000, rounds: int = 64) -> Attack:
    """A decision-based attack: sees the predicted class only, looks for the smallest L2 change within the set.

    Paper: Chen, Jordan, Wainwright 2020, HopSkipJumpAttack, arXiv 1904.02144, algorithm 2.
    Cost: at most `queries` forward rows a problem.
    """
    search = HopSkipJump(rounds=rounds)
    return Attack(TheThreat(), Untargeted(), Margin(), search, Labels(), Want.SMALLEST, Budget(forward=queries))


_FAB = Paper(
    ("Croce, Francesco", "Hein, Matthias"), 2020,
    "Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack", "1907.02044", "ICML 2020",
)  # fmt: skip
_SQUARE = Paper(
    ("Andriushchenko, Maksym", "Croce, Francesco", "Flammarion, Nicolas", "Hein, Matthias"), 2020,
    "Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search", "1912.00049", "ECCV 2020",
)  # fmt: skip
_ENGSTROM = Paper(
    ("Engstrom, Logan", "Tran, Brandon", "Tsipras, Dimitris", "Schmidt, Ludwig", "Madry, Aleksander"),
    2019, "Exploring the Landscape of Spatial Robustness", "1712.02779", "ICML 2019",
)  # fmt: skip
_CHEN = Paper(
    ("Chen, Jianbo", "Jordan, Michael I.", "Wainwright, Martin J."),
    2020, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", "1904.02144", "IEEE S&P 2020",
)  # fmt: skip
_CARLINI = Paper(
    ("Carlini, Nicholas", "Athalye, Anish", "Papernot, Nicolas", "Brendel, Wieland", "Rauber, Jonas", "Tsipras, Dimitris",
     "Goodfellow, Ian", "Madry, Aleksander", "Kurakin, Alexey"),
    2019, "On Evaluating Adversarial Robustness", "1902.06705",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "noise", noise, _CARLINI),
    Entry("attack", "exhaustive", exhaustive, _ENGSTROM),
    *GRADIENT,
    Entry("attack", "fab", fab, _FAB),
    Entry("attack", "fab_targeted", fab_targeted, CROCE, aliases=("fab_t",)),
    Entry("attack", "square", square, _SQUARE),
    Entry("attack", "hopskipjump", hopskipjump, _CHEN),
)
