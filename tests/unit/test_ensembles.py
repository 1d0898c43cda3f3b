"""AutoAttack's schedules as published, and MALT and PMA beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.errors import UsageError
from ironbound.core.protocols import Want
from ironbound.names import plan_of, set_of
from ironbound.objectives import CrossEntropy, Dlr, Margin, ProbabilityMargin
from ironbound.searches.ascent import Ascent
from ironbound.searches.fab import Fab
from ironbound.searches.guided import Aimed, Likely, Malt
from ironbound.searches.square import Square


def told(attack: Attack) -> tuple[str, int, int, int | None]:
    """Search, steps or queries, restarts, targets."""
    search = attack.search
    inner = search.search if isinstance(search, Aimed) else search
    length = inner.queries if isinstance(inner, Square) else inner.steps  # type: ignore[attr-defined]
    starts = inner.restarts if isinstance(inner, Fab) else attack.restarts
    targets = search.targets.count if isinstance(search, Aimed) else None
    return type(inner).__name__, length, starts, targets


@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.5"])
def test_the_standard_schedule(threat: str) -> None:
    made = ib.recipes.autoattack().against(set_of(threat))
    assert {stage.name: told(stage.attack) for stage in made.stages} == {
        "apgd_ce": ("Ascent", 100, 1, None),
        "apgd_t": ("Ascent", 100, 1, 9),
        "fab_t": ("Fab", 100, 1, 9),
        "square": ("Square", 5000, 1, None),
    }
    assert all(stage.attack.want is Want.FIRST and stage.attack.set == set_of(threat) for stage in made.stages)
    assert isinstance(made.stages[0].attack.objective, CrossEntropy)
    assert isinstance(made.stages[3].attack.objective, Margin)
    assert not made.stages[3].attack.search.rescaled  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", [lambda aa, set_: aa.against(set_), lambda aa, set_: aa.replace(set=set_)])
def test_the_schedule_on_l1(way: Callable[..., Cascade]) -> None:
    made = way(ib.recipes.autoattack(), ib.L1(12.0))
    assert [told(stage.attack) for stage in made.stages] == [
        ("Ascent", 100, 5, None), ("Ascent", 100, 1, 5), ("Fab", 100, 1, 9), ("Square", 5000, 1, None),
    ]  # fmt: skip


def test_a_union_gets_each_norms_own_numbers() -> None:
    made = ib.recipes.autoattack().against(ib.Linf(0.1) | ib.L1(12.0))
    assert [stage.name for stage in made.stages][:5] == [
        "apgd_ce (linf)", "apgd_t (linf)", "fab_t (linf)", "square (linf)", "apgd_ce (l1)",
    ]  # fmt: skip
    assert [stage.attack.restarts for stage in made.stages if "apgd_ce" in stage.name] == [1, 5]


def test_the_plus_schedule() -> None:
    made = ib.recipes.autoattack("plus").against(ib.Linf(0.1))
    assert [(stage.name, *told(stage.attack)) for stage in made.stages] == [
        ("apgd_ce", "Ascent", 100, 5, None), ("apgd_dlr", "Ascent", 100, 5, None), ("fab", "Fab", 100, 5, None),
        ("square", "Square", 5000, 1, None), ("apgd_t", "Ascent", 100, 1, 9), ("fab_t", "Fab", 100, 1, 9),
    ]  # fmt: skip
    assert isinstance(made.stages[1].attack.objective, Dlr)


def test_the_rand_schedule() -> None:
    made = ib.recipes.autoattack("rand").against(ib.Linf(0.1))
    assert [(s.name, s.attack.oracle.cost, s.attack.votes) for s in made.stages] == [
        ("apgd_ce", 20, 20), ("apgd_dlr", 20, 20),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="standard, plus and rand"):
        ib.recipes.autoattack("custom")


def test_malt_and_pma_are_apgd_with_other_parts() -> None:
    malt, pma = ib.recipes.malt(), ib.recipes.pma()
    assert told(malt) == ("Ascent", 100, 1, 9)
    assert isinstance(malt.search.targets, Malt)
    assert isinstance(ib.recipes.apgd_targeted().search.targets, Likely)
    assert isinstance(pma.objective, ProbabilityMargin)
    assert isinstance(pma.search, Ascent)


Small = tuple[nn.Module, Tensor, Tensor]


@pytest.fixture(scope="module")
def small() -> Small:
    """A net that is unsure near most inputs, so that hardly any reaches the long stages."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 5))
        x = torch.rand(24, 3, 4, 4)
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize("threat", [ib.Linf(0.06), ib.L2(0.25), ib.L1(1.0)], ids=repr)
def test_autoattack_is_no_weaker_than_its_parts(small: Small, threat: ib.Linf) -> None:
    net, x, y = small
    found = ib.attack(net, x, y, threat=threat, method=shortened(ib.recipes.autoattack()))
    parts: list[Callable[[], Attack]] = [lambda: ib.recipes.apgd(steps=20), lambda: ib.recipes.pma(steps=20)]
    for make in parts:
        alone = ib.attack(net, x, y, threat=threat, method=make())
        assert int((alone.success & ~found.success).sum()) <= 1  # another start may find one more
    assert bool(found.success.any())
    assert not bool(found.success.all())
    region = threat.at(x, (0.0, 1.0))
    assert bool(region.contains(found.adversarial).all())
    fooled = torch.cat([net(x_[None]).argmax(1) for x_ in found.adversarial]) != y
    assert torch.equal(fooled, found.success)
    assert [row["name"] for row in found.config["stages"]] == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert all("DLR" not in note for note in found.config["notes"])
    assert any("of 5 classes there are 4" in note for note in found.config["notes"])


def shortened(cascade: Cascade) -> Cascade:
    """The same schedule with few steps."""

    def shorter(attack: Attack) -> Attack:
        search = attack.search
        inner = search.search if isinstance(search, Aimed) else search
        few = Square(queries=60, rescaled=False) if isinstance(inner, Square) else _with_steps(inner)
        return attack.replace(search=Aimed(few, search.loss, search.targets) if isinstance(search, Aimed) else few)

    return cascade.each(shorter)


def _with_steps(search: object) -> object:
    import dataclasses

    return dataclasses.replace(search, steps=20)  # type: ignore[type-var]


def test_rand_attacks_a_model_that_draws() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        x = torch.rand(8, 3, 2, 2)

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return net(x + 0.02 * torch.randn_like(x))

    found = ib.attack(ib.Model(Noisy(), random=True), x, net(x).argmax(1), threat="linf:0.5",
                      method=shortened(ib.recipes.autoattack("rand")))  # fmt: skip
    assert bool(found.success.any())


def test_by_name_at_the_prompt_and_in_an_audit(small: Small) -> None:
    net, x, y = small
    plan = plan_of("attack", ["autoattack"]).against(ib.Linf(0.5))
    assert [stage.name for stage in plan.stages] == [
        f"autoattack: {n}" for n in ("apgd_ce", "apgd_t", "fab_t", "square")
    ]
    report = ib.audit(net, (x, y), threat="linf:0.5", method="aa")
    assert report.facts["attacked"]["fraction"] == 0
