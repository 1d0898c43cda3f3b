"""Ensembles of attacks as published: AutoAttack's three schedules; and single attacks made to replace them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.cascade import Cascade, Stage
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.errors import UsageError
from ironbound.core.protocols import PerturbationSet, Want
from ironbound.objectives import TargetDlr, TargetProbability
from ironbound.oracles import Eot
from ironbound.recipes.gradient import CROCE, apgd, apgd_targeted
from ironbound.recipes.vision import fab, fab_targeted, square
from ironbound.searches.ascent import Ascent
from ironbound.searches.guided import Aimed, Likely, Malt
from ironbound.searches.narrowing import Narrowed

RAND_DRAWS = 20
"""Draws over which `rand` averages each answer, and that judge a witness."""


@dataclass(frozen=True)
class AutoAttack(Cascade):
    """The stages of AutoAttack; on L1 balls with other numbers."""

    def on(self, part: PerturbationSet) -> tuple[Stage, ...]:
        """On L1, APGD on cross-entropy starts five times and APGD-T aims at five targets (standard schedule)."""
        if getattr(part, "norm", "") != "l1":
            return self.stages
        return tuple(replace(stage, attack=_on_l1(stage.attack)) for stage in self.stages)


def _on_l1(attack: Attack) -> Attack:
    search = attack.search
    if isinstance(search, Ascent):
        return attack.replace(restarts=5)
    if isinstance(search, Aimed) and isinstance(search.search, Ascent):
        return attack.replace(search=replace(search, targets=Likely(5)))
    return attack


def autoattack(version: str = "standard") -> AutoAttack:
    """Four attacks without parameters to tune, each on what the one before left: the field's yardstick.

    Paper: Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks,
    arXiv 2003.01690; L1: Croce, Hein 2021, Mind the Box, arXiv 2103.01208. `version`: "standard" (APGD-CE, APGD-T, FAB-T,
    Square), "plus" (APGD on CE and DLR and untargeted FAB with five starts each too), "rand" for models that draw (APGD on
    CE and DLR through the mean of 20 draws).
    Differs: a problem leaves at its first witness, also within a stage; projections onto ball and box are exact; starts are
    uniform in the set; the mean over draws is of logits. Cost a robust problem, standard, of C > 9 classes: about 7,000
    forward and 1,900 backward rows.
    """
    ce, dlr = (_stage(f"apgd_{loss}", apgd(loss=loss, large_radii=True)) for loss in ("ce", "dlr"))
    aimed = _stage("apgd_t", apgd_targeted(large_radii=True))
    fab_t, queries = _stage("fab_t", fab_targeted()), _stage("square", square(rescaled=False))
    match version:
        case "standard":
            stages = [ce, aimed, fab_t, queries]
        case "plus":
            stages = [_started(ce, 5), _started(dlr, 5), _stage("fab", fab(restarts=5)), queries, aimed, fab_t]
        case "rand":
            drawn = {"oracle": Eot(draws=RAND_DRAWS), "votes": RAND_DRAWS}
            stages = [replace(stage, attack=stage.attack.replace(**drawn)) for stage in (ce, dlr)]
        case _:
            raise UsageError(f"AutoAttack has the versions standard, plus and rand; got {version!r}.")
    return AutoAttack(TheThreat(), tuple(stages))


def malt(steps: int = 100, targets: int = 9, among: int = 100) -> Attack:
    """APGD on the targeted DLR, towards the classes that are nearest by the linear view at the input instead of the likeliest.

    Paper: Melamed, Yehudai, Shamir 2024, MALT Powers Up Adversarial Attacks, arXiv 2407.02240, section 3. The `among`
    likeliest classes are ranked, and `targets` of them attacked.
    Differs: any wrong answer on the way is a success, where the authors' code waits for the target.
    Cost: up to `among` + 1 backward rows for the ranking, targets (steps + 1) forward and targets steps backward rows.
    """
    climb = apgd(steps, large_radii=True)
    return climb.replace(search=Aimed(climb.search, TargetDlr(), Malt(targets, among)))


def apgd_narrowed(
    steps: int = 50, short: int = 25, targets: int = 9, keep: int = 3, among: int = 100, restarts: int = 1
) -> Attack:
    """Short APGDs towards `targets` classes, then longer ones only towards the `keep` that came nearest.

    It climbs the targeted margin in probabilities (Xie et al. 2024, arXiv 2411.15210), which finds at least as much as
    targeted DLR on the nets of docs/numbers.md, and for less than half of the rows of `malt` and `apgd_targeted`.
    Paper: Gowal et al. 2019, An Alternative Surrogate Loss for PGD-based Adversarial Testing, arXiv 1910.09338 (all targets);
    the targets are ordered as in MALT (Melamed et al. 2024, arXiv 2407.02240) and narrowed as arms are in successive halving
    (Jamieson, Talwalkar 2016, Non-stochastic Best Arm Identification, arXiv 1502.07943).
    Differs: two rounds with numbers that are given (see searches/narrowing.py); any wrong answer on the way is a success.
    With `keep` targets or fewer, as where there are two classes, the long climbs are run alone.
    Cost: restarts (2 + targets (short + 1) + keep (steps + 1)) forward and, beside up to `among` + 1 for the ranking,
    restarts (targets short + keep steps) backward rows a problem.
    """
    climb, first = apgd(steps, restarts, large_radii=True), apgd(short, large_radii=True).search
    return climb.replace(search=Narrowed(climb.search, first, keep, TargetProbability(), Malt(targets, among)))


def pma(steps: int = 100, restarts: int = 1) -> Attack:
    """APGD on the probability margin: alone nearly as strong as ensembles, at the price of one APGD.

    Paper: Xie, Zheng, Huang, Ye, Ma 2024, Towards Million-Scale Adversarial Robustness Evaluation With Stronger Individual
    Attacks, arXiv 2411.15210, section 3. Cost: restarts (steps + 1) forward, restarts steps backward rows a problem.
    """
    return apgd(steps, restarts, loss="probability", large_radii=True)


def _stage(name: str, attack: Attack) -> Stage:
    """A stage that is content with the first witness, with random streams of its own."""
    return Stage(name, attack.replace(want=Want.FIRST, stream=name))


def _started(stage: Stage, times: int) -> Stage:
    return replace(stage, attack=stage.attack.replace(restarts=times))


_MELAMED = Paper(
    ("Melamed, Odelia", "Yehudai, Gilad", "Shamir, Adi"), 2024,
    "MALT Powers Up Adversarial Attacks", "2407.02240", "NeurIPS 2024",
)  # fmt: skip
_GOWAL = Paper(
    ("Gowal, Sven", "Uesato, Jonathan", "Qin, Chongli", "Huang, Po-Sen", "Mann, Timothy", "Kohli, Pushmeet"), 2019,
    "An Alternative Surrogate Loss for PGD-based Adversarial Testing", "1910.09338",
)  # fmt: skip
_XIE = Paper(
    ("Xie, Yong", "Zheng, Weijie", "Huang, Hanxun", "Ye, Guangnan", "Ma, Xingjun"), 2024,
    "Towards Million-Scale Adversarial Robustness Evaluation With Stronger Individual Attacks", "2411.15210",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "autoattack", autoattack, CROCE, aliases=("aa", "auto_attack")),
    Entry("attack", "malt", malt, _MELAMED),
    Entry("attack", "apgd_narrowed", apgd_narrowed, _GOWAL),
    Entry("attack", "pma", pma, _XIE),
)
