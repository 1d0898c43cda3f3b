"""Bounds between attacks: what they cost, when they are left out, where attacks start, and that runs can be checked again."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from audit_samples import digits, digits_net
from ironbound import recipes
from ironbound.auditing.curve.draw import cheapest
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.plans import quick, standard, thorough
from ironbound.auditing.pools import Evaluation, Pool, begun, clean_pass, pass_stage
from ironbound.auditing.prices import LINEAR, bounding, spent
from ironbound.auditing.verdicts import Verdicts
from ironbound.certification.alpha import AlphaCrown
from ironbound.certification.backward import pulled
from ironbound.certification.bounder import swept
from ironbound.certification.certificates import Certificates, prove
from ironbound.certification.coefficients import Dense
from ironbound.certification.crown import Crown
from ironbound.certification.estimates import estimate
from ironbound.certification.functionals import Rows
from ironbound.certification.graph import trace
from ironbound.certification.ibp import Ibp
from ironbound.certification.margins import Margins, before_softmax
from ironbound.certification.worst import worst_points
from ironbound.core.errors import UnsupportedOperation, UsageError
from ironbound.core.rng import Rng, forked
from ironbound.models.model import Model
from ironbound.searches.starts import Vertices
from ironbound.sets import L1, L2, Finite, Linf


@pytest.fixture(autouse=True)
def _without_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested elsewhere, and take most of the time."""
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])


def net(*widths: int, seed: int = 0) -> nn.Sequential:
    with forked(seed):
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[part for pair in layers for part in pair][:-1]).eval().requires_grad_(False)


# ------------------------------------------------------------------------------------------------------- the vertices
@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.3), L1(0.4)], ids=str)
def test_a_vertex_is_in_the_set_and_the_linear_bound_is_least_there(threat: Any) -> None:
    made, x = net(4, 7, 6, 3), torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    model, y, targets = (
        Model.of(made),
        torch.tensor([0, 1, 2, 0, 1]),
        torch.tensor([[1, 2], [0, 2], [1, 0], [2, 1], [2, 0]]),
    )
    graph, region = trace(made, x), threat.at(x, (0.0, 1.0))
    points = worst_points(graph, model, x, y, targets, threat)
    assert points.shape == (5, 2, 4)
    assert bool(region.take(torch.arange(5).repeat_interleave(2)).contains(points.flatten(0, 1)).all())
    _, bounder = swept(graph, region, torch.float32, refine=False)
    assert bounder.known is not None
    for k in range(2):
        a = (nn.functional.one_hot(y, 3) - nn.functional.one_hot(targets[:, k], 3)).float()
        inside = pulled(before_softmax(graph), Dense(a), Rows(bounder.known, torch.arange(5))).inside
        assert inside is not None
        slope = inside.dense()
        least = (slope * points[:, k]).sum(1)
        for draw in range(50):
            assert bool((least <= (slope * region.sample(Rng(torch.arange(5)).fold(draw))).sum(1) + 1e-5).all())
        if threat == Linf(0.2):  # all corners, exactly
            ends = torch.stack([region.lo, region.hi])
            corners = [ends[list(c), :, range(4)].T for c in itertools.product((0, 1), repeat=4)]
            assert torch.allclose(least, torch.stack([(slope * c).sum(1) for c in corners]).amin(0), atol=1e-6)


