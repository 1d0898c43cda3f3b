"""The pilot: the order of stages by verdicts per cost, what is left out and why, and that runs follow what was decided."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ironbound as ib
from audit_samples import digits, digits_net
from form_samples import undescribed
from ironbound import recipes
from ironbound.auditing.facts import facts_of
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.pilot import Trial, decide
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.plans import quick, standard
from ironbound.auditing.verdicts import Verdicts
from ironbound.certification.ibp import Ibp
from ironbound.core.errors import CompositionError, FingerprintMismatch, RunError
from ironbound.sets import L0, Finite, Linf


def trial(name: str, decided: str, cost: float, optional: bool = True) -> Trial:
    """ "1100" decided the first two of four samples."""
    stage = Attacking(name, recipes.pgd(steps=1), optional=optional)
    won = torch.tensor([mark == "1" for mark in decided])
    return Trial(stage, won, torch.full((len(decided),), cost, dtype=torch.float64))


def test_what_decides_more_for_less_goes_first() -> None:
    found = decide([trial("dear", "1111", 1000), trial("cheap", "1110", 10), trial("middle", "1110", 100)])
    assert found.order[0] == "cheap"
    assert decide([trial("a", "1000", 10), trial("b", "1110", 10)]).order[0] == "b"


def test_verdicts_count_only_where_nobody_before_had_them() -> None:
    """The second best on everybody is the worst on what the best leaves."""
    found = decide([trial("best", "11100", 10), trial("same", "11000", 12), trial("other", "00010", 12)])
    assert found.order[:2] == ("best", "other")


def test_an_optional_stage_that_decides_nothing_and_saves_nothing_is_left_out() -> None:
    found = decide([trial("strong", "1100", 100, optional=False), trial("idle", "1100", 100)])
    assert found.order == ("strong",)
    assert set(found.left_out) == {"idle"}
    assert "decided none of the 2 pilot samples" in found.left_out["idle"]


def test_a_stage_that_must_run_is_never_left_out() -> None:
    assert decide([trial("strong", "0000", 1e6, optional=False)]).order == ("strong",)


def test_a_cheap_stage_pays_by_what_a_verdict_would_save() -> None:
    """None of 15 decided: half a verdict in sixteen is to be expected, worth 1/32 of the stage behind it."""
    none = "0" * 15
    strong = trial("strong", none, 3200, optional=False)
    assert decide([trial("cheap", none, 99), strong]).order == ("cheap", "strong")
    assert decide([trial("cheap", none, 101), strong]).order == ("strong",)


trials = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.tuples(st.text("01", min_size=n, max_size=n), st.floats(1, 1e4), st.booleans()), min_size=1, max_size=5
    )
)


@given(trials)
def test_no_verdict_of_the_pilot_is_lost_by_leaving_stages_out(rows: list[tuple[str, float, bool]]) -> None:
    made = [trial(f"s{i}", decided, cost, optional) for i, (decided, cost, optional) in enumerate(rows)]
    found = decide(made)
    kept = [one for one in made if one.stage.name in found.order]
    assert set(found.order) | set(found.left_out) == {one.stage.name for one in made}
    assert not set(found.order) & set(found.left_out)
    of = lambda some: torch.stack([torch.zeros_like(made[0].decided), *(one.decided for one in some)]).any(0)
    assert torch.equal(of(kept), of(made))


# -------------------------------------------------------------------------------------------------------- in a run
def plan() -> Plan:
    """Small, and with something to decide."""
    return Plan(
        "small",
        (
            Attacking("dear", recipes.apgd(steps=30)),
            Bounds("ibp", Ibp(), optional=True),
            Attacking("cheap", recipes.pgd(steps=5)),
            Attacking("fab", recipes.fab(steps=10), optional=True),
            Attacking("square", recipes.square(50), witness=True, optional=True, most=8),
            Attacking("square on all", recipes.square(100), witness=True, optional=True, after="square"),
        ),
        adaptive=True,
    )


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> ib.Audit:
    place = tmp_path_factory.mktemp("pilot") / "run"
    return ib.audit(digits_net(), digits(128), threat=Linf(0.05), method=plan(), out=place, pool=32)


def test_the_manifest_says_what_was_decided(audit: ib.Audit) -> None:
    said = json.loads((audit.folder / "manifest.json").read_text())["plan"]
    assert said["pilot"]["samples"] == 16
    assert set(said["pilot"]["stages"]) == {"dear", "ibp", "cheap", "fab"}
    assert said["stages"].index("cheap") < said["stages"].index("dear")
    assert [*said["pilot"]["left_out"].values()] == [note for note in audit.facts["notes"] if "left out" in note]
    assert audit.facts["pilot"]["forward"] > 16
    assert undescribed("audit-2", json.loads(audit.to_json())) == []
    assert {stage["name"] for stage in audit.facts["stages"]} <= {*said["stages"]}


def test_the_pilot_is_the_same_in_every_shard_and_their_merge_is_the_undivided_run(
    audit: ib.Audit, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("shards")
    net, data = digits_net(), digits(128)
    folders = [place / str(i) for i in (1, 2)]
    for i, folder in enumerate(folders):
        part = ib.audit(net, data, threat=Linf(0.05), method=plan(), out=folder, pool=32, shard=f"{i + 1}/2")
        assert "square on the 8 survivors with the smallest keys" in part.facts["confidence"]["text"]
        assert len(part.facts["pending"]) == 2
    unchecked = ib.merge(folders, out=place / "whole")
    assert unchecked.facts["pending"]
    whole = ib.merge(folders, net, data, out=place / "whole", method=plan(), resume=True)
    assert whole.facts["pending"] == []
    assert whole.verdicts == audit.verdicts
    assert whole.details.table.equals(audit.details.table)
    assert ib.verify(whole.folder, net, data).holds


def test_a_resumed_run_follows_what_was_decided(audit: ib.Audit, tmp_path: pytest.TempPathFactory) -> None:
    def stop(event: object) -> None:
        if getattr(event, "stage", "") == "samples":
            raise KeyboardInterrupt

    net, data, out = digits_net(), digits(128), tmp_path / "run"  # type: ignore[operator]
    options = {"threat": Linf(0.05), "method": plan(), "out": out, "pool": 32}
    with pytest.raises(KeyboardInterrupt):
        ib.audit(net, data, progress=stop, **options)
    resumed = ib.audit(net, data, resume=True, **options)
    assert resumed.verdicts == audit.verdicts
    assert resumed.facts["plan"] == audit.facts["plan"]
    other = Plan("small", plan().stages[:-2], adaptive=True)
    with pytest.raises(FingerprintMismatch, match="the plan"):
        ib.audit(net, data, resume=True, **{**options, "method": other})


def fewer(manifest: dict[str, Any]) -> None:
    manifest["plan"]["last"][0]["most"] = 1


def none(manifest: dict[str, Any]) -> None:
    manifest["plan"]["last"] = []


def larger(manifest: dict[str, Any]) -> None:
    manifest["pool"] = 64


def shorter(manifest: dict[str, Any]) -> None:
    manifest["data"]["rows"] = 96


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [(fewer, "'plan' is not what"), (none, "'plan' is not what"), (larger, "its pool has 64"), (shorter, "pool has 0")],
)
def test_a_run_whose_manifest_was_edited_is_not_gone_on_with(
    edit: Callable[[dict[str, Any]], None], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the stages behind the pools: what the manifest says of them would be followed."""
    net, data = digits_net(), digits(128)
    options: dict[str, Any] = {"threat": Linf(0.05), "method": plan(), "out": tmp_path / "run", "pool": 32}
    with monkeypatch.context() as patch:
        patch.setattr("ironbound.auditing.run.last_stages", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ib.audit(net, data, **options)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    edit(manifest)
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=sentence):
        ib.audit(net, data, resume=True, **options)


