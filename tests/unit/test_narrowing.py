"""Short climbs towards all targets, long ones towards those that came nearest."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.errors import UsageError
from ironbound.objectives import TargetMargin
from ironbound.searches.ascent import Ascent, Uniform
from ironbound.searches.guided import Aimed, Likely, Malt
from ironbound.searches.moves import Step
from ironbound.searches.narrowing import Narrowed

C, D = 6, 12
WHOLE = Ascent(1, Step(1.0, relative=True))
"""One step to the set's edge: on a linear net that is as near to its target as one can come."""


class Linear(nn.Module):
    """A linear net that notes the inputs of every pass; the label 0 is far above, so that nothing breaks."""

    def __init__(self, classes: int = C, ahead: float = 3.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(classes, D, dtype=torch.float64, generator=generator))
        self.weight.data[0] += ahead
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return x.flatten(1) @ self.weight.T


def problem(n: int = 5, **settings: Any) -> tuple[Linear, ib.Model, Tensor, Tensor]:
    net = Linear(**settings)
    x = 0.2 + 0.6 * torch.rand(n, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    model = ib.Model(net, outputs="logits")
    x, y = model.admit(x, torch.zeros(n, dtype=torch.int64))
    model.settle(x)
    net.seen.clear()
    return net, model, x, y


def attack_of(search: Any, eps: float = 0.05, **parts: Any) -> ib.Attack:
    return ib.Attack(ib.Linf(eps), ib.Untargeted(), ib.CrossEntropy(), search, ib.Direct(), **parts)


def within_reach(net: Linear, x: Tensor, eps: float) -> Tensor:
    """The largest z_t - z_0 in the Linf ball for t = 1, 2, ...: the gap at x and eps times its gradient's L1 norm."""
    slopes = net.weight.detach()[1:] - net.weight.detach()[:1]
    return x.flatten(1) @ slopes.T + eps * slopes.abs().sum(1)


def test_the_long_climbs_go_to_the_targets_that_came_nearest() -> None:
    net, model, x, y = problem()
    net.weight.data[2] *= 10  # far behind at the input, and quick to come near
    attack_of(Narrowed(WHOLE, WHOLE, 2, TargetMargin(), Likely(C - 1)), 0.1)(model, x, y)
    expected = within_reach(net, x, 0.1).argsort(1, descending=True)[:, :2] + 1
    at_the_input = (x.flatten(1) @ net.weight.T)[:, 1:].argsort(1, descending=True)[:, :2] + 1
    assert not torch.equal(expected, at_the_input)
    moved = net.seen[2 + 2 * (C - 1) :: 2]  # past the clean pass and the short climbs, the second of each climb's two
    assert len(moved) == 2
    for turn, points in enumerate(moved):
        slope = net.weight[expected[:, turn]] - net.weight[0]
        assert torch.equal((points - x).flatten(1).sign(), slope.detach().sign())


def test_a_single_breakable_target_is_found_although_it_is_the_least_likely() -> None:
    """With eps = 0.3: z_5 - z_0 is -6 at the input and 3 at best; the others' -1.8 and -0.72. Short climbs end before 0."""
    net, model, x, y = problem(8)
    x = 0.5 + 0.01 * (x - 0.5)
    ones = torch.ones(D, dtype=torch.float64)
    alternating = ones * torch.tensor([1.0, -1.0]).repeat(D // 2)
    net.weight.data = torch.stack([ones, *(0.7 * ones for _ in range(4)), 2.5 * alternating])
    eps, long, short = 0.3, Ascent(20, Step(0.1, relative=True)), Ascent(6, Step(0.1, relative=True))
    assert bool((net(x).argmin(1) == 5).all())
    found = attack_of(Narrowed(long, short, 1, TargetMargin(), Likely(C - 1)), eps)(model, x, y)
    assert bool(found.success.all())
    assert int(found.backward.min()) > 6 * (C - 1)  # by the long climb
    assert bool(ib.Linf(eps).at(x, (0.0, 1.0)).contains(found.adversarial).all())
    alone = attack_of(Aimed(long, TargetMargin(), Likely(1)), eps)(model, x, y)
    assert not bool(alone.success.any())


@pytest.mark.parametrize(
    ("classes", "keep", "forward", "backward"),
    [
        (C, 3, 1 + 5 * 5 + 3 * 8, 5 * 4 + 3 * 7),
        (100, 2, 1 + 9 * 5 + 2 * 8, 9 * 4 + 2 * 7),
        (4, 3, 1 + 3 * 8, 3 * 7),  # three targets, three kept: nothing to choose
        (2, 3, 1 + 8, 7),
    ],
)
def test_the_rows_are_those_of_the_formula(classes: int, keep: int, forward: int, backward: int) -> None:
    _, model, x, y = problem(classes=classes, ahead=40.0)
    search = Narrowed(Ascent(7, Step(0.1)), Ascent(4, Step(0.1)), keep)
    found = attack_of(search, restarts=2)(model, x, y)
    assert not bool(found.success.any())
    assert found.forward.tolist() == [2 * forward] * len(x)
    assert found.backward.tolist() == [2 * backward] * len(x)


def test_the_recipe_costs_what_it_says() -> None:
    _, model, x, y = problem(classes=12, ahead=40.0)
    made = ib.recipes.apgd_narrowed(steps=10, short=3, targets=9, keep=2, restarts=2).replace(set=ib.Linf(0.05))
    found = made(model, x, y)
    assert found.forward.tolist() == [2 * (2 + 9 * 4 + 2 * 11)] * len(x)
    assert found.backward.tolist() == [2 * (12 + 9 * 3 + 2 * 10)] * len(x)


def test_what_stands_in_is_said_and_none_to_keep_is_refused() -> None:
    made = ib.recipes.apgd_narrowed()
    assert made.notes(10) == []
    assert made.notes(3) == ["9 targets were asked for; of 3 classes there are 2."]
    assert len(Narrowed(WHOLE, WHOLE).notes(3)) == 2  # the targeted DLR, too, has too few
    with pytest.raises(UsageError, match="keep=0"):
        ib.recipes.apgd_narrowed(keep=0)


@dataclass(frozen=True)
class Pairs:
    """A search that asks two points of each problem at a time: the input, and a vertex where the loss grows."""

    needs = WHOLE.needs

    def run(self, task: Any) -> Generator[ib.Ask, ib.Answer, None]:
        task.compact()
        x = task.region.identity()
        heard = yield ib.Ask(x, grad=True)
        task.compact()
        p = task.region.project(task.region.identity() + task.region.steepest(heard.grad))
        both = torch.arange(task.n).repeat(2)
        yield ib.Ask(torch.cat([p, task.region.identity()]), owner=both)


def test_the_nearest_of_several_points_of_a_problem_counts() -> None:
    net, model, x, y = problem()
    net.weight.data[2] *= 10
    attack_of(Narrowed(WHOLE, Pairs(), 1, TargetMargin(), Likely(C - 1)), 0.1)(model, x, y)
    expected = within_reach(net, x, 0.1).argmax(1) + 1
    slope = net.weight[expected] - net.weight[0]
    assert torch.equal((net.seen[-1] - x).flatten(1).sign(), slope.detach().sign())


def test_a_narrowed_search_changes_nothing_by_batch() -> None:
    net, model, x, y = problem(9)
    net.weight.data[0] -= 2.5  # now some break
    search = Narrowed(
        Ascent(3, Step(0.4, relative=True), Uniform()), Ascent(1, Step(0.1), Uniform()), 2, targets=Malt(4)
    )
    attack = attack_of(search, 0.12)
    whole = attack(model, x, y)
    for compaction in ("always", "never"):
        assert torch.equal(whole.adversarial, attack(model, x, y, compaction=compaction, rows=4).adversarial)
    parts = [attack(model, x[i : i + 1], y[i : i + 1]).adversarial for i in range(9)]
    assert torch.allclose(whole.adversarial, torch.cat(parts), rtol=0, atol=1e-15)
    assert bool(whole.success.any())
    assert not bool(whole.success.all())
