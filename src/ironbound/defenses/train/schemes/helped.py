"""Trainings that learn from more than the labelled data: other models, a teacher, unlabelled inputs, another task."""

from __future__ import annotations

from ironbound.core.catalogue import Entry, Paper
from ironbound.defenses.train.earlier import Earlier
from ironbound.defenses.train.objectives.distillation import DefensiveDistillation, Distill
from ironbound.defenses.train.objectives.started import Started
from ironbound.defenses.train.objectives.transferred import Augmented, Transferred
from ironbound.defenses.train.objectives.unlabelled import Unlabelled
from ironbound.defenses.train.training import Training

TRAMER = Paper(
    ("Tramèr, Florian", "Kurakin, Alexey", "Papernot, Nicolas", "Goodfellow, Ian", "Boneh, Dan", "McDaniel, Patrick"),
    2018, "Ensemble Adversarial Training: Attacks and Defenses", "1705.07204",
)  # fmt: skip
SZEGEDY = Paper(
    ("Szegedy, Christian", "Zaremba, Wojciech", "Sutskever, Ilya", "Bruna, Joan", "Erhan, Dumitru", "Goodfellow, Ian",
     "Fergus, Rob"),
    2014, "Intriguing properties of neural networks", "1312.6199",
)  # fmt: skip
CARMON = Paper(
    ("Carmon, Yair", "Raghunathan, Aditi", "Schmidt, Ludwig", "Liang, Percy", "Duchi, John C."),
    2019, "Unlabeled Data Improves Adversarial Robustness", "1905.13736",
)  # fmt: skip
ZI = Paper(
    ("Zi, Bojia", "Zhao, Shihao", "Ma, Xingjun", "Jiang, Yu-Gang"),
    2021, "Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make Student Better", "2108.07969",
)  # fmt: skip
PAPERNOT = Paper(
    ("Papernot, Nicolas", "McDaniel, Patrick", "Wu, Xi", "Jha, Somesh", "Swami, Ananthram"),
    2016, "Distillation as a Defense to Adversarial Perturbations against Deep Neural Networks", "1511.04508",
)  # fmt: skip
SHAFAHI = Paper(
    ("Shafahi, Ali", "Saadatpanah, Parsa", "Zhu, Chen", "Ghiasi, Amin", "Studer, Christoph", "Jacobs, David",
     "Goldstein, Tom"),
    2020, "Adversarially Robust Transfer Learning", "1905.08232",
)  # fmt: skip


def ensemble(epochs: int = 20) -> Training:
    """Training on examples transferred from held-out models, mixed with clean inputs (Tramèr et al. 2018).

    Published: on MNIST 6 or 12 epochs with sources of other architectures (given by models=) and attacks=("fgsm",); on
    ImageNet attacks=("fgsm", "r-fgsm", "step-ll", "i-fgsm") with three to four Inception nets as the sources.
    """
    return Training(Transferred(), epochs, rate=3e-3)


def augment(epochs: int = 20) -> Training:
    """Adversarial examples of a plainly trained model, made once and added to the data (after Szegedy et al. 2014)."""
    return Training(Augmented(), epochs, rate=3e-3)


def semi_supervised(epochs: int = 40) -> Training:
    """Adversarial training on unlabelled inputs as well, with pseudo-labels (RST) or the model's own answers (UAT).

    An epoch is one pass over the labelled inputs, and with few of them 20 epochs of the plain teacher are few updates: give
    more earlier_epochs, or a trained teacher. The net of pgd on the same labels taught better (docs/numbers.md).

    Published for CIFAR-10 with 500,000 further images (Carmon et al. 2019): a WRN-28-10, base trades, targets fixed, batch
    128 with ratio 1 (so 256 rows), sgd at rate 0.1 with the cosine schedule, weight_decay 5e-4, 200 epochs of the labelled
    data, and a teacher trained for 200 epochs. UAT++ (Alayrac, Uesato et al. 2019, arXiv 1905.13725): targets both.
    """
    return Training(Unlabelled(), epochs, rate=3e-3)


def distill(epochs: int = 20) -> Training:
    """A small student learns from a robust teacher at attacked inputs: RSLAD, or ARD by kind="ard".

    Published for CIFAR-10 with a WRN-34-10 as teacher and a ResNet-18 or MobileNetV2 as student: RSLAD (Zi et al. 2021)
    steps=10, batch 128, sgd at rate 0.1, weight_decay 2e-4, 300 epochs; ARD (Goldblum et al. 2020, arXiv 1905.09747)
    kind="ard", alpha=1, temperature=30, steps=10, batch 128, sgd at rate 0.1, weight_decay 2e-4, 200 epochs.
    """
    return Training(Distill(), epochs, rate=3e-3)


def defensive_distillation(epochs: int = 20) -> Training:
    """A student on a teacher's soft labels at a high temperature: no protection, for comparison (Papernot et al. 2016).

    The teacher is trained for as many epochs, unless earlier_epochs says otherwise. Published: temperature=20 on MNIST,
    50 epochs of sgd with batches of 128 (section V); temperatures from 1 to 100 are compared there.
    """
    return Training(DefensiveDistillation(earlier=Earlier(epochs)), epochs, rate=3e-3)


def robust_transfer(epochs: int = 20) -> Training:
    """A robust model of another task as the start: its features, fine-tuned or frozen, and a new head (Shafahi et al. 2020).

    The rate is a tenth of that of a training from scratch, so that features stay near those that it starts from: at the full
    one it gained less on MNIST and nothing on small digits (docs/numbers.md). A head alone (frozen=True) needs rate=3e-3.

    Published: frozen=True with base="standard" (the head alone, on clean inputs); Salman et al. 2020 (arXiv 2007.08489)
    for ImageNet to twelve tasks: sgd, batch 64, rate 0.01 (frozen) or 0.001 to 0.01, weight_decay 5e-4, 150 epochs.
    """
    return Training(Started(), epochs, rate=3e-4)


ENTRIES = (
    Entry("harden", "ensemble", ensemble, TRAMER),
    Entry("harden", "augment", augment, SZEGEDY),
    Entry("harden", "semi-supervised", semi_supervised, CARMON),
    Entry("harden", "distill", distill, ZI),
    Entry("harden", "defensive-distillation", defensive_distillation, PAPERNOT),
    Entry("harden", "robust-transfer", robust_transfer, SHAFAHI),
)