def test_few_samples_need_no_pilot() -> None:
    few = ib.audit(digits_net(), digits(40), threat=Linf(0.05), method=plan())
    assert few.facts["pilot"] is None
    assert [stage["name"] for stage in few.facts["stages"]][1:4] == ["dear", "ibp", "cheap"]


# ------------------------------------------------------------------------------------------------ stages that wait
def test_square_runs_on_all_survivors_where_it_broke_one_of_the_first(tmp_path: pytest.TempPathFactory) -> None:
    """A single draw of noise is so weak that queries break what it left."""
    weak = Plan("weak", (Attacking("noise", recipes.noise(1)), *plan().stages[-2:]))
    found = ib.audit(digits_net(), digits(128), threat=Linf(0.1), method=weak, out=tmp_path / "run", pool=32)  # type: ignore[operator]
    stages = {stage["name"]: stage for stage in found.facts["stages"]}
    assert stages["square"]["entered"] == 8
    assert stages["square"]["decided"] > 0
    left = stages["noise"]["entered"] - stages["noise"]["decided"] - stages["square"]["decided"]
    assert stages["square on all"]["entered"] == left > 32  # more than one part
    chosen = set(found.details.stage_rows("square")["key"])
    first = found.details.stage_rows("noise")
    assert chosen == set(sorted(first["key"][first["verdict"] == "undecided"])[:8])
    assert found.details.count("broken") == sum(stage["decided"] for n, stage in stages.items() if n != "clean")
    assert ib.verify(found.folder, digits_net(), digits(128)).holds


