"""What checks cost and what is made of it: a budget of counted rows, shared out by turn; honest words about few samples."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ironbound as ib
from audit_samples import digits, digits_net, evidence, labelled
from ironbound.auditing.checks import CHECKS, blackbox, check, effort
from ironbound.auditing.checks.again import cost_of, rows_of, towards, turns_of
from ironbound.auditing.checks.budget import SHARE, budget_of
from ironbound.auditing.checks.chance import Stratified, lower
from ironbound.auditing.checks.check import Check, CheckResult, Evidence, run_checks
from ironbound.auditing.checks.confidence import grade
from ironbound.auditing.plan import Attacking, Plan
from ironbound.auditing.prices import counted
from ironbound.core.errors import UsageError

WEAK = Plan("weak", (Attacking("apgd", ib.recipes.apgd(steps=5)), Attacking("pgd", ib.recipes.pgd(steps=4))))


def bare(**fields: Any) -> Evidence:
    """Evidence of nothing, for what looks at no sample."""
    return Evidence(**{**dict.fromkeys(("model", "data", "threat", "plan", "verdicts", "witness")), **fields})


# ------------------------------------------------------------------------------------------------------ the budget
def test_rows_that_are_counted() -> None:
    assert counted(3, 2) == 7
    costs = [
        {"clean": {"forward": 10, "backward": 0}, "pgd": {"forward": 5, "backward": 4}},
        {"clean": {"forward": 2, "backward": 0}},
    ]
    verdicts: Any = SimpleNamespace(costs=costs)
    assert budget_of(verdicts, "budget") == SHARE * (10 + 5 + 2 * 4 + 2)
    assert budget_of(verdicts, "full") == math.inf
    assert cost_of(ib.recipes.pgd(steps=9), ib.recipes.square(50)) == 3 * 10 + 50
    aimed = ib.recipes.malt(steps=10)
    assert (turns_of(aimed), cost_of(aimed), cost_of(towards(aimed, 3))) == (9, 9 * 33, 3 * 33)
    assert towards(ib.recipes.pgd(), 1) == ib.recipes.pgd()
    narrowed = ib.recipes.apgd_narrowed(steps=20)
    short, keep = narrowed.search.short.steps, narrowed.search.keep  # type: ignore[attr-defined]
    assert rows_of(narrowed) == turns_of(narrowed) * (short + 1) + keep * 21
    assert rows_of(towards(narrowed, keep)) == keep * 21


def test_as_many_samples_as_are_affordable() -> None:
    assert bare().afford(64, 10**9) == 64
    assert bare(allowed=1000.0).afford(64, 50) == 20
    assert bare(allowed=1000.0).afford(12, 50) == 12
    assert bare(allowed=1000.0).afford(64, 999, least=4) == 4
    assert bare(allowed=0.0).afford(3, 50) == 3  # no more than it ever wants


def _planned(number: int, severity: Any, share: float, rows: int, spend: float, log: list[Any]) -> Check:
    """A check that runs this part of what it planned for, and notes its turn."""

    def look(seen: Evidence) -> CheckResult:
        planned = rows if math.isinf(seen.allowed) else seen.afford(10**9, rows, least=0) * rows
        log.append((number, seen.allowed))
        seen.spent.update(forward=int(spend * planned))
        return CheckResult("pass", "")

    return Check(number, str(number), "", severity, "", look, share)


@given(
    st.lists(
        st.tuples(st.sampled_from(["red", "amber"]), st.floats(0.05, 1.0), st.integers(1, 50), st.floats(0, 1)),
        max_size=8,
    ),
    st.floats(0, 1e5),
)
def test_all_checks_together_stay_within_the_budget(plans: list[Any], budget: float) -> None:
    """Whatever each plans for and however little of it it runs; and red ones choose first."""
    log: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "CHECKS", {i: _planned(i, *plan, log) for i, plan in enumerate(plans)})
        found = run_checks(bare(), budget=budget)
    assert sum(facts["forward"] for facts in found) <= budget
    assert [facts["number"] for facts in found] == list(range(len(plans)))
    assert [n for n, _ in log] == sorted(range(len(plans)), key=lambda n: (plans[n][0] != "red", n))
    left = budget
    for number, allowed in log:
        assert allowed == pytest.approx(plans[number][1] * left)
        left -= found[number]["forward"]


def test_checks_of_few_rows_come_first_and_ask_nobody() -> None:
    log: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "CHECKS", {
            1: _planned(1, "red", 0.5, 10, 1.0, log), 2: _planned(2, "amber", 0.0, 30, 1.0, log),
        })  # fmt: skip
        run_checks(bare(), budget=100)
        run_checks(bare(), budget=10)
    assert log == [(2, math.inf), (1, 35.0), (2, math.inf), (1, 0.0)]


def test_an_audit_s_checks_cost_half_of_its_verdicts() -> None:
    plan = Plan(
        "p", (Attacking("apgd", ib.recipes.apgd(steps=50, restarts=3)), Attacking("square", ib.recipes.square(200)))
    )
    report = ib.audit(digits_net(), digits(120), threat="linf:0.04", method=plan)
    cost = report.facts["cost"]
    verdicts, checks = (counted(one["forward"], one["backward"]) for one in (cost, cost["checks"]))
    assert 0.2 * verdicts < checks <= SHARE * verdicts
    assert not [c for c in report.checks if c["result"] == "fail"]


def test_the_checks_cost_stands_apart(tmp_path: Path) -> None:
    x = digits(12).x
    report = ib.audit(
        digits_net(), (x, labelled(digits_net(), x)), threat="linf:0.1", method="quick", out=tmp_path / "run"
    )
    cost = report.facts["cost"]
    for key in ("forward", "backward"):
        assert cost["checks"][key] == sum(c[key] for c in report.checks) > 0
        assert cost[key] == sum(stage[key] for stage in report.facts["stages"])
    assert cost["checks"]["cpu"] == pytest.approx(sum(c["cpu"] for c in report.checks))
    assert "Checks</th>" in report.to_html()


def test_checks_go_as_far_as_they_are_told(tmp_path: Path) -> None:
    x = digits(40).x
    y = labelled(digits_net(), x)
    with pytest.raises(UsageError, match="within a 'budget' or in 'full'; got 'half'"):
        ib.audit(digits_net(), (x, y), threat="linf:0.1", method="quick", out=tmp_path / "run", checks="half")
    assert not (tmp_path / "run").exists()
    least = ib.audit(digits_net(), (x, y), threat="linf:0.1", method="quick", out=tmp_path / "run")
    full = ib.audit(
        digits_net(), (x, y), threat="linf:0.1", method="quick", out=tmp_path / "run", checks="full", resume=True
    )
    assert full.verdicts == least.verdicts
    assert full.facts["cost"]["checks"]["forward"] > least.facts["cost"]["checks"]["forward"]


# ------------------------------------------------------------------------------------------- where more effort is tried
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 500))
def test_gains_of_the_nearest_and_of_others(near: int, more: int, rest: int, further: int, others: int) -> None:
    """What was found is a fact, what it stands for a bound: never more than the estimate, nothing of nothing."""
    looked = rest + further
    others = others + looked if looked else 0
    found = Stratified(near, near + more, rest, looked, others, near + more + others + 10)
    assert found.low <= found.gain + 1e-12
    assert found.gain <= 1
    assert (found.low > 0) == (near + rest >= 5)
    assert found.low <= (near + others * (lower(rest, looked) if looked else 0)) / found.total + 1e-12
    assert 0 < found.least <= 1


def test_gains_by_hand() -> None:
    five = Stratified(5, 8, 0, 8, 92, 1000)
    assert five.gain == pytest.approx(0.005)
    assert five.low == pytest.approx((2 * 0.05**0.2 - 1) * 0.005)
    assert Stratified(0, 16, 0, 16, 84, 1000).least == pytest.approx(0.005)
    assert Stratified(0, 8, 0, 8, 92, 1000).least == pytest.approx(0.01)  # eight of the sixteen nearest
    assert Stratified(0, 4, 0, 8, 92, 1000).least == 1.0
    assert Stratified(0, 3, 0, 0, 0, 1000).least == pytest.approx(0.005)  # all there are


def test_a_gain_that_was_seen_is_no_want_of_samples() -> None:
    """Four of thirty samples that more effort breaks are 13 points too many in the figure, whatever its interval."""
    seen, unseen = (Stratified(n, 20, 0, 0, 0, 30).judged(0.005, "", "") for n in (4, 0))
    assert seen.result == unseen.result == "cannot tell"
    assert seen.least is None
    assert unseen.least == pytest.approx(1 / 6)
    assert Stratified(2, 16, 8, 16, 84, 1000).gain == pytest.approx(0.044)
    passed = Stratified(0, 16, 0, 16, 84, 1000).judged(0.005, "", "")
    assert (passed.result, passed.least) == ("pass", None)
    small = Stratified(0, 16, 0, 16, 84, 500).judged(0.005, "", "")
    assert (small.result, small.least, small.next) == (
        "cannot tell",
        0.01,
        "Audit 1,000 samples or more. Or try more of these: --checks full.",
    )
    assert Stratified(16, 16, 0, 16, 84, 1000).judged(0.005, "", "more").result == "fail"


def test_the_nearest_survivors_are_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = evidence(digits_net(), WEAK, ib.Linf(0.03), digits(60).x)
    left = seen.verdicts.places("undecided")
    margin = effort._margins(seen, left)
    rows = [seen.verdicts.stage_rows(name) for name in ("apgd", "pgd")]
    stages = [dict(zip(one["index"].tolist(), one["margin"].tolist(), strict=True)) for one in rows]
    for place, found in zip(left.tolist(), margin, strict=True):  # by hand: the larger of the two stages' margins
        assert found == max(stage[int(seen.verdicts.index[place])] for stage in stages)
    asked: list[Tensor] = []

    def tried(self: Evidence, attack: Any, places: Tensor, *args: Any, **options: Any) -> SimpleNamespace:
        asked.append(places)
        return SimpleNamespace(success=torch.zeros(len(places), dtype=torch.bool))

    monkeypatch.setattr(Evidence, "attack", tried)
    stage = seen.attacks[0]
    found = effort._gain(seen, stage, stage.single, 20)
    assert (found.near_looked, found.rest_looked, found.others) == (10, 10, len(left) - 10)
    place = {int(p): i for i, p in enumerate(left)}
    rows = np.array([place[int(p)] for p in asked[0]])
    assert set(rows[:10]) == set(np.argsort(-margin)[:10])
    others = np.setdiff1d(np.arange(len(left)), rows[:10])
    assert set(rows[10:]) == set(others[np.argsort(seen.verdicts.key[left.numpy()[others]])[:10]])
    few = effort._gain(seen, stage, stage.single, 1)
    assert (few.near_looked, few.rest_looked) == (8, 0)
    everything = effort._gain(seen, stage, stage.single, 1000)
    assert (everything.near_looked, everything.rest_looked, everything.others) == (len(left), 0, 0)


def test_9_and_10_repeat_a_targeted_attack_towards_a_few_targets() -> None:
    plan = Plan("t", (Attacking("malt", ib.recipes.malt(steps=20)),))
    for number in (9, 10):
        seen = evidence(digits_net(), plan, ib.Linf(0.05), digits(30).x)
        found = CHECKS[number].look(seen)
        assert "malt, towards 3 of its 9 targets, " in found.evidence
        left = seen.verdicts.count("undecided")
        turns = {9: 3 * 41 + 21, 10: 3 * 21}[number]  # of 9 the path of one target is looked at too
        assert seen.spent["forward"] <= left * (turns + 4)


# ------------------------------------------------------------------------------------------------ objectives, queries
@pytest.mark.parametrize(("best", "worst", "standing", "said"), [
    (100, 80, 0, "pass"), (100, 80, 30, "fail"), (100, 40, 0, "fail"), (100, 100, 0, "pass"), (100, 99, 9, "pass"),
])  # fmt: skip
def test_26_asks_what_the_plan_made_of_it(best: int, worst: int, standing: int, said: str) -> None:
    """Of 600 samples: objectives that differ matter where the plan left what one of them breaks, or where one is blind."""
    first = lambda count: torch.arange(600) < count
    found = {"margin": first(best), "cross-entropy": first(worst), "probability margin": first(worst)}
    judged = effort._agreed(found, first(standing), 1.0)
    assert judged.result == said
    assert ("less than half" in judged.evidence) == (2 * worst < best)


def test_26_a_small_sample_says_what_it_takes() -> None:
    first = torch.arange(100) < 10
    judged = effort._agreed({"margin": first, "cross-entropy": first}, torch.zeros(100, dtype=torch.bool), 0.5)
    assert (judged.result, judged.least) == ("cannot tell", 0.025)
    assert "It takes 250 samples" in judged.next


@pytest.mark.parametrize(("broken", "entered", "climbed", "said"), [
    (0, 8, False, "pass"), (2, 8, True, "cannot tell"), (2, 8, False, "cannot tell"), (4, 8, True, "fail"),
    (3, 18, True, "cannot tell"), (9, 18, True, "fail"), (6, 64, False, "fail"), (6, 64, True, "cannot tell"),
])  # fmt: skip
def test_14_of_few_samples(
    broken: int, entered: int, climbed: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red where more than a tenth beyond chance falls to queries, or five and more that no gradient leads to."""
    monkeypatch.setattr(blackbox, "_climbed", lambda evidence, places: climbed)
    monkeypatch.setattr(
        Evidence, "attack", lambda self, attack, places: SimpleNamespace(success=torch.arange(len(places)) < broken)
    )
    seen = evidence(digits_net(), WEAK, ib.Linf(0.01), digits(80).x)
    seen = replace(seen, allowed=float(entered * blackbox.QUERIES))
    judged = CHECKS[14].look(seen)
    assert f"Of {entered} samples" in judged.evidence
    assert judged.result == said


