"""The gradient family: FGSM and what grew out of it. The set is given by the verb's `threat`, or by replace(set=...).

None of these knows the norm beforehand: steps are in radii unless given in input units, and on an L1 ball they are
sparse (searches/moves).
"""

from __future__ import annotations

from typing import Any

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.errors import UsageError
from ironbound.core.protocols import Objective, Search
from ironbound.goals import Untargeted
from ironbound.objectives import CrossEntropy, Dlr, Margin, ProbabilityMargin, TargetDlr
from ironbound.oracles import Direct
from ironbound.searches.ascent import Ascent, Clean, Corner, Gaussian, Nudged, Sparse, Uniform
from ironbound.searches.gama import Gama
from ironbound.searches.guided import Aimed, Away, Likely
from ironbound.searches.moves import Adam, Apgd, FrankWolfe, Momentum, Nesterov, Step, Vertex

LOSSES: dict[str, type[CrossEntropy | Dlr | Margin | ProbabilityMargin]] = {
    "ce": CrossEntropy,
    "dlr": Dlr,
    "margin": Margin,
    "probability": ProbabilityMargin,
}


def _composed(search: Search, objective: Objective | None = None, restarts: int = 1) -> Attack:
    objective = CrossEntropy() if objective is None else objective
    return Attack(TheThreat(), Untargeted(), objective, search, Direct(), restarts=restarts)


def _sized(step: float | None, share: float) -> dict[str, Any]:
    """A step in input units, or that share of the radius."""
    return {"size": share, "relative": True} if step is None else {"size": step}


# ------------------------------------------------------------------------------------------------- one step
def fgsm() -> Attack:
    """The point of the set where the gradient at the input leads farthest; exact on linear models, weak on others.

    In Linf the step along the gradient's sign; any norm. On L2, L1 and L0 balls the box is taken into account.
    Paper: Goodfellow, Shlens, Szegedy 2015, Explaining and Harnessing Adversarial Examples, arXiv 1412.6572, section 4.
    Cost: 2 forward, 1 backward row a problem.
    """
    return _composed(Ascent(1, Vertex()))


def r_fgsm(share: float = 0.5, restarts: int = 1) -> Attack:
    """A random step first, then one along the gradient with what is left of the radius: past gradients masked at the input.

    Paper: Tramer et al. 2018, Ensemble Adversarial Training: Attacks and Defenses, arXiv 1705.07204, section 4:
    x' = x + alpha sign(N(0, I)), then x' + (eps - alpha) sign(grad); `share` is alpha / eps, in [0, 1).
    Cost: restarts 2 forward, restarts 1 backward rows a problem.
    """
    if not 0 <= share < 1:
        raise UsageError(f"share is the random step's part of the radius, in [0, 1); got {share}.")
    return _composed(Ascent(1, Step(1 - share, relative=True), Nudged(share)), restarts=restarts)


# ------------------------------------------------------------------------------------------------- steps of fixed length
def i_fgsm(steps: int = 10, step: float | None = None) -> Attack:
    """Small steps from the clean input, projected back each time; also called BIM.

    Paper: Kurakin, Goodfellow, Bengio 2017, Adversarial Examples in the Physical World, arXiv 1607.02533, section 2.2.
    `step` is in input units, the radius / steps by default. Cost: steps + 1 forward, steps backward rows a problem.
    """
    return _composed(Ascent(steps, Step(**_sized(step, 1 / max(steps, 1)))))


def mi_fgsm(steps: int = 10, step: float | None = None, decay: float = 1.0) -> Attack:
    """I-FGSM with momentum, made to transfer between models.

    Paper: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv 1710.06081, algorithm 1.
    `step` is in input units, the radius / steps by default. Cost: steps + 1 forward, steps backward rows a problem.
    """
    return _composed(Ascent(steps, Momentum(decay=decay, **_sized(step, 1 / max(steps, 1)))))


def ni_fgsm(steps: int = 10, step: float | None = None, decay: float = 1.0) -> Attack:
    """MI-FGSM that takes its gradients ahead, where the momentum would lead: to transfer better still.

    Paper: Lin et al. 2020, Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks, arXiv 1908.06281,
    equations 6 to 8. `step` is in input units, the radius / steps by default.
    Cost: steps + 1 forward, steps backward rows a problem.
    """
    return _composed(Ascent(steps, Nesterov(decay=decay, **_sized(step, 1 / max(steps, 1)))))


