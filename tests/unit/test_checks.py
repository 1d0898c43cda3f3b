"""Every check passes on an honest net and fails on one that was built to trip it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import Drawing, Turned, Wrap, data_of, digits, digits_net, drawn, labelled, mlp
from ironbound.auditing.audit import Audit
from ironbound.auditing.checks import CHECKS, Evidence
from ironbound.auditing.checks.confidence import grade
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.verdicts import Verdicts
from ironbound.auditing.verify import Verification
from ironbound.certification.ibp import Ibp
from ironbound.certification.margins import Margins
from ironbound.core.errors import RunError, SoundnessAlarm, UsageError
from ironbound.models.model import Model

ROOT = Path(__file__).parents[2]
FGSM = Attacking("fgsm", ib.recipes.fgsm(), witness=True)
NOISE = Attacking("noise", ib.recipes.noise(20), witness=True)
SMALL = Plan("small", (Attacking("pgd", ib.recipes.pgd(steps=5)), FGSM, NOISE))
WEAK = Attacking("weak", ib.recipes.pgd(steps=3, step=0.0, random_start=False))
"""An iterative attack that never leaves the input."""


def audited(net: nn.Module | Model, x: Tensor | None = None, y: Tensor | None = None, **options: Any) -> Audit:
    """An audit of samples that are right when clean."""
    x = digits(24).x if x is None else x
    y = labelled(net, x) if y is None else y  # type: ignore[arg-type]
    return ib.audit(net, (x, y), **{"threat": "linf:0.1", "method": SMALL, **options})


def found(report: Audit, number: int) -> dict[str, Any]:
    return next(c for c in report.checks if c["number"] == number)


def result(report: Audit, number: int) -> str:
    return str(found(report, number)["result"])


@pytest.fixture(scope="module")
def honest() -> Audit:
    data = digits(40)
    return ib.audit(digits_net(), data, threat="linf:0.05", method="quick")


# ------------------------------------------------------------------------------------------------------- in general
def test_no_check_fails_on_an_honest_net(honest: Audit) -> None:
    """Comparisons want more samples than 40 and say so; all others pass."""
    unsure = {9, 10, 26}
    assert {c["number"] for c in honest.checks} == set(CHECKS)
    assert {c["number"] for c in honest.checks if c["result"] == "cannot tell"} == unsure
    assert {c["number"] for c in honest.checks if c["result"] == "pass"} == set(CHECKS) - unsure
    assert honest.facts["confidence"]["grade"] == "moderate"
    assert "could not tell" in honest.facts["confidence"]["text"]
    assert "attacked so far" not in honest.to_html()
    assert "attacked so far" not in str(honest)
    assert all(c["next"] == "" for c in honest.checks if c["result"] == "pass")


def test_the_document_lists_every_check_with_its_severity_and_source() -> None:
    text = (ROOT / "docs" / "checks.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    numbers = [int(row[0]) for row in rows]
    assert numbers == list(range(1, 32))
    for number, name, question, rule, advice, severity, sources, state in rows:
        assert re.fullmatch("[COTIAZ](, [COTIAZ])*|\N{EN DASH}", sources)
        assert rule
        assert advice
        done = CHECKS.get(int(number))
        assert state == ("yes" if done else "not yet")
        if done:
            assert (name, question, severity) == (done.name, done.question, done.severity)


def _facts(**results: str) -> list[Any]:
    return [
        {"number": i, "name": name, "severity": name.split("_")[0], "result": said.replace("_", " ")}
        for i, (name, said) in enumerate(results.items())
    ]


def test_grades() -> None:
    assert grade(_facts(red_a="pass", amber_b="not_applicable"))["grade"] == "high"
    assert grade(_facts(red_a="pass", amber_b="fail"))["grade"] == "moderate"
    assert grade(_facts(red_a="cannot_tell", amber_b="pass"))["grade"] == "moderate"
    low = grade(_facts(red_a="fail", amber_b="fail"))
    assert low["grade"] == "low"
    assert "red_a" in low["text"]
    assert "attacked so far" in low["text"]


def test_a_red_check_takes_the_word_robust_away() -> None:
    report = audited(Wrap(digits_net(), lambda z: (z * 4).round() / 4))
    assert result(report, 4) == "fail"
    assert report.facts["confidence"]["grade"] == "low"
    assert "attacked so far" in str(report)
    assert "attacked so far" in report.to_html()


# ------------------------------------------------------------------------------------------------------ of the model
def test_1_a_net_that_draws_without_saying_so() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = Wrap(digits_net(), lambda z: z + 0.3 * torch.empty_like(z).normal_(generator=generator))
    report = audited(noisy, y=labelled(digits_net(), digits(24).x))
    assert result(report, 1) == "fail"
    assert "random=True" in found(report, 1)["next"]
    assert report.facts["confidence"]["grade"] == "low"
    said = audited(ib.Model(Drawing(digits_net(), 0.3), random=True), y=labelled(digits_net(), digits(24).x))
    assert result(said, 1) == "not applicable"


def test_1_answers_of_nan_are_the_same_each_time() -> None:
    some = Wrap(digits_net(), lambda z: torch.where(z.amax(1, keepdim=True) > 6, torch.nan, z))
    report = audited(some, y=labelled(digits_net(), digits(24).x))
    assert result(report, 1) == "pass"
    assert "wrong" in report.verdicts


def test_2_a_softmax_at_the_end() -> None:
    report = audited(nn.Sequential(digits_net(), nn.Softmax(1)))
    assert result(report, 2) == "fail"
    assert "softmax" in found(report, 2)["next"]
    assert report.facts["confidence"]["grade"] == "moderate"


@pytest.mark.parametrize("after", [
    lambda z: (z * 2).round(),
    lambda z: z.sign() * z.abs().floor(),
    lambda z: torch.softmax(z * 1e4, 1) * 2,
    lambda z: z.detach() + 0 * z,
], ids=["rounded", "floored", "saturated", "detached"])  # fmt: skip
def test_4_gradients_that_are_dead(after: Any) -> None:
    report = audited(Wrap(digits_net(), after), threat="linf:0.05")
    assert result(report, 4) == "fail"
    assert "hopskipjump" in found(report, 4)["next"]


def test_4_gradients_that_are_not_finite() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            return z.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad * torch.nan

    report = audited(Wrap(digits_net(), Broken.apply))
    assert result(report, 4) == "fail"


def test_19_batch_norm_without_running_statistics() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), digits_net())
    report = audited(net)
    assert result(report, 19) == "fail"
    assert "0" in found(report, 19)["evidence"]
    tracked = nn.Sequential(nn.BatchNorm2d(1), digits_net()).eval()
    assert result(audited(tracked), 19) == "pass"


def test_31_units() -> None:
    net, x = digits_net(), digits(12).x
    y = labelled(net, x)
    with pytest.raises(UsageError, match=r"radius 8 on a range of \[0\.0, 1\.0\].*Did you mean 8/255"):
        audited(net, x, y, threat="linf:8")
    wide = partial(ib.Model, Wrap(net, lambda z: z, lambda v: v / 255), range=(0, 255))
    small = audited(wide(), x * 255, y, threat="linf:8/255")
    assert result(small, 31) == "fail"
    assert "Did you mean 8?" in found(small, 31)["evidence"]
    unscaled = audited(wide(), x, y, threat="linf:8")
    assert result(unscaled, 31) == "fail"
    assert "The data fill 0.4% of the range" in found(unscaled, 31)["evidence"]
    assert result(audited(wide(), x * 255, y, threat="linf:8"), 31) == "pass"
    assert result(audited(net, x, y, threat="l2:5"), 31) == "pass"


# ------------------------------------------------------------------------------------------------------- of attacks
def test_8_claims_that_the_judge_turned_down() -> None:
    """A large part that all logits have in common hides every margin."""
    report = audited(Wrap(digits_net().double(), lambda z: z + 1e7, lambda x: x.double()))
    assert result(report, 8) == "fail"
    assert report.verdicts.count("undecided") > 12
    assert report.facts["confidence"]["grade"] == "low"


def _masked(net: nn.Module) -> Wrap:
    """Gradients of the wrong sign behind a correct forward pass: every step leads inwards."""
    return Wrap(net, lambda z: z, Turned.apply)


def test_12_a_masked_net_has_a_plateau() -> None:
    masked = audited(_masked(digits_net()), threat="linf:0.05")
    assert result(masked, 12) == "fail"
    assert "masking" in found(masked, 12)["next"]
    honest = audited(digits_net(), threat="linf:0.05")
    assert result(honest, 12) == "pass"
    assert honest.attacked_accuracy < masked.attacked_accuracy


def test_12_what_cannot_be_compared() -> None:
    assert result(audited(digits_net(), threat="linf:0"), 12) == "not applicable"
    few = audited(_masked(digits_net()), digits(3).x, threat="linf:0.05")
    assert result(few, 12) == "cannot tell"
    certain = audited(digits_net(), threat="linf:0.001", method=Plan("b", (Bounds("ibp", Ibp()), *SMALL.stages)))
    assert set(certain.verdicts) == {"certified"}
    assert result(certain, 12) == "pass"


def test_13_and_16_weaker_attacks_that_find_more() -> None:
    crippled = audited(digits_net(), threat="linf:0.2", method=Plan("weak", (WEAK, FGSM)))
    assert result(crippled, 16) == "pass"
    assert result(crippled, 13) == "fail"
    assert crippled.facts["confidence"]["grade"] == "low"
    assert "broken" in crippled.verdicts  # what a mere witness breaks is broken all the same
    noise = audited(
        digits_net(), threat="linf:0.5", method=Plan("weak", (WEAK, replace(NOISE, attack=ib.recipes.noise(100))))
    )
    assert result(noise, 16) == "fail"
    assert "They count as broken" in found(noise, 16)["evidence"]


def test_13_and_16_where_the_plan_has_no_witnesses() -> None:
    """They are asked all the same, on a few survivors."""
    weak = audited(digits_net(), threat="linf:0.5", method=Plan("weak", (WEAK,)))
    assert (result(weak, 13), result(weak, 16)) == ("fail", "fail")
    assert "still count as undecided" in found(weak, 13)["evidence"]
    assert weak.verdicts == ["undecided"] * 24
    assert weak.facts["confidence"]["grade"] == "low"
    strong = audited(digits_net(), threat="linf:0.05", method="pgd")
    assert (result(strong, 13), result(strong, 16)) == ("pass", "pass")


@pytest.mark.parametrize("method", ["fgsm", ib.recipes.hopskipjump(queries=50)])
def test_13_a_plan_without_an_iterative_attack_is_not_to_be_trusted(method: Any) -> None:
    report = audited(digits_net(), digits(8).x, threat="linf:0.05", method=method)
    assert result(report, 13) == "cannot tell"
    assert report.facts["confidence"]["grade"] != "high"


def test_13_a_plan_of_bounds_alone_says_that_nothing_was_attacked() -> None:
    bounds = Plan("bounds", (Bounds("ibp", Ibp()),))
    report = audited(digits_net(), digits(8).x, threat="linf:0.1", method=bounds)
    assert result(report, 13) == "cannot tell"
    assert report.attacked_accuracy == report.clean_accuracy
    certain = audited(digits_net(), digits(8).x, threat="linf:0.0001", method=bounds)
    assert result(certain, 13) == "not applicable"


def test_13_where_nothing_is_left() -> None:
    report = audited(digits_net(), threat="linf:1e-9", method=SMALL)
    assert result(report, 13) == "pass"
    all_broken = audited(mlp(64, 10), threat="linf:0.9", method=SMALL)
    assert set(all_broken.verdicts) == {"broken"}
    assert "Nothing was left" in found(all_broken, 13)["evidence"]


# ------------------------------------------------------------------------------------------- of witnesses and proofs
@dataclass
class Planted:
    """The evidence of a finished run, of which parts can be replaced."""

    report: Audit
    net: nn.Module
    x: Tensor
    y: Tensor

    def evidence(self, **other: Any) -> Evidence:
        folder = RunFolder.open(self.report.folder)
        index, adversarial = self.report.witnesses()
        place = {int(i): row for row, i in enumerate(index)}
        return Evidence(**{
            "model": Model.of(self.net), "data": data_of(self.x, self.y), "threat": ib.Linf(0.1), "plan": SMALL,
            "verdicts": Verdicts.of(folder), "witness": lambda i: adversarial[[place[i]]], "manifest": folder.manifest,
            **other,
        })  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Planted:
    net, x = digits_net(), digits(24).x
    y = labelled(net, x)
    report = audited(net, x, y)
    assert report.verdicts.count("broken") >= 3
    return Planted(report, net, x, y)


def test_20_witnesses_that_fool_nobody(planted: Planted) -> None:
    look = CHECKS[20].look
    good = look(planted.evidence())
    assert good.result == "pass"
    assert "in float64" in good.evidence
    bad = look(planted.evidence(witness=lambda i: planted.x[[i]]))
    assert bad.result == "fail"
    assert ", 0 in float64" in bad.evidence


def test_20_a_model_that_float64_does_not_suit() -> None:
    report = audited(Wrap(digits_net(), lambda z: z @ torch.eye(10)))
    assert result(report, 20) == "cannot tell"
    assert "float64 could not be tried" in found(report, 20)["evidence"]


def test_21_witnesses_a_hair_outside(planted: Planted) -> None:
    look = CHECKS[21].look
    assert look(planted.evidence()).result == "pass"

    def outside(i: int) -> Tensor:
        hi = ib.Linf(0.1).at(planted.x[[i]], (0, 1)).hi
        return torch.where(hi < 1, torch.nextafter(hi, torch.tensor(2.0)), hi)

    bad = look(planted.evidence(witness=outside))
    assert bad.result == "fail"
    assert re.search(r"(\d+) witnesses .* \1 lie outside", bad.evidence)


def test_21_a_witness_that_is_missing(planted: Planted) -> None:
    def none(i: int) -> Tensor:
        raise RunError("gone")

    with pytest.raises(RunError, match="gone"):
        CHECKS[21].look(planted.evidence(witness=none))


def test_22_a_verdict_that_forgets_a_stage(planted: Planted) -> None:
    look = CHECKS[22].look
    verdicts = planted.evidence().verdicts
    assert look(planted.evidence()).result == "pass"
    forgot = np.where(verdicts.verdict == "broken", "undecided", verdicts.verdict)
    assert look(planted.evidence(verdicts=replace(verdicts, verdict=forgot))).result == "fail"


def test_29_a_manifest_that_lacks_something(planted: Planted) -> None:
    look = CHECKS[29].look
    whole = RunFolder.open(planted.report.folder).manifest
    assert look(planted.evidence()).result == "pass"
    for name in ("threat", "plan", "seed", "fingerprints", "environment", "probes"):
        less = {key: value for key, value in whole.items() if key != name}
        missing = look(planted.evidence(manifest=less))
        assert missing.result == "fail"
        assert name in missing.evidence
    assert look(planted.evidence(manifest=None)).result == "fail"


@dataclass(frozen=True)
class Believer:
    """A bound that proves everything."""

    name = "believer"

    def margins(self, graph: Any, region: Any, y: Tensor, dtype: Any, learned: Any = None) -> Margins:
        lo = region.lo
        return Margins(lo.new_full((len(y), 10), 1e3).scatter(1, y[:, None], torch.inf), lo.new_ones(len(y)))


def test_28_an_unsound_bound_raises_the_alarm_and_the_folder_is_kept(tmp_path: Path) -> None:
    plan = Plan("unsound", (Bounds("believer", Believer()), *SMALL.stages))
    data = digits(12)
    with pytest.raises(SoundnessAlarm, match=r"certified samples were broken.*kept as evidence"):
        ib.audit(digits_net(), data, threat="linf:0.2", method=plan, out=tmp_path / "run")
    kept = Audit.load(tmp_path / "run")
    assert result(kept, 28) == "fail"
    assert kept.facts["confidence"]["grade"] == "low"
    assert "attacked so far" in (tmp_path / "run" / "report.html").read_text()
    verified = ib.verify(tmp_path / "run", digits_net(), data)
    assert isinstance(verified, Verification)
    assert "certified by 'believer', which there is not" in verified.failures[0]


# ----------------------------------------------------------------------------------- no check falls over on odd runs
def _no_crash(report: Audit) -> None:
    assert [c["number"] for c in report.checks] == sorted(CHECKS)
    assert {c["result"] for c in report.checks} <= {"pass", "fail", "cannot tell", "not applicable"}
    assert "<html" in report.to_html()
    assert all(c["evidence"] and c["meaning"] for c in report.checks)


@pytest.mark.parametrize("method", ["quick", SMALL], ids=["quick", "attacks"])
def test_everything_wrong_broken_certified_or_alone(method: Any) -> None:
    net, x = digits_net(), digits(8).x
    wrong = audited(net, x, (labelled(net, x) + 1) % 10, method=method)
    assert set(wrong.verdicts) == {"wrong"}
    _no_crash(wrong)
    broken = audited(net, x, threat="linf:0.9", method=method)
    assert set(broken.verdicts) == {"broken"}
    _no_crash(broken)
    one = audited(net, x[:1], method=method)
    assert len(one.verdicts) == 1
    _no_crash(one)
    if method == "quick":
        certified = audited(net, x, threat="linf:0.0001", method=method)
        assert set(certified.verdicts) == {"certified"}
        _no_crash(certified)


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).mean(1) > 0.3).long()


@pytest.mark.parametrize(
    "kind", ["two classes", "three classes", "one logit", "one probability", "l2", "vectors", "float64"]
)
def test_models_of_all_kinds(kind: str) -> None:
    x = drawn(10, 1, 8, 8)
    net: Any = mlp(64, 8, {"two classes": 2, "three classes": 3, "one logit": 1, "one probability": 1}.get(kind, 10))
    y = None
    if kind in ("one logit", "one probability"):
        shift = float(net(x).detach().median()) + 1e-3  # a tie would be no right answer
        net = Wrap(net, (lambda z: 50 * (z - shift)) if kind == "one logit" else (lambda z: torch.sigmoid(z - shift)))
        y = (net(x)[:, 0] > (0 if kind == "one logit" else 0.5)).long().detach()
        assert set(y.tolist()) == {0, 1}
    if kind == "vectors":
        x = x.flatten(1)
    if kind == "float64":
        x, net = x.double(), net.double()
    report = audited(net, x, y, threat="l2:2" if kind == "l2" else "linf:0.1", method="quick")
    _no_crash(report)
    assert report.clean_accuracy == 1
    assert "broken" in report.verdicts
    labels = labelled(net, x) if y is None else y
    assert ib.verify(report.folder, net, (x, labels)).holds


def test_inputs_without_a_range() -> None:
    report = audited(ib.Model(digits_net(), range=None), digits(8).x, labelled(digits_net(), digits(8).x))
    _no_crash(report)
    assert result(report, 2) == "cannot tell"
    assert "broken" in report.verdicts
    told = ib.Model(digits_net(), range=None, outputs="logits")
    assert result(audited(told, digits(8).x, labelled(digits_net(), digits(8).x)), 2) == "pass"


def test_a_model_of_decisions() -> None:
    x = drawn(8, 1, 8, 8) * 0.6
    report = audited(Decides(), x, Decides()(x), method=ib.recipes.hopskipjump(queries=200))
    _no_crash(report)
    assert (result(report, 2), result(report, 4)) == ("cannot tell", "not applicable")
    assert "broken" in report.verdicts


def test_a_model_that_draws() -> None:
    report = audited(
        ib.Model(Drawing(digits_net(), 0.5), random=True), digits(8).x, labelled(digits_net(), digits(8).x)
    )
    _no_crash(report)
    assert result(report, 20) == "not applicable"
    dropping = nn.Sequential(nn.Dropout(0.3), digits_net())
    dropping.forward = lambda x: digits_net()(nn.functional.dropout(x, 0.3, training=True))  # type: ignore[method-assign]
    _no_crash(audited(ib.Model(dropping, random=True), digits(8).x, labelled(digits_net(), digits(8).x)))


def test_a_verdict_table_with_no_rows_of_a_stage(planted: Planted) -> None:
    empty = planted.evidence().verdicts.stage_rows("nothing")
    assert isinstance(planted.evidence().verdicts.table, pa.Table)
    assert all(len(column) == 0 for column in empty.values())