@pytest.mark.parametrize("climbed", [True, False])
def test_14_single_samples_of_a_stage_of_the_plan(climbed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count as broken, and are no sign of masked gradients."""
    plan = Plan(
        "both", (Attacking("pgd", ib.recipes.pgd(steps=1, step=0.02)), Attacking("square", ib.recipes.square(100)))
    )
    seen = evidence(digits_net(), plan, ib.Linf(0.05), digits(60).x)
    broken = np.flatnonzero((seen.verdicts.stage == "square") & (seen.verdicts.verdict == "broken"))
    asked: list[Tensor] = []
    monkeypatch.setattr(blackbox, "_climbed", lambda evidence, places: asked.append(places) or climbed)
    entered = int(seen.verdicts.stage_costs("square")["entered"])
    assert 0 < len(broken) < 5 < entered
    judged = CHECKS[14].look(seen)
    assert judged.result == "cannot tell"
    assert "They count as broken" in judged.evidence
    assert asked[0].tolist() == broken.tolist()


@pytest.mark.parametrize(("broken", "entered", "said"), [
    (0, 100, "pass"), (1, 8, "cannot tell"), (1, 100, "cannot tell"), (4, 100, "cannot tell"), (2, 8, "fail"), (8, 100, "fail"),
])  # fmt: skip
@pytest.mark.parametrize(("number", "name"), [(13, "fgsm"), (16, "noise")])
def test_13_and_16_single_samples(number: int, name: str, broken: int, entered: int, said: str) -> None:
    """A sample that a weak attack breaks by luck is no sign of masked gradients; more than one in fifty is."""
    seen = evidence(digits_net(), Plan("p", (*WEAK.stages, Attacking(name, ib.recipes.fgsm(), witness=True))))
    costs = {"entered": entered, "decided": broken, "forward": 0, "backward": 0, "seconds": 0.0}
    judged = CHECKS[number].look(replace(seen, verdicts=replace(seen.verdicts, costs=[{name: costs}])))
    assert judged.result == said
    assert f"Of {entered} samples" in judged.evidence
    assert ("They count as broken" in judged.evidence) == (broken > 0)


# ------------------------------------------------------------------------------------------------------ confidence
def _facts(result: str, least: float | None = None, severity: str = "amber") -> Any:
    facts = {"number": 9, "name": "converged", "severity": severity, "result": result}
    return facts if least is None else {**facts, "least": least}


def test_few_samples_do_not_lower_the_grade_where_the_interval_says_as_much() -> None:
    healthy = [_facts("pass"), _facts("cannot tell", 0.02)]
    high = grade(healthy, 0.03)
    assert high["grade"] == "high"
    assert "any gain from 2.0 points on" in high["text"]
    assert "half 3.0 points wide" in high["text"]
    assert grade(healthy, 0.01)["grade"] == "moderate"
    assert grade(healthy)["grade"] == "moderate"
    assert grade([*healthy, _facts("cannot tell")], 0.03)["grade"] == "moderate"  # for another reason than few samples
    assert grade([*healthy, _facts("fail")], 0.03)["grade"] == "moderate"
    assert grade([*healthy, _facts("fail", severity="red")], 0.03)["grade"] == "low"


def test_a_small_healthy_audit_is_believed_as_far_as_its_interval_goes(tmp_path: Path) -> None:
    """Within a budget that is as small as the audit three checks look at too few; in full they have seen enough."""
    plan = Plan("p", (Attacking("apgd", ib.recipes.apgd(steps=30)),))
    audit = partial(ib.audit, digits_net(), digits(100), threat="linf:0.05", method=plan, out=tmp_path / "run")
    few = audit()
    unsure = {c["number"]: c for c in few.checks if c["result"] == "cannot tell"}
    assert set(unsure) == {9, 10, 26}
    assert all("--checks full" in c["next"] for c in unsure.values())
    assert few.facts["confidence"]["grade"] == "moderate"
    full = audit(resume=True, checks="full")
    attacked = full.facts["attacked"]
    unsure = {c["number"]: c for c in full.checks if c["result"] == "cannot tell"}
    assert set(unsure) == {9, 10, 26}
    assert all(c["least"] <= (attacked["high"] - attacked["low"]) / 2 for c in unsure.values())
    assert not any("--checks full" in c["next"] for c in unsure.values())
    assert full.facts["confidence"]["grade"] == "high"
