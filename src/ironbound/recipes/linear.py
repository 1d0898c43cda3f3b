"""Attacks that take the model for linear, step by step: DeepFool and what grew out of it. Give the set by `threat`."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Search, Want
from ironbound.goals import Untargeted
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.searches.linearise import DeepFool, SuperDeepFool
from ironbound.searches.sparsefool import SparseFool
from ironbound.searches.trust_region import TrustRegion


def _composed(search: Search) -> Attack:
    return Attack(TheThreat(), Untargeted(), Margin(), search, Direct(), Want.SMALLEST)


def deepfool(steps: int = 50, overshoot: float = 0.02) -> Attack:
    """A small change in Linf, L2 or L1 after few steps, each onto the nearest plane between two classes: quick, not minimal.

    Use it for a first idea of distances, or as a part of other attacks; superdeepfool comes nearer.
    Paper: Moosavi-Dezfooli, Fawzi, Frossard 2016, DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks, arXiv
    1511.04599, algorithm 2. Differs: steps aim at the margin that the judge wants, stay within the box, and ask for the
    gradients of those classes only whose planes are near enough to be the nearest; ten classes at most are linearised.
    Cost: steps + 2 forward, 9 steps backward rows a problem at most, with ten classes; 4 and 13 on a small CIFAR-10 net.
    """
    return _composed(DeepFool(steps, overshoot))


def superdeepfool(searches: int = 10, steps: int = 50, overshoot: float = 0.02) -> Attack:
    """A smaller change than DeepFool's, for twice its passes: DeepFool, a step along the boundary's normal, a search back.

    Use it where distances are wanted and time is short; in L2 first of all.
    Paper: Abdolahpourrostam, Abroshan, Moosavi-Dezfooli 2023, SuperDeepFool: a New Fast and Accurate Minimal Adversarial
    Attack, arXiv 2303.12481, algorithm 2, SDF(inf, 1), with the sum of the steps as in the authors' code. Differs: as
    deepfool does; the final search interpolates in 6 looks where the authors bisect in 10.
    Cost: searches (steps + 1) + 7 forward and 9 searches steps backward rows a problem at most; 13 and 21 on a small
    CIFAR-10 net.
    """
    return _composed(SuperDeepFool(searches, DeepFool(steps, overshoot)))


def trust_region(steps: int = 100, radius: float = 0.1) -> Attack:
    """A small change in Linf or L2 by short steps towards one class, longer where the model proves to be nearly linear.

    Use it as superdeepfool; it has but one gradient a step after the first, however many classes there are.
    Paper: Yao, Gholami, Xu, Keutzer, Mahoney 2019, Trust Region Based Adversarial Attack on Neural Networks, arXiv
    1812.06371, algorithm 1, adaptive. Differs: `radius`, the first, is a share of the distance to the nearest plane at x,
    and has no bounds, where the authors give numbers in input units.
    Cost: steps + 2 forward and steps + 8 backward rows a problem at most, with ten classes; 9 and 16 on a small CIFAR-10 net.
    """
    return _composed(TrustRegion(steps, radius))


def sparsefool(searches: int = 20, steps: int = 50, ahead: float = 1.5) -> Attack:
    """Few values changed, in L0 (pixels or coordinates, as the set says) or L1: a linear solver crosses DeepFool's boundary.

    Use it for a first idea of sparse robustness. `ahead` (the authors' lambda) trades values for rounds.
    Paper: Modas, Moosavi-Dezfooli, Frossard 2019, SparseFool: a Few Pixels Make a Big Difference, arXiv 1811.02248,
    algorithms 1 and 2. Differs: `ahead` is 1.5, the authors' 3 for small images and 1 for large ones.
    Cost: at most searches (steps + 1) + 1 forward and 9 searches steps backward rows a problem; 9 and 31 on a small
    CIFAR-10 net.
    """
    return _composed(SparseFool(searches, ahead, walk=DeepFool(steps)))


_MOOSAVI = Paper(
    ("Moosavi-Dezfooli, Seyed-Mohsen", "Fawzi, Alhussein", "Frossard, Pascal"), 2016,
    "DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks", "1511.04599", "CVPR 2016",
)  # fmt: skip
_ABDOLAH = Paper(
    ("Abdolahpourrostam, Alireza", "Abroshan, Mahed", "Moosavi-Dezfooli, Seyed-Mohsen"), 2023,
    "SuperDeepFool: a New Fast and Accurate Minimal Adversarial Attack", "2303.12481",
)  # fmt: skip
_YAO = Paper(
    ("Yao, Zhewei", "Gholami, Amir", "Xu, Peng", "Keutzer, Kurt", "Mahoney, Michael W."), 2019,
    "Trust Region Based Adversarial Attack on Neural Networks", "1812.06371", "CVPR 2019",
)  # fmt: skip
_MODAS = Paper(
    ("Modas, Apostolos", "Moosavi-Dezfooli, Seyed-Mohsen", "Frossard, Pascal"), 2019,
    "SparseFool: a Few Pixels Make a Big Difference", "1811.02248", "CVPR 2019",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "deepfool", deepfool, _MOOSAVI),
    Entry("attack", "superdeepfool", superdeepfool, _ABDOLAH, aliases=("sdf",)),
    Entry("attack", "trust_region", trust_region, _YAO, aliases=("tr",)),
    Entry("attack", "sparsefool", sparsefool, _MODAS),
)
