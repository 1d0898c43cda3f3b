"""Attacks on tensors of real numbers within a ball. The set is given by the verb's `threat`, or by replace(set=...)."""

from __future__ import annotations

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.protocols import Budget, Want
from ironbound.goals import Untargeted
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct, Labels
from ironbound.searches.ascent import Ascent, Clean, Uniform
from ironbound.searches.boundary import HopSkipJump
from ironbound.searches.chance import Draws
from ironbound.searches.moves import Apgd, Momentum, Step


def noise(draws: int = 100) -> Attack:
    """Random points of the set; never a strong attack, always a sanity check.

    Cost: `draws` forward rows a problem. Paper: none is needed; checks.md 16 asks for it (Carlini et al. 2019, 1902.06705).
    """
    return Attack(TheThreat(), Untargeted(), Margin(), Draws(draws), Direct())


def fgsm() -> Attack:
    """One step to the edge of the set along the gradient's sign; exact on linear models, weak on others.

    Paper: Goodfellow, Shlens, Szegedy 2015, Explaining and Harnessing Adversarial Examples, arXiv 1412.6572, section 4.
    Cost: 2 forward, 1 backward row a problem.
    """
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), Ascent(1, Step(1.0, relative=True)), Direct())


def i_fgsm(steps: int = 10, step: float | None = None) -> Attack:
    """Small steps from the clean input, projected back each time; also called BIM.

    Paper: Kurakin, Goodfellow, Bengio 2017, Adversarial Examples in the Physical World, arXiv 1607.02533, section 2.2.
    `step` is in input units, the radius / steps by default. Cost: steps + 1 forward, steps backward rows a problem.
    """
    move = Step(step) if step is not None else Step(1 / max(steps, 1), relative=True)
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), Ascent(steps, move), Direct())


def mi_fgsm(steps: int = 10, step: float | None = None, decay: float = 1.0) -> Attack:
    """I-FGSM with momentum, made to transfer between models.

    Paper: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv 1710.06081, algorithm 1.
    """
    move = Momentum(step, decay) if step is not None else Momentum(1 / max(steps, 1), decay, relative=True)
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), Ascent(steps, move), Direct())


def pgd(steps: int = 40, step: float | None = None, restarts: int = 1, random_start: bool = True) -> Attack:
    """Projected gradient ascent on the cross-entropy from random starts: the field's workhorse.

    Paper: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv 1706.06083, section 2.1.
    `step` is in input units, 2.5 radius / steps by default (the authors' rule for L2 and Linf).
    Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    move = Step(step) if step is not None else Step(min(1.0, 2.5 / max(steps, 1)), relative=True)
    start = Uniform() if random_start else Clean()
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), Ascent(steps, move, start), Direct(), restarts=restarts)


def apgd(steps: int = 100, restarts: int = 1) -> Attack:
    """PGD on the cross-entropy whose step sizes adapt to each problem: no step size to tune.

    Paper: Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness, arXiv 2003.01690, algorithm 1.
    Differs: starts are uniform in the set, where the authors' code scales each to the sphere.
    Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    search = Ascent(steps, Apgd(), Uniform())
    return Attack(TheThreat(), Untargeted(), CrossEntropy(), search, Direct(), restarts=restarts)


def hopskipjump(queries: int = 5000, rounds: int = 64) -> Attack:
    """A decision-based attack: sees the predicted class only, looks for the smallest L2 change within the set.

    Paper: Chen, Jordan, Wainwright 2020, HopSkipJumpAttack, arXiv 1904.02144, algorithm 2.
    Cost: at most `queries` forward rows a problem.
    """
    search = HopSkipJump(rounds=rounds)
    return Attack(TheThreat(), Untargeted(), Margin(), search, Labels(), Want.SMALLEST, Budget(forward=queries))


_GOODFELLOW = Paper(
    ("Goodfellow, Ian J.", "Shlens, Jonathon", "Szegedy, Christian"),
    2015, "Explaining and Harnessing Adversarial Examples", "1412.6572", "ICLR 2015",
)  # fmt: skip
_KURAKIN = Paper(
    ("Kurakin, Alexey", "Goodfellow, Ian", "Bengio, Samy"),
    2017, "Adversarial Examples in the Physical World", "1607.02533", "ICLR 2017 Workshop",
)  # fmt: skip
_DONG = Paper(
    ("Dong, Yinpeng", "Liao, Fangzhou", "Pang, Tianyu", "Su, Hang", "Zhu, Jun", "Hu, Xiaolin", "Li, Jianguo"),
    2018, "Boosting Adversarial Attacks with Momentum", "1710.06081", "CVPR 2018",
)  # fmt: skip
MADRY = Paper(
    ("Madry, Aleksander", "Makelov, Aleksandar", "Schmidt, Ludwig", "Tsipras, Dimitris", "Vladu, Adrian"),
    2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", "1706.06083", "ICLR 2018",
)  # fmt: skip
_CROCE = Paper(
    ("Croce, Francesco", "Hein, Matthias"), 2020,
    "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks", "2003.01690", "ICML 2020",
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
    Entry("attack", "fgsm", fgsm, _GOODFELLOW),
    Entry("attack", "i_fgsm", i_fgsm, _KURAKIN, aliases=("bim",)),
    Entry("attack", "mi_fgsm", mi_fgsm, _DONG),
    Entry("attack", "pgd", pgd, MADRY),
    Entry("attack", "apgd", apgd, _CROCE),
    Entry("attack", "hopskipjump", hopskipjump, _CHEN),
)
