"""Attacks with one point for many inputs: universal perturbations and patches. Fitted on some, measured on others."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.errors import UsageError
from ironbound.core.protocols import Want
from ironbound.goals import Untargeted
from ironbound.objectives import Clipped, CrossEntropy, Margin
from ironbound.oracles import Direct
from ironbound.searches.moves import Adam
from ironbound.searches.starts import Uniform
from ironbound.searches.universal import DeepFoolInTurn, Minibatches

CLIP = 9.0
"""Nats, of one input."""


def universal(
    by: str = "sgd", steps: int = 400, batch: int = 64, step: float = 0.1, share: float = 0.8, passes: int = 5
) -> Attack:
    """One perturbation that fools the model on most inputs: an attacker need not see the input beforehand.

    `by="sgd"`: ascent on the clipped cross-entropy of minibatches, `step` in radii; untargeted and targeted. Shafahi, Najibi,
    Xu, Dickerson, Davis, Goldstein 2020, Universal Adversarial Training, arXiv 1811.11304, algorithm 1 with Adam. Differs:
    Adam is given the steepest direction (signs in Linf). `by="deepfool"`: as published by Moosavi-Dezfooli, Fawzi, Fawzi,
    Frossard 2017, Universal adversarial perturbations, arXiv 1610.08401, algorithm 1, untargeted, for comparison: slower and
    weaker. A threat such as linf:10/255 means Universal(Linf(10/255)): use Universal(ball, groups=y) for one a class. Success
    is to work on `share` of the inputs; the result keeps what works on most. Measure it on others: ironbound.measure.
    Cost for all inputs together: sgd steps * batch forward and backward, and 5 forward an input. deepfool at most `passes`
    times 22 forward and 100 backward an input, mostly a tenth of it.
    """
    if by == "sgd":
        objective = Clipped(CrossEntropy(), CLIP)
        search = Minibatches(steps, Adam(step, relative=True), batch)
        return Attack(TheThreat(), Untargeted(), objective, search, Direct(), Want.STRONGEST, share=share)
    if by != "deepfool":
        raise UsageError(f'universal is found by="sgd" or by="deepfool"; got {by!r}.')
    passing = DeepFoolInTurn(passes, share)
    return Attack(TheThreat(), Untargeted(), Margin(), passing, Direct(), Want.STRONGEST, share=share)


def patch(steps: int = 500, batch: int = 64, step: float = 0.05, share: float = 0.5, printable: float = 0.0) -> Attack:
    """A patch that fools the model wherever it is pasted: what an attacker can print and put into the scene.

    Needs a Patch as the threat: ib.Patch(area=0.1), which also says what is drawn (place, scale, rotation, light). Ascent on
    the cross-entropy of minibatches, each image with the patch at a place of its own; targeted and untargeted.
    Brown, Mane, Roy, Abadi, Gilmer 2017, Adversarial Patch, arXiv 1712.09665, equation 1, by Adam on signs. With colours
    that can be printed the walk is among all, `printable` weighs the score of Sharif et al. 2016, and what is judged has the
    nearest given colours. Success is to work on `share` of the images, each at a fresh place. Measure it on others:
    ironbound.measure. Cost for all images together: steps * batch forward and backward, and 6 forward an image at most.
    """
    move = Adam(step, relative=True)
    search = Minibatches(steps, move, batch, start=Uniform(), printable=printable, lifted=False)
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), search, Direct(), Want.STRONGEST, share=share)


_SHAFAHI = Paper(
    ("Shafahi, Ali", "Najibi, Mahyar", "Xu, Zheng", "Dickerson, John", "Davis, Larry S.", "Goldstein, Tom"),
    2020, "Universal Adversarial Training", "1811.11304", "AAAI 2020",
)  # fmt: skip
_BROWN = Paper(
    ("Brown, Tom B.", "Mane, Dandelion", "Roy, Aurko", "Abadi, Martin", "Gilmer, Justin"),
    2017, "Adversarial Patch", "1712.09665",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "universal", universal, _SHAFAHI, aliases=("uap",)),
    Entry("attack", "patch", patch, _BROWN),
)