def pgd(steps: int = 40, step: float | None = None, restarts: int = 1, random_start: bool = True) -> Attack:
    """Projected gradient ascent on the cross-entropy from random starts: the field's workhorse.

    Paper: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv 1706.06083, section 2.1;
    on L1 balls the sparse steps of Tramer, Boneh 2019, arXiv 1904.13000 (SLIDE).
    `step` is in input units, 2.5 radius / steps by default (the authors' rule for L2 and Linf).
    Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    start = Uniform() if random_start else Clean()
    return _composed(Ascent(steps, Step(**_sized(step, min(1.0, 2.5 / max(steps, 1)))), start), restarts=restarts)


def pgd_kl(steps: int = 10, step: float | None = None, restarts: int = 1) -> Attack:
    """PGD away from the clean answer, whatever the label: the inner attack of TRADES.

    Paper: Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy, arXiv 1901.08573,
    algorithm 1: from x + 0.001 N(0, I), up KL(p(x) || p(x')). `step` is in input units, a quarter of the radius by default.
    Cost: restarts (steps + 2) forward, restarts steps backward rows a problem.
    """
    search = Away(Ascent(steps, Step(**_sized(step, 0.25)), Gaussian(0.001)))
    return _composed(search, restarts=restarts)


def adam_pgd(steps: int = 50, step: float | None = None, restarts: int = 1, random_start: bool = True) -> Attack:
    """PGD with Adam's steps.

    Paper: Kingma, Ba 2015, Adam, arXiv 1412.6980; as an attack in Foolbox (Rauber et al. 2020, JOSS 5(53), 2607), whose
    steps and default these are: `step` is in input units, a fortieth of the radius by default, and moves each value by as
    much, whatever the norm. Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    start = Uniform() if random_start else Clean()
    return _composed(Ascent(steps, Adam(**_sized(step, 0.025)), start), restarts=restarts)


# ------------------------------------------------------------------------------------------------- without a step size
def frank_wolfe(steps: int = 40, momentum: float = 0.0, restarts: int = 1, random_start: bool = False) -> Attack:
    """Ever smaller parts of the way to the best point for the gradient: no projection and no step size.

    Paper: Chen, Zhou, Yi, Gu 2020, A Frank-Wolfe Framework for Efficient and Effective Adversarial Attacks, arXiv
    1811.10828, algorithm 1. Differs: the parts are 2 / (t + 2), and the momentum is 0 unless given (the paper has 0.99).
    Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    if not 0 <= momentum < 1:
        raise UsageError(f"momentum is the part of the former mean that is kept, in [0, 1); got {momentum}.")
    start = Uniform() if random_start else Clean()
    return _composed(Ascent(steps, FrankWolfe(momentum), start), restarts=restarts)


def gama_pgd(steps: int = 100, restarts: int = 1, weight: float = 50.0) -> Attack:
    """PGD on the margin in probabilities, led away from the clean answer at first: strong with a single restart.

    Paper: Sriramanan, Addepalli, Baburaj, Babu 2020, Guided Adversarial Attack for Evaluating and Enhancing Adversarial
    Defenses, arXiv 2011.14969, equation 3 and algorithm 1. `weight` is lambda, which falls to 0 over a quarter of the steps.
    Cost: restarts (steps + 2) forward, restarts steps backward rows a problem.
    """
    return _composed(Gama(steps, weight), ProbabilityMargin(), restarts)


def apgd(
    steps: int = 100, restarts: int = 1, loss: str = "ce", large_radii: bool = False, corners: bool = False
) -> Attack:
    """PGD whose step sizes adapt to each problem: no step size to tune. On L1 balls it is L1-APGD.

    `loss`: "ce" the cross-entropy, "dlr" the difference of logits ratio, "margin", or "probability" the margin in
    probabilities. `large_radii`, on L1 balls only: begin in balls of three and two radii, as AutoAttack does. `corners`, on Linf
    balls only: begin at random corners instead of anywhere, which finds more where gradients near the input mislead.

    Paper: Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness, arXiv 2003.01690, algorithm 1; L1: Croce, Hein
    2021, Mind the Box, arXiv 2103.01208.
    Differs: starts are uniform in the set (on L1 balls they are the authors'), where the authors' code scales each to the
    sphere. Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    if loss not in LOSSES:
        raise UsageError(f"loss is one of {', '.join(LOSSES)}; got {loss!r}.")
    return _composed(_adaptive(steps, large_radii, corners), LOSSES[loss](), restarts)


def apgd_targeted(steps: int = 100, targets: int = 9, restarts: int = 1, large_radii: bool = False) -> Attack:
    """APGD towards each of the likeliest other classes in turn, on targeted DLR; any wrong answer counts.

    Paper: Croce, Hein 2020, arXiv 2003.01690, section 5 and equation 7 (APGD-T). Of C classes there are C - 1 targets.
    Cost: restarts (1 + targets (steps + 1)) forward, restarts targets steps backward rows a problem.
    """
    return _composed(Aimed(_adaptive(steps, large_radii), TargetDlr(), Likely(targets)), restarts=restarts)


def _adaptive(steps: int, large_radii: bool, corners: bool = False) -> Ascent:
    times = 3.0 if large_radii else 1.0
    return Ascent(steps, Apgd(large_radii=large_radii), Corner(times) if corners else Sparse(times))


_GOODFELLOW = Paper(
    ("Goodfellow, Ian J.", "Shlens, Jonathon", "Szegedy, Christian"),
    2015, "Explaining and Harnessing Adversarial Examples", "1412.6572", "ICLR 2015",
)  # fmt: skip
_TRAMER = Paper(
    ("Tramer, Florian", "Kurakin, Alexey", "Papernot, Nicolas", "Goodfellow, Ian", "Boneh, Dan", "McDaniel, Patrick"),
    2018, "Ensemble Adversarial Training: Attacks and Defenses", "1705.07204", "ICLR 2018",
)  # fmt: skip
_KURAKIN = Paper(
    ("Kurakin, Alexey", "Goodfellow, Ian", "Bengio, Samy"),
    2017, "Adversarial Examples in the Physical World", "1607.02533", "ICLR 2017 Workshop",
)  # fmt: skip
_DONG = Paper(
    ("Dong, Yinpeng", "Liao, Fangzhou", "Pang, Tianyu", "Su, Hang", "Zhu, Jun", "Hu, Xiaolin", "Li, Jianguo"),
    2018, "Boosting Adversarial Attacks with Momentum", "1710.06081", "CVPR 2018",
)  # fmt: skip
_LIN = Paper(
    ("Lin, Jiadong", "Song, Chuanbiao", "He, Kun", "Wang, Liwei", "Hopcroft, John E."), 2020,
    "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks", "1908.06281", "ICLR 2020",
)  # fmt: skip
MADRY = Paper(
    ("Madry, Aleksander", "Makelov, Aleksandar", "Schmidt, Ludwig", "Tsipras, Dimitris", "Vladu, Adrian"),
    2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", "1706.06083", "ICLR 2018",
)  # fmt: skip
ZHANG = Paper(
    ("Zhang, Hongyang", "Yu, Yaodong", "Jiao, Jiantao", "Xing, Eric P.", "El Ghaoui, Laurent", "Jordan, Michael I."),
    2019, "Theoretically Principled Trade-off between Robustness and Accuracy", "1901.08573", "ICML 2019",
)  # fmt: skip
_KINGMA = Paper(
    ("Kingma, Diederik P.", "Ba, Jimmy"), 2015, "Adam: A Method for Stochastic Optimization", "1412.6980", "ICLR 2015"
)
_CHEN = Paper(
    ("Chen, Jinghui", "Zhou, Dongruo", "Yi, Jinfeng", "Gu, Quanquan"), 2020,
    "A Frank-Wolfe Framework for Efficient and Effective Adversarial Attacks", "1811.10828", "AAAI 2020",
)  # fmt: skip
_SRIRAMANAN = Paper(
    ("Sriramanan, Gaurang", "Addepalli, Sravanti", "Baburaj, Arya", "Babu, R. Venkatesh"), 2020,
    "Guided Adversarial Attack for Evaluating and Enhancing Adversarial Defenses", "2011.14969", "NeurIPS 2020",
)  # fmt: skip
CROCE = Paper(
    ("Croce, Francesco", "Hein, Matthias"), 2020,
    "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks", "2003.01690", "ICML 2020",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "fgsm", fgsm, _GOODFELLOW),
    Entry("attack", "r_fgsm", r_fgsm, _TRAMER, aliases=("rfgsm", "r+fgsm")),
    Entry("attack", "i_fgsm", i_fgsm, _KURAKIN, aliases=("bim", "ifgsm")),
    Entry("attack", "mi_fgsm", mi_fgsm, _DONG, aliases=("mifgsm",)),
    Entry("attack", "ni_fgsm", ni_fgsm, _LIN, aliases=("nifgsm",)),
    Entry("attack", "pgd", pgd, MADRY),
    Entry("attack", "pgd_kl", pgd_kl, ZHANG),
    Entry("attack", "adam_pgd", adam_pgd, _KINGMA),
    Entry("attack", "frank_wolfe", frank_wolfe, _CHEN, aliases=("fw",)),
    Entry("attack", "gama_pgd", gama_pgd, _SRIRAMANAN, aliases=("gama",)),
    Entry("attack", "apgd", apgd, CROCE, aliases=("apgd_ce",)),
    Entry("attack", "apgd_targeted", apgd_targeted, CROCE, aliases=("apgd_t",)),
)
