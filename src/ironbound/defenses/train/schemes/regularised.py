"""Adversarial training that also looks at the clean answer, and around it adversarial weights."""

from __future__ import annotations

from ironbound.core.catalogue import Entry, Paper
from ironbound.defenses.train.inner import Steps
from ironbound.defenses.train.objectives.adversarial import Adversarial
from ironbound.defenses.train.objectives.regularised import Alp, Mart, Trades
from ironbound.defenses.train.objectives.wrapped import Awp
from ironbound.defenses.train.training import Training
from ironbound.recipes.gradient import ZHANG


def trades(epochs: int = 20) -> Training:
    """Accuracy traded for robustness by beta: the divergence from the clean answer is made small (Zhang et al. 2019).

    Published, CIFAR-10 at linf:0.031, WRN-34-10: epochs=100, beta=6, steps=10, step=0.007, batch=128, optimiser=sgd, rate=0.1
    (a tenth at epochs 75 and 90), weight_decay=2e-4; MNIST at linf:0.3: steps=40, step=0.01, beta=1, rate=0.01.
    """
    return Training(Trades(), epochs, rate=3e-3)


def mart(epochs: int = 20) -> Training:
    """Samples that are misclassified when clean count more (Wang et al. 2020).

    Published, CIFAR-10 at linf:8/255, ResNet-18: epochs=120, beta=5, steps=10, step=0.007, batch=128, optimiser=sgd,
    rate=0.01 (a tenth at epochs 75 and 90), weight_decay=3.5e-3; WRN-34-10: beta=6, rate=0.1, weight_decay=7e-4.
    """
    return Training(Mart(), epochs, rate=3e-3)


def alp(epochs: int = 20) -> Training:
    """Logits of clean and attacked inputs are paired (Kannan et al. 2018); known to mask gradients: audit it.

    Published, MNIST at linf:0.3: steps=40, step=0.01; ImageNet at linf:16/255: weight=0.5, steps=10, step=2/255.
    """
    return Training(Alp(), epochs, rate=3e-3)


def awp(epochs: int = 20) -> Training:
    """Inputs and weights are attacked, which flattens the loss and narrows the robust generalisation gap (Wu et al. 2020).

    Published, CIFAR-10 at linf:8/255, PreAct-ResNet-18: epochs=200, gamma=0.01, steps=10, step=2/255, batch=128,
    optimiser=sgd, rate=0.1 (a tenth at epochs 100 and 150), weight_decay=5e-4; base=trades with gamma=0.005.
    """
    return Training(Awp(Adversarial(Steps(7))), epochs, rate=3e-3)


_WANG = Paper(
    ("Wang, Yisen", "Zou, Difan", "Yi, Jinfeng", "Bailey, James", "Ma, Xingjun", "Gu, Quanquan"), 2020,
    "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", "", "ICLR 2020",
)  # fmt: skip
_KANNAN = Paper(
    ("Kannan, Harini", "Kurakin, Alexey", "Goodfellow, Ian"), 2018, "Adversarial Logit Pairing", "1803.06373"
)
_WU = Paper(
    ("Wu, Dongxian", "Xia, Shu-Tao", "Wang, Yisen"), 2020,
    "Adversarial Weight Perturbation Helps Robust Generalization", "2004.05884", "NeurIPS 2020",
)  # fmt: skip

ENTRIES = (
    Entry("harden", "trades", trades, ZHANG),
    Entry("harden", "mart", mart, _WANG),
    Entry("harden", "alp", alp, _KANNAN, aliases=("logit-pairing",)),
    Entry("harden", "awp", awp, _WU),
)
