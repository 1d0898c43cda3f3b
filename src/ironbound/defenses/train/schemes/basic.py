"""The plain training, adversarial training and training by bounds."""

from __future__ import annotations

from ironbound.certification.catalogue import GOWAL
from ironbound.core.catalogue import Entry
from ironbound.defenses.train.inner import Steps
from ironbound.defenses.train.objectives.adversarial import Adversarial, Standard
from ironbound.defenses.train.objectives.certified import Ibp
from ironbound.defenses.train.training import Training
from ironbound.recipes.gradient import MADRY


def standard(epochs: int = 10) -> Training:
    """Plain training: no defense, and what defenses are compared with."""
    return Training(Standard(), epochs, rate=3e-3)


def pgd(epochs: int = 20) -> Training:
    """Adversarial training with seven steps from a random start (Madry et al. 2018, arXiv 1706.06083)."""
    return Training(Adversarial(Steps(7)), epochs, rate=3e-3)


def ibp(epochs: int = 40) -> Training:
    """Certified training by interval bounds; the ramp is over after six tenths of the epochs (Gowal et al. 2018).

    Weights are drawn anew (Shi et al. 2021): interval bounds of a net trained otherwise say nothing at first.
    """
    return Training(Ibp(warmup=0.05 * epochs, ramp=0.55 * epochs, init="ibp"), epochs, rate=3e-3, clip=10.0)


ENTRIES = (
    Entry("harden", "standard", standard, None),
    Entry("harden", "pgd", pgd, MADRY),
    Entry("harden", "ibp", ibp, GOWAL),
)
