"""Adversarial training for the price of one or two passes a sample, and the noise that it is more than."""

from __future__ import annotations

from ironbound.core.catalogue import Entry, Paper
from ironbound.defenses.train.inner import Steps
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.defenses.train.objectives.fast import Free, GradAlign
from ironbound.defenses.train.signs import Signs
from ironbound.defenses.train.training import Training


def fgsm_rs(epochs: int = 20) -> Training:
    """One step of 1.25 radii from a random start (Wong et al. 2020); overfits catastrophically at large radii.

    Published, CIFAR-10 at linf:8/255, PreAct-ResNet-18: epochs=15, batch=128, optimiser=sgd, rate=0.2, schedule=cyclic,
    weight_decay=5e-4.
    """
    return Training(Adversarial(Steps(1, share=1.25)), epochs, rate=3e-3)


def n_fgsm(epochs: int = 20) -> Training:
    """One step of one radius from noise of two radii, held by the range alone (de Jorge et al. 2022).

    Published, CIFAR-10 at linf:8/255, PreAct-ResNet-18: epochs=30, batch=128, optimiser=sgd, rate=0.2, schedule=cyclic,
    weight_decay=5e-4.
    """
    return Training(Adversarial(Steps(1, share=1.0, noise=2.0)), epochs, rate=3e-3)


def gradalign(epochs: int = 20) -> Training:
    """One step, with gradients made to point the same way in the whole set (Andriushchenko, Flammarion 2020).

    Published, CIFAR-10 at linf:8/255, PreAct-ResNet-18: epochs=30, weight=0.2, batch=128, optimiser=sgd, rate=0.3,
    schedule=cyclic, weight_decay=5e-4.
    """
    return Training(GradAlign(), epochs, rate=3e-3)


def free(epochs: int = 10) -> Training:
    """Each batch several times, with one backward pass for weights and inputs (Shafahi et al. 2019).

    Published, CIFAR-10 at linf:8/255, WRN-32-10: repeats=8, epochs=25, batch=128, optimiser=sgd, rate=0.1,
    weight_decay=2e-4.
    """
    return Training(Free(), epochs, rate=3e-3)


def noise(epochs: int = 20) -> Training:
    """Inputs with random signs of one radius, as tutorials do: no defense, and here to be compared with one."""
    return Training(Adversarial(Signs()), epochs, rate=3e-3)


_WONG = Paper(
    ("Wong, Eric", "Rice, Leslie", "Kolter, J. Zico"), 2020,
    "Fast is better than free: Revisiting adversarial training", "2001.03994", "ICLR 2020",
)  # fmt: skip
_JORGE = Paper(
    ("de Jorge, Pau", "Bibi, Adel", "Volpi, Riccardo", "Sanyal, Amartya", "Torr, Philip H. S.", "Rogez, Gregory",
     "Dokania, Puneet K."), 2022,
    "Make Some Noise: Reliable and Efficient Single-Step Adversarial Training", "2202.01181", "NeurIPS 2022",
)  # fmt: skip
_ANDRIUSHCHENKO = Paper(
    ("Andriushchenko, Maksym", "Flammarion, Nicolas"), 2020,
    "Understanding and Improving Fast Adversarial Training", "2007.02617", "NeurIPS 2020",
)  # fmt: skip
_SHAFAHI = Paper(
    ("Shafahi, Ali", "Najibi, Mahyar", "Ghiasi, Amin", "Xu, Zheng", "Dickerson, John", "Studer, Christoph",
     "Davis, Larry S.", "Taylor, Gavin", "Goldstein, Tom"), 2019,
    "Adversarial Training for Free!", "1904.12843", "NeurIPS 2019",
)  # fmt: skip

ENTRIES = (
    Entry("harden", "fgsm-rs", fgsm_rs, _WONG, aliases=("fast",)),
    Entry("harden", "n-fgsm", n_fgsm, _JORGE),
    Entry("harden", "gradalign", gradalign, _ANDRIUSHCHENKO),
    Entry("harden", "free", free, _SHAFAHI),
    Entry("harden", "noise", noise, None),
)
