"""Robust accuracy against radius: exact on linear models, through the bracket, resumable, and verified."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import Drawing, data_of, digits, digits_net, drawn, edited, flipped, labelled, reseal
from ironbound.auditing.audit import Audit
from ironbound.auditing.curve.draw import FACTORS, LEAST, REASONS
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.verdicts import Verdicts
from ironbound.certification.graph import trace
from ironbound.certification.ibp import Ibp
from ironbound.certification.margins import Margins
from ironbound.core.errors import RunError, SoundnessAlarm
from ironbound.core.progress import Event
from ironbound.core.store import read_tensors, write_tensors
from ironbound.data import load
from ironbound.recipes import fgsm, noise, pgd
from ironbound.sets import L2, Linf
from report_samples import share

SAMPLES = 60
PGD = Attacking("pgd", pgd(steps=20))
PLAN = Plan("bound and pgd", (Bounds("ibp", Ibp()), PGD), curve=True)
OWN = FACTORS.index(1.0)


@cache
def net() -> ib.Model:
    return ib.Model(digits_net())


TRACED = ("auditing.run", "auditing.curve.draw", "auditing.curve.recheck", "certification.certificates")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Checks, and tracing one net again and again, take most of the time of a small audit and say nothing of curves."""
    traced: dict[int, Any] = {}

    def once(module: nn.Module, x: Tensor) -> Any:
        if id(module) not in traced:
            traced[id(module)] = (trace(module, x), module)
        return traced[id(module)][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ironbound.auditing.checks.check.CHECKS", {})
        for place in TRACED:
            patch.setattr(f"ironbound.{place}.trace", once)
        yield


def audited(out: Path, threat: Any = "linf:0.05", method: Any = PLAN, **options: Any) -> Audit:
    return ib.audit(net(), digits(SAMPLES), threat=threat, method=method, out=out, pool=20, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve") / "run"
    assert set(audited(folder).verdicts) == {"wrong", "broken", "certified", "undecided"}
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def curve_of(folder: Path) -> dict[str, Any]:
    """The curve without what the clock says."""
    curve = dict(Audit.load(folder).facts["curve"])
    return {**curve, "cost": {**curve["cost"], "cpu": 0}}


def counts(curve: dict[str, Any], end: str) -> list[int]:
    return [one["count"] for one in curve[end]]


# ---------------------------------------------------------------------------------------------------- what it says
class Line(nn.Module):
    """Two classes, apart by w x + b."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(len(w), 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.stack([w, torch.zeros_like(w)]))
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.5)])
def test_of_a_linear_model_it_is_the_distribution_of_distances(threat: Any, tmp_path: Path) -> None:
    w = 2 * drawn(8, seed=1) - 1
    radii = [threat.eps * factor for factor in FACTORS]
    unit = w.abs().sum() if isinstance(threat, Linf) else w.norm()
    step = w.sign() / w.abs().sum() if isinstance(threat, Linf) else w / w.norm() ** 2
    wanted = torch.linspace(0.02, 2.4, 50) * threat.eps  # each sample at a distance of its own, none near a radius
    near = (wanted[:, None] - torch.tensor(radii)).abs().amin(1) < 0.02 * threat.eps
    wanted = wanted[~near]
    x = 2 * drawn(len(wanted), 8) - 1
    x = x - (x @ w)[:, None] * step + (wanted * unit)[:, None] * step
    distance = (x @ w).abs() / unit
    assert torch.allclose(distance, wanted, atol=1e-5)
    plan = Plan("line", (Bounds("ibp", Ibp()), PGD), curve=True)
    model = ib.Model(Line(w), range=(-10, 10))
    report = ib.audit(model, data_of(x, labelled(Line(w), x)), threat=threat, method=plan, out=tmp_path / "r")
    curve = report.facts["curve"]
    assert curve["radii"] == radii
    assert curve["samples"] == len(wanted)
    exact = [int((distance > radius).sum()) for radius in radii]
    assert len(set(exact)) == len(exact)
    assert counts(curve, "attacked") == exact
    if isinstance(threat, Linf):  # where interval bounds are exact too
        assert counts(curve, "certified") == exact


def test_it_falls_and_passes_through_clean_accuracy_and_the_bracket(finished: Path) -> None:
    facts = Audit.load(finished).facts
    curve = facts["curve"]
    attacked, certified = counts(curve, "attacked"), counts(curve, "certified")
    assert curve["radii"] == [0.05 * factor for factor in FACTORS]
    assert (curve["own"], curve["samples"], curve["total"]) == (OWN, SAMPLES, SAMPLES)
    assert attacked == sorted(attacked, reverse=True)
    assert certified == sorted(certified, reverse=True)
    assert all(low <= high for low, high in zip(certified, attacked, strict=True))
    assert curve["attacked"][0] == curve["certified"][0] == facts["clean"]
    assert (curve["attacked"][OWN], curve["certified"][OWN]) == (facts["attacked"], facts["certified"])
    assert attacked[0] > attacked[OWN // 2] > attacked[OWN] > attacked[-1]
    assert certified[1] > certified[OWN] > certified[-1]
    for one in (*curve["attacked"], *curve["certified"]):
        assert one == pytest.approx(share(one["count"], SAMPLES))


def test_it_is_as_strong_elsewhere_as_an_audit_there(finished: Path, tmp_path: Path) -> None:
    curve = curve_of(finished)
    for k in (OWN // 2, OWN + 2):
        there = audited(tmp_path / str(k), Linf(curve["radii"][k]), curve=False).facts
        assert curve["certified"][k]["count"] == there["certified"]["count"]
        assert curve["attacked"][k]["count"] <= there["attacked"]["count"] + 1


def test_no_verdict_and_no_other_fact_depends_on_it(finished: Path, tmp_path: Path) -> None:
    without = audited(tmp_path / "run", curve=False)
    with_ = Audit.load(finished)
    assert "curve" not in without.facts
    assert not (without.folder / "curve").exists()
    assert with_.verdicts == without.verdicts
    times = {"created", "cost", "stages", "curve"}
    assert {k: v for k, v in with_.facts.items() if k not in times} == {
        k: v for k, v in without.facts.items() if k not in times
    }


def test_where_it_would_cost_too_much_it_is_of_the_samples_with_the_smallest_keys(tmp_path: Path) -> None:
    plan = Plan("cheap", (Attacking("pgd", pgd(steps=2, random_start=False)),), curve=True)
    report = ib.audit(net(), digits(200), threat="linf:0.2", method=plan, out=tmp_path / "r")
    curve, verdicts = report.facts["curve"], report.details
    assert (curve["samples"], curve["total"]) == (LEAST, 200)
    few = verdicts.key.argsort()[:LEAST]
    for end, kinds in (("attacked", ("certified", "undecided")), ("certified", ("certified",))):
        assert curve[end][OWN]["count"] == sum(verdicts.verdict[i] in kinds for i in few)
        assert {one["total"] for one in curve[end]} == {LEAST}
    assert ib.verify(report.folder, net(), digits(200)).holds


def test_radii_that_cover_the_whole_range_are_left_out(tmp_path: Path) -> None:
    plan = Plan("pgd", (PGD,), curve=True)
    curve = ib.audit(net(), digits(20), threat="linf:0.6", method=plan, out=tmp_path / "r").facts["curve"]
    assert curve["radii"] == [0.6 * factor for factor in FACTORS if 0.6 * factor < 1]


def test_its_cost_is_that_of_its_passes(finished: Path) -> None:
    cost = curve_of(finished)["cost"]
    assert 0 < cost["backward"] <= cost["forward"]
    stages = Audit.load(finished).facts["cost"]
    assert stages["forward"] == sum(stage["forward"] for stage in Audit.load(finished).facts["stages"])


def test_witnesses_of_stages_that_wait_for_all_pools_are_its_starts_too(tmp_path: Path) -> None:
    stages = (Attacking("fgsm", fgsm()), Attacking("pgd", pgd(steps=20), most=40))
    report = audited(tmp_path / "r", "linf:0.1", Plan("waiting", stages, curve=True))
    assert "broken" in report.details.stage_rows("pgd")["verdict"]
    curve = report.facts["curve"]
    assert curve["attacked"][OWN] == report.facts["attacked"]
    assert ib.verify(report.folder, net(), digits(SAMPLES)).holds


# ---------------------------------------------------------------------------------------------------- where there is none
class Decided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = digits_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).argmax(1)


WEAK = Plan("noise", (Attacking("noise", noise(3)),), curve=True)


@pytest.mark.parametrize(
    ("model", "threat", "plan", "why"),
    [
        (net, "linf:0.05|l2:0.2", Plan("p", (PGD,), curve=True), "ball"),
        (net, "l0:2", WEAK, "ball"),
        (net, Linf(torch.full((20,), 0.05)), Plan("p", (PGD,), curve=True), "ball"),
        (net, "linf:0", Plan("p", (PGD,), curve=True), "ball"),
        (
            lambda: ib.Model(Drawing(digits_net(), 0.1), random=True),
            "linf:0.05",
            Plan("p", (PGD,), curve=True),
            "model",
        ),
        (lambda: ib.Model(Decided(), outputs="decisions"), "linf:0.05", WEAK, "model"),
        (net, "linf:0.05", WEAK, "plan"),
    ],
)
def test_where_there_is_none_one_sentence_says_why(
    model: Callable[[], Any], threat: Any, plan: Plan, why: str, tmp_path: Path
) -> None:
    data = data_of(digits(20).x, digits(20).y)
    report = ib.audit(model(), data, threat=threat, method=plan, out=tmp_path / "r")
    assert report.facts["curve"] == {"left_out": REASONS[why]}
    assert REASONS[why] in report.to_html()
    given = threat if isinstance(threat, Linf) else None
    assert ib.verify(report.folder, model(), data, threat=given).holds
    edited(report.folder / "audit.json", lambda facts: facts["curve"].update(left_out="Nobody asked."))
    assert not ib.verify(report.folder, model(), data, threat=given).holds


def test_plans_say_whether_they_have_one() -> None:
    from ironbound.names import plan_named

    assert plan_named("standard").curve
    assert plan_named("thorough").curve
    assert not plan_named("quick").curve
    assert not plan_named("pgd").curve


@dataclass(frozen=True)
class Lying:
    """Interval bounds that forget everything where boxes are narrow."""

    name = "ibp"
    width: float

    def margins(self, graph: Any, region: Any, y: Tensor, dtype: Any, learned: Any = None) -> Margins:
        narrow = (region.hi - region.lo).flatten(1).amax(1) < self.width
        middle = (region.lo + region.hi) / 2
        wide = Ibp().margins(graph, region, y, dtype)
        point = Ibp().margins(graph, replace(region, lo=middle, hi=middle), y, dtype)
        return Margins(torch.where(narrow[:, None], point.least, wide.least), wide.scale)


def test_a_certificate_beyond_a_witness_is_an_alarm(tmp_path: Path) -> None:
    plan = Plan(
        "unsound", (Bounds("ibp", Lying(0.099)), Attacking("pgd", pgd(steps=40, random_start=False))), curve=True
    )
    with pytest.raises(SoundnessAlarm):
        ib.audit(net(), digits(SAMPLES), threat="linf:0.1", method=plan, out=tmp_path / "r")
    assert Audit.load(tmp_path / "r").facts["curve"] == {"left_out": REASONS["alarm"]}
    assert not (tmp_path / "r" / "curve").exists()


# ---------------------------------------------------------------------------------------------------- going on
def _stopped(folder: Path, parts: int, **options: Any) -> None:
    """An audit that is interrupted once so many parts of its curve are written."""

    def listener(event: Event) -> None:
        if event.stage == "curve" and len(list((folder / "curve").glob("*.parquet"))) == parts:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audited(folder, progress=listener, **options)


@pytest.mark.parametrize("parts", [1, 2])
def test_interrupted_and_gone_on_with_it_is_the_same(finished: Path, tmp_path: Path, parts: int) -> None:
    folder = tmp_path / "run"
    _stopped(folder, parts)
    assert not (folder / "audit.json").exists()
    before = {path.name: path.read_bytes() for path in (folder / "curve").iterdir()}
    (folder / "curve" / ".part-00002.parquet.1.tmp").write_bytes(b"half")
    audited(folder, resume=True)
    assert curve_of(folder) == curve_of(finished)
    assert all((folder / "curve" / name).read_bytes() == content for name, content in before.items())
    assert len(list((folder / "curve").glob("part-*.parquet"))) == 3
    assert not list((folder / "curve").glob(".*"))
    assert ib.verify(folder, net(), digits(SAMPLES)).holds


def test_a_truncated_part_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    _stopped(folder, 1)
    part = folder / "curve" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(RunError, match=r"part-00000.parquet cannot be read as part of a curve.*take it away"):
        audited(folder, resume=True)


def test_it_can_be_added_to_a_finished_run_and_taken_away(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    audited(folder, curve=False)
    audited(folder, curve=True, resume=True)
    assert curve_of(folder) == curve_of(finished)
    audited(folder, curve=False, resume=True)
    assert not (folder / "curve").exists()
    assert ib.verify(folder, net(), digits(SAMPLES)).holds


def test_of_merged_shards_it_is_that_of_the_undivided_run(finished: Path, tmp_path: Path) -> None:
    shards = [audited(tmp_path / str(i), shard=f"{i}/2").folder for i in (1, 2)]
    assert not any((shard / "curve").exists() for shard in shards)
    whole = ib.merge(shards, net(), digits(SAMPLES), out=tmp_path / "whole", method=PLAN)
    assert curve_of(whole.folder) == curve_of(finished)


def test_of_data_that_stay_on_disk_it_is_the_same(tmp_path: Path) -> None:
    data = digits(20)
    np.save(tmp_path / "x.npy", data.x.numpy())
    np.save(tmp_path / "y.npy", data.y.numpy())
    curves = []
    for stream in (True, False):
        data = load(tmp_path, stream=stream)
        folder = ib.audit(net(), data, threat="linf:0.1", method=PLAN, out=tmp_path / f"r{stream}").folder
        assert ib.verify(folder, net(), data).holds
        curves.append(curve_of(folder))
    assert curves[0] == curves[1]


# ---------------------------------------------------------------------------------------------------- verified
def must_fail(folder: Path, said: str) -> None:
    found = ib.verify(folder, net(), digits(SAMPLES))
    assert any(said in failure for failure in found.failures), found.failures


def _rows(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """A part of the curve with other rows, and audit.json with what follows from them."""
    from ironbound.auditing.curve.parts import curve_facts

    path = folder / "curve" / "part-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    again = curve_facts(RunFolder.open(folder), SAMPLES)
    edited(folder / "audit.json", lambda facts: facts.update(curve=json.loads(json.dumps(again))))


def _broken(rows: list[dict[str, Any]], low: float, high: float) -> dict[str, Any]:
    return next(row for row in rows if low < row["broken"] <= high)


def test_a_good_curve_holds(finished: Path) -> None:
    assert ib.verify(finished, net(), digits(SAMPLES)).holds


@pytest.mark.parametrize("name", ["part-00000.parquet", "part-00001.safetensors"])
def test_one_bit_of_it_is_seen(run: Path, name: str) -> None:
    path = run / "curve" / name
    flipped(path, 8 * (path.stat().st_size // 2))
    must_fail(run, f"curve/{name} was altered")


def test_a_part_that_came_afterwards_or_is_gone_is_seen(run: Path) -> None:
    part = run / "curve" / "part-00000.parquet"
    shutil.copy(part, run / "curve" / "part-00009.parquet")
    must_fail(run, "curve/part-00009.parquet was not written by the run")
    (run / "curve" / "part-00009.parquet").unlink()
    part.unlink()
    reseal(run)
    must_fail(run, "no curve of part 0")


def test_a_witness_outside_its_ball_is_seen(run: Path) -> None:
    path = run / "curve" / "part-00000.safetensors"
    part, _ = read_tensors(path)
    clean = digits(SAMPLES)
    place = {int(i): row for row, i in enumerate(clean.index.tolist())}
    x = clean.x[[place[int(i)] for i in part["index"]]]
    part["adversarial"] = (x + 1.5 * (part["adversarial"] - x)).clamp(0, 1)
    write_tensors(path, part)
    reseal(run)
    must_fail(run, "its witness on the curve lies outside the threat")


def test_a_witness_that_fools_nobody_is_seen(run: Path) -> None:
    path = run / "curve" / "part-00000.safetensors"
    part, _ = read_tensors(path)
    clean = digits(SAMPLES)
    place = {int(i): row for row, i in enumerate(clean.index.tolist())}
    write_tensors(path, {**part, "adversarial": clean.x[[place[int(i)] for i in part["index"]]]})
    reseal(run)
    must_fail(run, "its witness on the curve does not fool the model")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: _broken(rows, 0.05, 1).update(broken=0.051), "its witness on the curve"),
        (lambda rows: _broken(rows, 0.05, 1).update(broken=0.04), "contradict its verdict"),
        (lambda rows: _broken(rows, 0, 0.05).update(broken=math.inf), "contradict its verdict"),
        (lambda rows: _broken(rows, 0, 0.05).update(broken=0.001), "its witness on the curve"),
        (lambda rows: _broken(rows, 0.05, math.inf).update(certified=0.1, method="ibp"), "contradict its verdict"),
        (lambda rows: _broken(rows, 0, 0.05).update(certified=0.05 / 8, method="guess"), "by 'guess'"),
        (lambda rows: rows.pop(), "not of the samples"),
        (lambda rows: rows[0].update(key="0" * 32), "not of the samples"),
    ],
)
def test_a_changed_row_is_seen(run: Path, change: Callable[[Any], Any], said: str) -> None:
    _rows(run, change)
    must_fail(run, said)


def test_a_certificate_without_a_proof_is_seen(run: Path) -> None:
    def higher(rows: list[dict[str, Any]]) -> None:
        verdicts = Verdicts.of(RunFolder.open(run))
        open_ = set(verdicts.index[verdicts.verdict == "undecided"].tolist())
        row = next(row for row in rows if row["index"] in open_ and row["certified"] < 0.05 * 0.875)
        row.update(certified=0.05 * 0.875, method="ibp")

    _rows(run, higher)
    must_fail(run, "cannot be confirmed")


def test_changed_figures_are_seen(run: Path) -> None:
    edited(run / "audit.json", lambda facts: facts["curve"]["attacked"][3].update(count=SAMPLES))
    must_fail(run, "'curve' does not follow")


def test_a_curve_that_is_not_owned_up_to_is_seen(run: Path) -> None:
    edited(run / "audit.json", lambda facts: facts.pop("curve"))
    must_fail(run, "audit.json has no curve")