def test_each_restart_begins_at_its_own_vertex_and_further_ones_at_corners() -> None:
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(4, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return torch.cat([self.net(x) * 0, self.net(x)[:, :1] * 0 - 1], 1) + torch.tensor([1.0, 0, 0, 0])

    x, points = torch.full((2, 4), 0.5), torch.tensor([[[0.4] * 4, [0.6] * 4], [[0.45] * 4, [0.55] * 4]])
    attack = recipes.apgd(steps=1, restarts=3, loss="margin")
    attack = attack.replace(search=replace(attack.search, start=Vertices(points)))  # type: ignore[type-var]
    found = ib.attack(Watched(), x, torch.zeros(2, dtype=torch.long), threat=Linf(0.1), method=attack)
    assert not bool(found.success.any())
    asked = torch.cat(seen)
    for wanted in points.flatten(0, 1):
        assert bool((asked - wanted).abs().amax(1).lt(1e-6).any())
    corners = (asked - 0.5).abs().sub(0.1).abs().amax(1).lt(1e-6) & (asked.amax(1) - asked.amin(1) > 0.1)
    assert bool(corners.any())  # the third restart, mixed signs


def test_attacks_of_an_audit_start_where_the_bounds_are_least(monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = digits(40), Model.of(digits_net())
    asked: list[Any] = []
    given = Vertices.__call__
    monkeypatch.setattr(Vertices, "__call__", lambda self, task: asked.append(self.points) or given(self, task))
    stage = next(s for s in standard().against(Linf(0.1)).stages if s.name == "margin_vertices")
    for graph in (trace(digits_net(), data.x[:1]), None):
        graph = graph and trace(model.module, data.x[:1])
        evaluation = Evaluation(model, Linf(0.1), Plan("one", (stage,)), graph=graph, bounds=graph is not None)
        pool = _pool(evaluation, data)
        pass_stage(evaluation, pool, stage)
        points = asked.pop()
        assert (points is None) == (graph is None)
        assert (pool.costs[stage.name]["bounding"] > 0) == (graph is not None)
    assert all(broken in "wrong broken undecided" for broken in pool.verdict)


def _pool(evaluation: Evaluation, data: Any) -> Pool:
    pool = begun(evaluation, data, torch.arange(len(data)))
    clean_pass(evaluation, pool, data)
    return pool


# ------------------------------------------------------------------------------------------------------ what they cost
def test_an_estimate_is_rows_by_their_multiply_adds() -> None:
    """One interval pass (4), and two passes of a row for each other class: each takes what a forward pass does."""
    made, x = net(4, 5, 6, 3), torch.full((3, 4), 0.5)
    model, graph = Model.of(made), trace(made, x[:1])
    of = lambda method, eps: estimate(method, graph, model, x, Linf(eps))
    assert of(Crown("ibp"), 0.3).tolist() == [8.0] * 3
    assert of(Crown(), 1e-6).tolist() == [8.0] * 3  # nothing is undecided
    small, large = of(Crown(), 0.1), of(Crown(), 0.5)
    assert bool((large > small).all())
    assert float(large.max()) <= 8 + 2 * 2 * 6  # six values in between, two ends each, twice
    assert float(of(AlphaCrown("last", steps=5), 1e-6)[0]) == 4 + 2 * (3 + 3 * 5)
    assert bool((of(AlphaCrown("all", steps=5), 0.5) > of(AlphaCrown("last", steps=5), 0.5)).all())
    assert estimate(Ibp(), graph, model, x, Linf(0.1)) is None
    both = estimate(Crown(), graph, model, x, Linf(0.1) | L2(0.2))
    assert both is not None
    assert torch.equal(both, of(Crown(), 0.1) + estimate(Crown(), graph, model, x, L2(0.2)))


def test_what_a_proof_cost_is_what_it_counted_or_the_fixed_table() -> None:
    @dataclass(frozen=True)
    class Said:
        cost: Tensor

        def __len__(self) -> int:
            return len(self.cost)

    assert bounding(Said(torch.tensor([3.0, 5.0])), Crown()).tolist() == [3 * LINEAR, 5 * LINEAR]
    assert bounding(Said(torch.tensor([3.0])), Ibp()).tolist() == [3.0]
    plain = Certificates(torch.tensor([True]), torch.ones(1), ["x"], torch.ones(1))
    plain = plain if getattr(plain, "cost", None) is None else replace(plain, cost=None)
    assert bounding(plain, Ibp()).tolist() == [Ibp.cost]
    assert spent([{"a": {"forward": 2, "backward": 3, "bounding": 4.5}, "b": {"forward": 1, "backward": 0}}]) == 13.5


@dataclass(frozen=True)
class Dear:
    """Costs more than it says that it may, and must never be run."""

    expected: float = 1e9
    name = "dear"

    def estimate(self, graph: Any, region: Any) -> Tensor:
        return torch.full((len(region.lo),), self.expected, dtype=torch.float64)

    def margins(self, graph: Any, region: Any, y: Tensor, dtype: torch.dtype, learned: Any = None) -> Margins:
        raise AssertionError("it was run")


def small(*bounds: Bounds, adaptive: bool = True) -> Plan:
    """A plan with one attack behind its bounds."""
    return Plan("small", (*bounds, Attacking("pgd", recipes.pgd(steps=5))), adaptive=adaptive)


@pytest.mark.parametrize(("samples", "adaptive"), [(128, True), (40, False)])
def test_a_bound_that_is_too_dear_is_not_even_tried(samples: int, adaptive: bool, tmp_path: Path) -> None:
    """By the pilot's attacks, or by what the plan allows where there is no pilot."""
    most = None if samples == 128 else 1000.0
    plan = small(
        Bounds("ibp", Ibp(), optional=True), Bounds("dear", Dear(), optional=True, most=most), adaptive=adaptive
    )
    model, data = digits_net(), digits(samples)
    found = ib.audit(model, data, threat=Linf(0.05), method=plan, out=tmp_path / "run", pool=32, checks="budget")
    (why,) = (note for note in found.facts["notes"] if note.startswith("dear was left out: it would cost up to"))
    assert ("all attacks together cost" in why) == (samples == 128)
    assert [stage["name"] for stage in found.facts["stages"]] == ["clean", "ibp", "pgd"]
    again = ib.audit(model, data, threat=Linf(0.05), method=plan, out=tmp_path / "run", pool=32, resume=True)
    assert again.verdicts == found.verdicts
    assert again.facts["notes"] == found.facts["notes"]
    assert ib.verify(found.folder, model, data).failures == []


def test_a_bound_that_is_cheap_enough_is_tried() -> None:
    plan = small(Bounds("dear", Dear(expected=1.0), optional=True, most=1000.0))
    with pytest.raises(AssertionError, match="it was run"):
        ib.audit(digits_net(), digits(40), threat=Linf(0.05), method=plan)


# ----------------------------------------------------------------------------------------------------------- the order
def test_the_plans_have_bounds_from_cheap_to_dear() -> None:
    names = lambda plan: [stage.name for stage in plan.stages if isinstance(stage, Bounds)]
    assert names(quick()) == ["ibp"]
    for plan in (standard(), thorough()):
        assert names(plan) == ["ibp", "crown-ibp", "crown", "alpha-crown"]
        dear = [stage for stage in plan.stages if isinstance(stage, Bounds)][1:]
        assert all(stage.optional and stage.most for stage in dear)


def test_bounds_go_on_with_what_bounds_and_attacks_left(tmp_path: Path) -> None:
    plan = Plan("cascade", (
        Attacking("pgd", recipes.pgd(steps=3)), Bounds("ibp", Ibp()), Bounds("crown", Crown()),
        Bounds("alpha", AlphaCrown("last", steps=4), near=0.1, of="crown"), Attacking("apgd", recipes.apgd(steps=10)),
    ))  # fmt: skip
    data, model = digits(60), digits_net()
    found = ib.audit(model, data, threat=Linf(0.08), method=plan, out=tmp_path / "run", pool=25)
    stages = {stage["name"]: stage for stage in found.facts["stages"]}
    order = ["clean", "pgd", "ibp", "crown"]
    for before, after in itertools.pairwise(order):
        assert stages[after]["entered"] == stages[before]["entered"] - stages[before]["decided"]
    assert stages["crown"]["decided"] > 0
    assert all(stages[name]["bounding"] > 0 for name in ("ibp", "crown", "alpha"))
    crown, alpha, clean = (found.details.stage_rows(name) for name in ("crown", "alpha", "clean"))
    gap = dict(zip(clean["index"], clean["margin"], strict=True))
    proven = dict(zip(crown["index"], crown["margin"], strict=True))
    ran = {i: cost > 0 for i, cost in zip(alpha["index"], alpha["bounding"], strict=True)}
    assert set(ran) == set(crown["index"][crown["verdict"] == "undecided"])
    assert ran == {i: proven[i] >= 0.1 * gap[i] for i in ran}
    assert 0 < sum(ran.values()) < len(ran)
    assert found.facts["cost"]["bounding"] == sum(stage["bounding"] for stage in stages.values())
    from ironbound.auditing.report import wording

    said = wording.proofs(found.facts)  # type: ignore[arg-type]
    assert f"{stages['crown']['decided']} by crown" in said
    assert said in found.to_html()
    assert ib.verify(found.folder, model, data).failures == []
    some = [name for name in ("ibp", "crown", "alpha") if stages[name]["decided"]]
    wanted = min(some, key=lambda name: stages[name]["bounding"] / stages[name]["entered"])
    assert cheapest(Verdicts.of(RunFolder.open(found.folder))) == wanted


# ---------------------------------------------------------------------------------------------- what does not fit, early
class Folded(nn.Module):
    """Interval bounds know all of it; linear ones lack a rule that the test takes away."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(64, 12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1)).tanh()


def test_bounds_that_do_not_fit_are_left_out_one_by_one(tmp_path: Path) -> None:
    plan = small(Bounds("ibp", Ibp()), Bounds("exhaustive", ib.certification.exhaustive.Exhaustive()), adaptive=False)
    found = ib.audit(digits_net(), digits(20), threat=Linf(0.05), method=plan, out=tmp_path / "run")
    assert any(note.startswith("exhaustive was left out: Linf has no end of points") for note in found.facts["notes"])
    assert [stage["name"] for stage in found.facts["stages"]] == ["clean", "ibp", "pgd"]
    assert found.certified_accuracy > 0
    assert ib.verify(found.folder, digits_net(), digits(20)).failures == []


def test_a_plan_of_bounds_alone_says_at_once_what_does_not_fit(tmp_path: Path) -> None:
    exhaustive = ib.certification.exhaustive.Exhaustive()
    for method, threat, data in (
        (exhaustive, Linf(0.05), digits(20)),
        (Ibp(), Finite([torch.zeros(1, 8, 8)]), digits(20)),
    ):
        with pytest.raises(UsageError, match=f"nothing could be certified by {method.name}"):
            ib.audit(
                digits_net(),
                data,
                threat=threat,
                method=Plan("p", (Bounds(method.name, method),)),
                out=tmp_path / "run",
            )
        assert not (tmp_path / "run").exists()

    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft(x.flatten(1)[:, :10]).real

    with pytest.raises(UnsupportedOperation, match="nothing could be certified by crown"):
        ib.audit(
            Odd(), digits(20), threat=Linf(0.05), method=Plan("p", (Bounds("crown", Crown()),)), out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


# --------------------------------------------------------------------------------------------------------- run it again
def test_certificates_are_repeated_with_their_settings(tmp_path: Path) -> None:
    """Also where a stage has another name than its method; what cannot be repeated is named."""
    plan = Plan("p", (Bounds("short", AlphaCrown("last", steps=3, rate=0.25)), Bounds("crown-ibp", Crown("ibp"))))
    model, data = digits_net(), digits(40)
    found = ib.audit(model, data, threat=Linf(0.05), method=plan, out=tmp_path / "run", pool=16)
    said = json.loads((found.folder / "manifest.json").read_text())
    assert said["bounds"] == {"short": "alpha-crown", "crown-ibp": "crown-ibp"}
    assert said["settings"]["short"] == {"layers": "last", "steps": 3, "rate": 0.25, "decay": 0.98}
    checked = ib.verify(found.folder, model, data)
    assert checked.failures == []
    assert checked.certificates == found.details.count("certified") > 0
    said["bounds"]["short"] = "mine"
    (found.folder / "manifest.json").write_text(json.dumps(said))
    run = RunFolder.open(found.folder)
    run.seal()
    failures = ib.verify(found.folder, model, data).failures
    assert any("certified by 'short', which there is not among the bounds" in failure for failure in failures)


@pytest.mark.parametrize("method", [Crown(), AlphaCrown("all", steps=3)], ids=str)
def test_a_certificate_does_not_depend_on_its_company(method: Any) -> None:
    made, data = net(64, 8, 6, 10), digits(12)
    x = data.x.flatten(1)
    y, model = made(x).argmax(1), Model.of(made)
    graph = trace(model.module, x[:1])
    whole = prove(method, model, x, y, Linf(0.12), radii=False, graph=graph)
    assert 0 < int(whole.certified.sum()) < len(x)
    order = torch.arange(12).flip(0)
    alone = [prove(method, model, x[at], y[at], Linf(0.12), radii=False, graph=graph) for at in order.split(5)]
    assert torch.equal(torch.cat([proof.certified for proof in alone]), whole.certified[order])