def test_a_stage_for_near_samples_leaves_out_the_far_ones() -> None:
    """How far an attack came is told by the margins in the results themselves."""
    stages = (Attacking("first", recipes.pgd(steps=3)), Attacking("second", recipes.pgd(steps=9), near=0.6))
    found = ib.audit(digits_net(), digits(96), threat=Linf(0.03), method=Plan("near", stages), pool=32).details
    clean, first, second = (found.stage_rows(name) for name in ("clean", "first", "second"))
    gap = dict(zip(clean["index"], clean["margin"], strict=True))
    share = {i: 1 - margin / gap[i] for i, margin in zip(first["index"], first["margin"], strict=True)}
    ran = dict(zip(second["index"], second["forward"] > 0, strict=True))
    assert set(ran) == set(first["index"][first["verdict"] == "undecided"])
    assert all(ran[i] == (share[i] >= 0.6) for i in ran)
    assert 0 < sum(ran.values()) < len(ran)


def test_an_escalation_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    """A run is checked when nothing is left to run, so that one which was checked and lacks a stage was altered."""
    weak = Plan("weak", (Attacking("noise", recipes.noise(1)), *plan().stages[-2:]))
    net, data = digits_net(), digits(64)
    found = ib.audit(net, data, threat=Linf(0.1), method=weak, out=tmp_path / "run", pool=32)
    run = RunFolder.open(found.folder)
    assert len(run.finished()) > 3
    for number in run.finished()[3:]:  # two pools, and square on eight
        run._results(number).unlink()
        run._witnesses(number).unlink(missing_ok=True)
    (run.path / "attributions.safetensors").unlink(missing_ok=True)
    facts = facts_of(run, Verdicts.of(run), found.checks)
    (run.path / "audit.json").write_text(json.dumps(facts | {"robust": 1.0}))
    run.seal()
    first, second = ib.verify(found.folder, net, data).failures
    assert "'robust' does not follow" in first
    assert "still lacks square on all" in second


def test_another_plan_under_the_name_of_one_is_told(tmp_path: Path) -> None:
    net, data = digits_net(), digits(16)
    honest = ib.audit(net, data, threat=Linf(0.05), method="quick", out=tmp_path / "run")
    assert ib.verify(honest.folder, net, data).warnings == []
    less = Plan("quick", quick().stages[1:])
    found = ib.audit(net, data, threat=Linf(0.05), method=less, out=tmp_path / "less")
    assert "not the plan of that name" in ib.verify(found.folder, net, data).warnings[0]


def test_optional_stages_that_do_not_fit_the_threat_are_left_out() -> None:
    made = Plan("l0", (Attacking("noise", recipes.noise(5)), *plan().stages[-3:]))
    assert [stage.name for stage in made.against(L0(3)).stages] == ["noise"]


def test_standard_keeps_what_it_cannot_do_without() -> None:
    for threat, climbs in {
        Linf(0.1): ["pma", "pma_corners", "margin_vertices", "apgd_narrowed"], L0(3): ["greedy_l0", "sigma_zero"]
    }.items():  # fmt: skip
        made = standard().against(threat)
        assert [stage.name for stage in made.stages if not stage.optional] == [*climbs, "fgsm", "noise"]


def test_stages_for_balls_of_a_norm_stand_in_for_the_others() -> None:
    """Also on parts of a union; witnesses run on all, and sets without a norm have the stages that name none."""
    stages = tuple(stage for stage in standard().stages if not stage.optional)
    made = Plan("both", stages).against(Linf(0.1) | L0(3) | L0(5, of="coordinates"))
    sets = {stage.name: stage.single.set for stage in made.stages if isinstance(stage, Attacking)}
    assert sets["pma"] == Linf(0.1)
    assert (sets["sigma_zero: l0 1"], sets["sigma_zero: l0 2"]) == (L0(3), L0(5, of="coordinates"))
    assert [sets[f"fgsm: {name}"] for name in ("linf", "l0 2", "l0 3")] == [Linf(0.1), L0(3), L0(5, of="coordinates")]
    with pytest.raises(CompositionError, match=r"SUPPORT|PROJECT|STEER"):
        standard().against(Finite([torch.zeros(1, 8, 8)]))


@pytest.mark.parametrize("threat", ["l0:4", "l0:6 coordinates"])
def test_standard_audits_l0(tmp_path: Path, threat: str) -> None:
    """What greedy search and sigma-zero break is verified; checks that look at gradients' steps do not apply."""
    net, data = digits_net(), digits(48)
    found = ib.audit(net, data, threat=threat, out=tmp_path / "run")
    assert found.attacked_accuracy < found.clean_accuracy
    assert ib.verify(found.folder, net, data, threat=threat).failures == []
    results = {check["number"]: check["result"] for check in found.checks}
    assert "fail" not in results.values()
    assert {results[number] for number in (6, 14, 23, 26)} == {"not applicable"}
