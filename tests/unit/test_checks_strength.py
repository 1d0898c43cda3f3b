"""Checks of strength: effort, reach, and attacks without gradients; on honest nets and on such as deceive."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import ironbound as ib
from audit_samples import Turned, Wrap, digits, digits_net, evidence
from ironbound.auditing.checks import CHECKS, blackbox, effort
from ironbound.auditing.checks.again import elsewhere, longer, rows_of, steps_of, stretched
from ironbound.auditing.checks.chance import Paired
from ironbound.auditing.checks.check import Evidence
from ironbound.auditing.plan import Attacking, Plan
from ironbound.searches.ascent import Uniform

SHORT = Plan("short", (Attacking("pgd", ib.recipes.pgd(steps=2, step=0.01, random_start=False)),))
LONG = Plan("long", (Attacking("apgd", ib.recipes.apgd(steps=30)),))


def turned() -> Any:
    """Gradients of the wrong sign behind a correct forward pass."""
    return Wrap(digits_net(), lambda z: z, Turned.apply)


def test_gains_beyond_chance() -> None:
    """By hand: of five alike 0.05^(1/5) is the lower bound of the share on one side."""
    five = Paired(5, 0, 100, 0.5)
    assert five.low == pytest.approx(0.5 * (2 * 0.05**0.2 - 1) * 0.05)
    assert (five.gain, five.least) == (0.025, 0.025)
    assert Paired(4, 0, 100, 1.0).low < 0 < five.low
    assert Paired(8, 8, 100, 1.0).low < 0
    assert Paired(0, 0, 100, 1.0).judged(0.01, "", "").result == "cannot tell"
    assert Paired(0, 0, 500, 1.0).judged(0.01, "", "").result == "pass"
    assert Paired(20, 0, 500, 1.0).judged(0.01, "", "").result == "fail"


def test_the_plan_s_attacks_a_little_otherwise() -> None:
    aimed = ib.recipes.apgd_targeted(steps=20, targets=3, restarts=2)
    assert (steps_of(aimed.search), rows_of(aimed)) == (20, 2 * 3 * 21)
    assert steps_of(longer(aimed, 2).search) == 40
    assert rows_of(ib.recipes.square(700)) == 700
    assert rows_of(ib.recipes.hopskipjump(queries=90)) == 90
    still = ib.recipes.pgd(steps=4, step=0.01, random_start=False).replace(set=ib.Linf(0.1))
    assert isinstance(elsewhere(still).search.start, Uniform)  # type: ignore[attr-defined]
    wide = stretched(still, ib.Linf(1.0)).search.move  # type: ignore[attr-defined]
    assert (wide.size, wide.relative) == (pytest.approx(0.1), True)


def test_9_an_attack_that_was_stopped_early() -> None:
    failed = CHECKS[9].look(evidence(digits_net(), SHORT, ib.Linf(0.2), digits(200).x))
    assert failed.result == "fail"
    assert "4 steps of pgd instead of 2" in failed.evidence
    few = CHECKS[9].look(evidence(digits_net(), LONG))
    assert few.result == "cannot tell"
    assert "could have shown" in few.evidence


def test_9_passes_where_the_sample_is_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "GAIN", 0.5)
    assert CHECKS[9].look(evidence(digits_net(), LONG)).result == "pass"
    assert CHECKS[10].look(evidence(digits_net(), LONG)).result == "pass"
    monkeypatch.setattr(effort, "DIFFER", -1.0)  # whatever the tail, it rises by no less than 0
    assert CHECKS[9].look(evidence(digits_net(), LONG)).result == "fail"


def test_10_starts_that_matter() -> None:
    """Beyond a plateau around the input, where all gradients vanish, other starts find what the input hides."""
    start = Plan("input", (Attacking("pgd", ib.recipes.pgd(steps=3, random_start=False)),))
    x = (digits(100).x * 4).round() / 4

    def snapped(v: torch.Tensor) -> torch.Tensor:
        near = (v - (v * 4).round() / 4).abs().flatten(1).amax(1) < 0.01
        return torch.where(near.view(-1, 1, 1, 1), (v * 4).round() / 4, v)

    failed = CHECKS[10].look(evidence(Wrap(digits_net(), lambda z: z, snapped), start, ib.Linf(0.15), x))
    assert failed.result == "fail"
    assert "1 further restart of pgd" in failed.evidence


def test_11_and_23_gradients_that_lead_inwards() -> None:
    honest, masked = evidence(digits_net(), LONG), evidence(turned(), LONG)
    assert (CHECKS[11].look(honest).result, CHECKS[23].look(honest).result) == ("pass", "pass")
    assert (CHECKS[11].look(masked).result, CHECKS[23].look(masked).result) == ("fail", "fail")
    assert "12 examples were planted" in CHECKS[23].look(masked).evidence


@pytest.mark.parametrize("threat", [ib.L2(0.5), ib.L1(1.0)], ids=repr)
def test_11_and_23_in_other_norms(threat: Any) -> None:
    honest = evidence(digits_net(), LONG, threat)
    assert (CHECKS[11].look(honest).result, CHECKS[23].look(honest).result) == ("pass", "pass")
    assert CHECKS[23].look(evidence(turned(), LONG, threat)).result == "fail"


def test_14_and_17_masked_gradients(every_query: None) -> None:
    honest, masked = evidence(digits_net(), LONG), evidence(turned(), LONG, ib.Linf(0.15))
    assert (CHECKS[14].look(honest).result, CHECKS[17].look(honest).result) == ("pass", "pass")
    failed = CHECKS[14].look(masked)
    assert failed.result == "fail"
    assert "Square with 1000 queries" in failed.evidence
    assert "still count as undecided" in failed.evidence
    assert CHECKS[17].look(evidence(turned(), LONG, ib.Linf(0.4))).result == "fail"


SINGLE = [
    (0, False, "pass"),
    (1, False, "cannot tell"),
    (1, True, "cannot tell"),
    (0.5, False, "fail"),
    (0.5, True, "fail"),
]


@pytest.mark.parametrize(("share", "climbed", "said"), SINGLE)
def test_14_single_samples_are_no_sign_of_masking(
    share: float, climbed: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evidence(digits_net(), LONG)

    def broken(self: Evidence, attack: ib.Attack, places: Tensor) -> SimpleNamespace:
        count = round(share * len(places)) if share < 1 else 1
        return SimpleNamespace(success=torch.arange(len(places)) < count)

    monkeypatch.setattr(Evidence, "attack", broken)
    monkeypatch.setattr(blackbox, "_climbed", lambda evidence, places: climbed)
    assert len(found.verdicts.places("undecided", most=64)) >= 10
    assert CHECKS[14].look(found).result == said


def test_14_asks_the_plan_where_it_ends_with_square() -> None:
    plan = Plan("both", (*LONG.stages, Attacking("square", ib.recipes.square(50))))
    found = evidence(turned(), plan, ib.Linf(0.3))
    failed = CHECKS[14].look(found)
    assert failed.result == "fail"
    assert "the plan's square" in failed.evidence
    assert "They count as broken" in failed.evidence
    assert not found.spent


def test_26_a_cross_entropy_that_is_flat() -> None:
    flat = CHECKS[26].look(evidence(Wrap(digits_net(), lambda z: 1e4 * z), LONG, ib.Linf(0.1), digits(60).x))
    assert flat.result == "fail"
    assert "Attack with the margin" in flat.next
    assert CHECKS[26].look(evidence(digits_net(), LONG)).result == "cannot tell"


@pytest.mark.parametrize("number", [5, 6, 7, 9, 10, 11, 14, 17, 23, 26])
def test_not_for_models_of_decisions(number: int) -> None:
    decides = Wrap(digits_net(), lambda z: z.argmax(1))
    plan = Plan("hsj", (Attacking("hsj", ib.recipes.hopskipjump(queries=30)),))
    model = ib.Model(decides, outputs="decisions")
    x = digits(4).x
    found = evidence(model, plan, ib.Linf(0.1), x)
    assert CHECKS[number].look(found).result == "not applicable"
