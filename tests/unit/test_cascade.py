"""Attacks in turn: who enters which stage, what is kept, and unions of sets."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.auditing.plan import of_attacks
from ironbound.core.cascade import Cascade, Stage
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Budget, Status, Want

Problem = tuple[ib.Model, Tensor, Tensor]


@pytest.fixture(scope="module")
def problem() -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 4)).double()
        x = torch.rand(40, 3, 2, 2, dtype=torch.float64)
    return ib.Model(net), x, net(x).argmax(1)


def stages(*names: str) -> tuple[Stage, ...]:
    threat = ib.Linf(0.06)
    made = {
        "weak": ib.recipes.fgsm(),
        "noise": ib.recipes.noise(3),
        "strong": ib.recipes.pgd(steps=10).replace(objective=ib.Margin()),
    }
    return tuple(Stage(name, made[name].replace(set=threat)) for name in names)


def test_each_stage_gets_what_the_ones_before_left(problem: Problem) -> None:
    model, x, y = problem
    result = Cascade(ib.Linf(0.06), stages("noise", "weak", "strong"))(model, x, y)
    left, forward = torch.arange(len(x)), torch.zeros(len(x), dtype=torch.int64)
    for stage, row in zip(stages("noise", "weak", "strong"), result.config["stages"], strict=True):
        alone = stage.attack(model, x[left], y[left])
        assert row["entered"] == len(left)
        assert row["found"] == int(alone.success.sum())
        assert torch.equal(result.adversarial[left[alone.success]], alone.adversarial[alone.success])
        forward[left] += alone.forward
        left = left[~alone.success]
    assert torch.equal(result.success.nonzero()[:, 0], torch.tensor([i for i in range(40) if i not in left.tolist()]))
    assert torch.equal(result.forward, forward)
    assert bool((result.success.sum() > 0) & (result.success.sum() < 40))


def test_the_smallest_witness_of_all_stages_is_kept(problem: Problem) -> None:
    model, x, y = problem
    first, second = (s.attack.replace(want=Want.SMALLEST) for s in stages("weak", "strong"))
    result = Cascade(ib.Linf(0.06), (Stage("a", first), Stage("b", second)))(model, x, y)
    sizes = [attack(model, x, y) for attack in (first, second)]
    least = torch.stack([torch.where(r.success, r.size, torch.inf) for r in sizes]).amin(0)
    assert torch.equal(torch.where(result.success, result.size, torch.inf), least)
    assert torch.equal(result.status == Status.FOUND, result.success & (result.size > 0))


def test_what_hindered_a_stage_is_not_forgotten(problem: Problem) -> None:
    model, x, y = problem
    short = stages("strong")[0].attack.replace(budget=Budget(forward=2), set=ib.Linf(1e-4))
    calm = stages("noise")[0].attack.replace(set=ib.Linf(1e-4))
    result = Cascade(ib.Linf(1e-4), (Stage("short", short), Stage("calm", calm)))(model, x, y)
    assert set(result.status_names) == {"budget"}


def test_a_union_is_attacked_part_by_part(problem: Problem) -> None:
    model, x, y = problem
    parts = ib.Linf(0.03), ib.L2(0.12)
    attack = ib.recipes.pgd(steps=10)
    union = ib.attack(model, x, y, threat=parts[0] | parts[1], method=attack)
    alone = [ib.attack(model, x, y, threat=part, method=attack) for part in parts]
    assert torch.equal(union.success, alone[0].success | alone[1].success)
    assert bool((alone[1].success & ~alone[0].success).any())
    region = (parts[0] | parts[1]).at(x, model.box)
    assert bool(region.contains(union.adversarial)[union.success].all())
    assert bool((union.size[union.success] <= 1).all())
    assert [row["name"] for row in union.config["stages"]] == ["linf", "l2"]
    direct = attack.replace(set=parts[0] | parts[1])(model, x, y)
    assert torch.equal(direct.success, union.success)


def test_a_radius_a_problem_goes_with_its_problem(problem: Problem) -> None:
    model, x, y = problem
    radius = torch.where(torch.arange(40) % 2 == 0, 0.0, 0.06).double()
    result = ib.attack(model, x, y, threat=ib.Linf(radius) | ib.L2(radius), method=ib.recipes.pgd(steps=10))
    assert not bool(result.success[::2].any())
    same = ib.attack(model, x, y, threat=ib.Linf(0.06) | ib.L2(0.06), method=ib.recipes.pgd(steps=10))
    assert torch.equal(result.success[1::2], same.success[1::2])
    assert bool(result.success.any())


def test_an_audit_shows_each_stage(problem: Problem, tmp_path: object) -> None:
    model, x, y = problem
    plan = of_attacks([("both", Cascade(ib.Linf(0.06), stages("noise", "strong")))])
    report = ib.audit(model, (x, y), threat=ib.Linf(0.03) | ib.L2(0.12), method=plan, out=f"{tmp_path}/run")
    names = [stage["name"] for stage in report.facts["stages"]]
    assert [n for n in names if n != "clean"] == [
        "both: noise (linf)", "both: strong (linf)", "both: noise (l2)", "both: strong (l2)",
    ]  # fmt: skip
    assert ib.verify(f"{tmp_path}/run", model, (x, y)).holds


def test_stages_have_names_of_their_own() -> None:
    one = stages("weak")[0]
    with pytest.raises(UsageError, match="different names"):
        Cascade(ib.Linf(0.06), (one, one))
    with pytest.raises(UsageError, match="different names"):
        Cascade(ib.Linf(0.06), ())


def test_an_aimed_search_cannot_be_sent_to_a_class(problem: Problem) -> None:
    model, x, y = problem
    with pytest.raises(CompositionError, match="leads away from the label"):
        ib.attack(model, x, y, threat="linf:0.1", method="apgd_targeted", target=2)


def test_streams_of_stages_differ(problem: Problem) -> None:
    model, x, y = problem
    pgd = ib.recipes.pgd(steps=1).replace(set=ib.Linf(1e-3), want=Want.STRONGEST)
    here, there = pgd(model, x, y), dataclasses.replace(pgd, stream="there")(model, x, y)
    assert not torch.equal(here.adversarial, there.adversarial)
