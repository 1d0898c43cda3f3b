"""Training for several sets at once, and for the classes that are learned worst."""

from __future__ import annotations

from ironbound.core.catalogue import Entry, Paper
from ironbound.defenses.train.inner import Steps
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.defenses.train.objectives.union import MultiNorm
from ironbound.defenses.train.objectives.wrapped import Dro
from ironbound.defenses.train.training import Training


def multi_norm(epochs: int = 20) -> Training:
    """Against a union such as linf:0.3|l2:2|l1:20: how=worst, average, msd or e-at (Tramer, Boneh 2019, and later ones).

    Published, CIFAR-10 at linf:8/255|l2:0.5|l1:12, ResNet-18: how=msd, epochs=50, steps=50, batch=128, optimiser=sgd,
    rate=0.1, schedule=cyclic (Maini et al. 2020); how=e-at, epochs=80, steps=10, rate=0.05 (Croce, Hein 2022); MNIST at
    linf:0.3|l2:2|l1:10: how=worst or average, steps=40 to 100 (Tramer, Boneh 2019).
    """
    return Training(MultiNorm(Adversarial(Steps(7))), epochs, rate=3e-3)


def dro(epochs: int = 20) -> Training:
    """Classes (or samples) with large losses count more, so that the worst class gets better (Sagawa et al. 2020).

    Around adversarial training; base=trades or another one. Published for groups: eta=0.01, which is the default.
    """
    return Training(Dro(Adversarial(Steps(7))), epochs, rate=3e-3)


_TRAMER = Paper(
    ("Tramer, Florian", "Boneh, Dan"), 2019,
    "Adversarial Training and Robustness for Multiple Perturbations", "1904.13000", "NeurIPS 2019",
)  # fmt: skip
_SAGAWA = Paper(
    ("Sagawa, Shiori", "Koh, Pang Wei", "Hashimoto, Tatsunori B.", "Liang, Percy"), 2020,
    "Distributionally Robust Neural Networks for Group Shifts: On the Importance of Regularization for Worst-Case "
    "Generalization", "1911.08731", "ICLR 2020",
)  # fmt: skip

ENTRIES = (
    Entry("harden", "multi-norm", multi_norm, _TRAMER),
    Entry("harden", "dro", dro, _SAGAWA),
)
