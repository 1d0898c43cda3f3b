"""Checks of reach: do the reported attacks find what is surely there, without a bound and behind a planted example?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.checks.again import cost_of, left_by, standing
from ironbound.auditing.checks.check import FEW, CheckResult, Evidence, check
from ironbound.auditing.inside import around
from ironbound.auditing.pools import GOAL
from ironbound.core.judge import TAU
from ironbound.core.rng import Rng, content_keys
from ironbound.core.rows import column
from ironbound.sets import Linf

WIDE = 0.4
"""Of the range: so far no image can simply be wiped to grey."""
LARGE = 0.2
"""Radii from which on a net may hold at 0.4, too: then survivors there say nothing."""
SPREAD, HARDLY = 32, 0.01
"""Random inputs a sample, and the share of them with another answer up to which there may be nothing to find."""
PLANTS, DRAWS = 12, 64
MISSED = 0.1
QUERY = "Use more queries, or an attack by gradient."


def _ball(threat: Any) -> bool:
    return getattr(threat, "norm", "") in ("linf", "l2", "l1") and threat.mask is None


def _unfit(evidence: Evidence) -> CheckResult | None:
    if evidence.model.outputs == "decisions" or evidence.model.random or evidence.model.box is None:
        return CheckResult("not applicable", "The model draws, or answers with decisions only, or has no range.")
    if not evidence.attacks or not _ball(evidence.threat) or not evidence.differentiable():
        return CheckResult("not applicable", "No attack was run, or the threat is no ball of Linf, L2 or L1.")
    return None


@check(
    11, "unbounded attack", "Does the reported attack break everything when nothing holds it back?", "red",
    "An attack that fails even where every input is allowed does not work on this model.", share=0.5,
)  # fmt: skip
def unbounded(evidence: Evidence) -> CheckResult:
    """The plan's attacks in turn on what they left, first within 0.4 of the range, then within all of it."""
    unfit = _unfit(evidence)
    if unfit:
        return unfit
    low, high = evidence.model.box or (0.0, 1.0)
    most = evidence.afford(FEW, 2 * cost_of(*(stage.single for stage in evidence.attacks)))
    places = evidence.verdicts.places("undecided", "certified", most=most)
    if len(places) == 0:
        return CheckResult("pass", "The attacks broke everything within the radius already.")
    at_wide = left_by(evidence, places, Linf(WIDE * (high - low)))
    at_all = left_by(evidence, at_wide, Linf(high - low)) if len(at_wide) else at_wide
    text = (
        f"Of {len(places)} samples that stood, the plan's attacks left {len(at_wide)} within {WIDE:g} of the range in every "
        f"value and {len(at_all)} within the whole of it."
    )
    if len(at_all) == 0 and len(at_wide) == 0:
        return CheckResult("pass", text)
    if len(at_all) == 0 and _large(evidence.threat, high - low):
        return CheckResult(
            "cannot tell", f"{text} At radii like this one a net may hold there.", "Look at the examples."
        )
    if len(at_all) and _same_everywhere(evidence, at_all, high - low):
        return CheckResult(
            "cannot tell", f"{text} Random inputs of the whole range get these samples' answers too.",
            "There may be nothing to find; look at how the answers are spread over the range.",
        )  # fmt: skip
    return CheckResult(
        "fail", text, "The attack does not work on this model: look for masked gradients, use more steps."
    )


def _same_everywhere(evidence: Evidence, places: Tensor, width: float) -> bool:
    """Whether hardly any of the inputs drawn from the whole range is answered otherwise than these samples."""
    x, y = evidence.samples(places)
    region = around(Linf(width), places, x, evidence.model.box)
    rng = Rng.of(evidence.seed, content_keys(x, y).to(x.device)).fold("everywhere")
    other = torch.zeros(len(places), dtype=torch.long, device=x.device)
    for turn in range(SPREAD):
        own = rng.fold(str(turn))
        other += evidence.answers(region.apply(region.sample(own), own), own).argmax(1) != y
    return int(other.sum()) <= HARDLY * SPREAD * len(places)


def _large(threat: Any, width: float) -> bool:
    largest = float(torch.as_tensor(threat.eps).max())
    return threat.norm == "linf" and largest >= LARGE * width


@check(
    23, "planted example", "Does the attack find an example that is surely there?", "red",
    "An attack that misses an example planted for it would have missed others.", share=0.5,
)  # fmt: skip
def planted(evidence: Evidence) -> CheckResult:
    """The label's logit is lowered until the best of 64 random points at the edge of the set fools the model, the input not.

    After Zimmermann et al. 2022, who train a new last layer for each sample: a shift of one logit keeps all gradients of
    the margin, so that an attack which works on the model has to work here.
    """
    unfit = _unfit(evidence)
    if unfit:
        return unfit
    most = evidence.afford(PLANTS, DRAWS + cost_of(*(stage.single for stage in evidence.attacks)))
    places = evidence.verdicts.places("broken", "certified", "undecided", most=most)
    if len(places) == 0:
        return CheckResult("cannot tell", "No sample is right when clean.")
    x, y = evidence.samples(places)
    region = around(evidence.threat, places, x, evidence.model.box)
    if not bool(torch.isfinite(region.radius).all()):
        return CheckResult("not applicable", "The radius is infinite: the set has no edge.")
    rng = Rng.of(evidence.seed, content_keys(x, y).to(x.device)).fold("planted")
    out = evidence.answers(x, rng).double()
    here, scale = GOAL.margin(out, y), out.abs().amax(1)
    best = torch.full_like(here, -torch.inf)
    for number in range(DRAWS):
        edge = _point(region, x, rng.fold(number))
        said = evidence.answers(edge, rng).double()
        best, scale = torch.maximum(best, GOAL.margin(said, y)), torch.maximum(scale, said.abs().amax(1))
    lift = 4 * TAU * (scale + best.abs())  # what the judge asks of a witness, and some more
    surely = (here - best + lift < 0) & torch.isfinite(best)
    at = surely.nonzero()[:, 0].cpu()
    missed = 0
    for i in at.tolist():
        model = standing(evidence.model, int(y[i]), float(lift[i] - best[i]))
        missed += len(left_by(evidence, places[i : i + 1], model=model))
    text = f"In {len(places)} sets, {len(at)} examples were planted by shifting a logit; the plan's attacks missed {missed}."
    if len(at) < min(4, len(places)):
        return CheckResult("cannot tell", f"{text} In the others random points change the answer too little.")
    if missed > MISSED * len(at) and not evidence.by_gradient:
        return CheckResult("cannot tell", f"{text} They use no gradients.", QUERY)
    if missed > MISSED * len(at):
        return CheckResult(
            "fail", text, "Use more steps, restarts and other objectives, and look for masked gradients."
        )
    return CheckResult("pass", text)


def _point(region: Any, x: Tensor, draws: Rng) -> Tensor:
    """A random point at the edge; in L1 anywhere, for steps of one value are few, and the best of them hard to beat."""
    if region.norm == "l1":
        inside: Tensor = region.sample(draws)
        return inside
    noise = draws.normal(tuple(x.shape[1:]), x.dtype)
    at: Tensor = region.project(torch.addcmul(x, column(region.radius, x), region.steepest(noise)))
    return at
