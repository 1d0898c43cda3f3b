"""The engine's promises to compositions that the kit does not know; those to every attack are ironbound.testing's.

All are functions that raise AssertionError; test_planted.py shows that each notices its bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.attack import Attack
from ironbound.core.protocols import Ask, Budget, Can
from ironbound.goals import Targeted
from ironbound.models.model import Model
from ironbound.objectives import Margin
from ironbound.oracles import Direct, Eot
from ironbound.sets import Linf
from ironbound.testing import WhiteNoise
from ironbound.testing.tables import assert_same
from probes.cases import GOAL, digits, net_of


# ------------------------------------------------------------------------------------------------- witnesses
@dataclass(frozen=True)
class Shouting:
    """Asks a winning point outside the set first, then a winning point inside."""

    needs = Can(0)

    def run(self, task: Any) -> Iterator[Ask]:
        yield Ask(torch.ones_like(task.region.identity()))
        yield Ask(task.region.project(torch.ones_like(task.region.identity())))


class Sum(nn.Module):
    """Says class 1 where the mean value is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)


def an_outside_point_hides_none_inside() -> None:
    x = torch.full((2, 1, 4, 4), 0.45, dtype=torch.float64)
    result = Attack(Linf(0.1), GOAL, Margin(), Shouting(), Direct())(Model(Sum()), x, torch.zeros(2, dtype=torch.int64))
    assert result.success.tolist() == [True, True]
    assert float(result.size.max()) <= 0.1


@dataclass(frozen=True)
class Leaving:
    """Problem i asks a number of times of its own (tenths of its grey level), then leaves the asks to the others."""

    needs = Can(0)

    def run(self, task: Any) -> Iterator[Ask]:
        p = task.region.identity()
        steps = (10 * p[:, 0, 0, 0]).round().long()
        for t in range(1, 9):
            row = (steps >= t).nonzero()[:, 0]
            if len(row) == 0:
                return
            yield Ask(p[row] + 0.01 * t, owner=row)


def leaving_early_changes_nothing() -> None:
    levels = torch.tensor([0.1, 0.8, 0.3, 0.6, 0.2], dtype=torch.float64)
    x, y = levels[:, None, None, None].expand(-1, 1, 4, 4).clone(), torch.tensor([0, 1, 0, 0, 0])
    for budget in (Budget(), Budget(forward=1), Budget(forward=2), Budget(forward=4)):
        attack = Attack(Linf(0.1), Targeted(1), Margin(), Leaving(), Direct(), budget=budget, restarts=2)
        together = attack(Model(Sum()), x, y)
        for i in range(len(x)):
            index = torch.tensor([i])
            assert_same(together, attack(Model(Sum()), x[index], y[index]), index)


# ------------------------------------------------------------------------------------------------- randomness
@dataclass(frozen=True)
class Stare:
    """Asks the clean input `rows` times a problem, `times` times, and keeps what it heard."""

    rows: int
    times: int
    heard: list[Tensor] = field(default_factory=list)

    needs = Can.SCORES

    def run(self, task: Any) -> Iterator[Ask]:
        owner = torch.arange(task.n).repeat_interleave(self.rows)
        for _ in range(self.times):
            answer = yield Ask(task.region.identity()[owner], owner=owner)
            self.heard.append(answer.value.view(-1, self.rows))


def stared(rows: int, times: int) -> Tensor:
    """(times, problems, rows) values of unchanged inputs under an oracle that draws."""
    x, y = digits()
    search = Stare(rows, times)
    attack = Attack(Linf(0.1), Never(), First(), search, Eot(Direct(), WhiteNoise(0.1), 2))
    attack(Model(net_of(torch.float64)), x[:4].double(), y[:4])
    return torch.stack(search.heard)


@dataclass(frozen=True)
class First:
    """The first logit as an objective."""

    def __call__(self, out: Tensor, y: Tensor, goal: Any) -> Tensor:
        return out[:, 0]


@dataclass(frozen=True)
class Never:
    """A goal that is never reached."""

    def margin(self, out: Tensor, y: Tensor) -> Tensor:
        return -1 - out.abs().amax(1)


def rows_of_one_problem_draw_differently() -> None:
    values = stared(5, 1)[0]
    assert all(len(row.unique()) == 5 for row in values), "equal draws"


def asks_of_one_problem_draw_differently() -> None:
    values = stared(1, 5)[:, :, 0]
    assert all(len(problem.unique()) == 5 for problem in values.T), "equal draws"


def fresh_streams_differ_from_ask_to_ask() -> None:
    x, y = digits()
    watch = Watch()
    Attack(Linf(0.1), Never(), First(), watch, Direct())(Model(net_of(torch.float64)), x[:4].double(), y[:4])
    assert len(torch.cat(watch.keys).unique()) == 20, "equal streams"


@dataclass(frozen=True)
class Watch:
    """Notes the keys of its fresh streams at five asks."""

    keys: list[Tensor] = field(default_factory=list)

    needs = Can(0)

    def run(self, task: Any) -> Iterator[Ask]:
        for _ in range(5):
            self.keys.append(task.fresh.keys)
            yield Ask(task.region.identity())


# ------------------------------------------------------------------------------------------------- masking
def refused_claims_are_counted() -> None:
    """Single noisy draws say yes often, the judge never: each such claim is counted."""
    x = torch.full((3, 1, 4, 4), 0.45, dtype=torch.float64)
    attack = Attack(Linf(0.01), GOAL, Margin(), Stare(1, 12), Eot(Direct(), WhiteNoise(1.0), 1))
    result = attack(Model(Sum(), range=(-9, 9)), x, torch.zeros(3, dtype=torch.int64))
    assert not bool(result.success.any())
    assert int(result.refused.min()) >= 1, "no refused claim was counted"
    assert torch.equal(result.judged, result.refused), "each refused claim cost one row of the judge"


def the_judge_stays_within_the_budget() -> None:
    """Three rows an ask, which claim and are refused: the judge's row is within the cap, wherever that is."""
    x = torch.full((3, 1, 4, 4), 0.45, dtype=torch.float64)
    attack = Attack(Linf(0.01), GOAL, Margin(), Stare(3, 6), Eot(Direct(), WhiteNoise(1.0), 1))
    for forward in range(1, 14):
        capped = attack.replace(budget=Budget(forward=forward))
        result = capped(Model(Sum(), range=(-9, 9)), x, torch.zeros(3, dtype=torch.int64))
        assert int(result.forward.max()) <= forward, "the judge's rows"
        assert int(result.forward.min()) >= forward - 4, "rows left unused"


def the_edge_is_exact() -> None:
    """No float32 of the set lies further from x than eps, as float64 measures it."""
    x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for eps in (8 / 255, 0.1, 0.3):
        region = Linf(eps).at(x, (0.0, 1.0))
        for far in (torch.zeros_like(x), torch.ones_like(x)):
            assert bool((region.size(region.project(far)) <= eps).all()), "beyond the edge"


# ------------------------------------------------------------------------------------------------- prices
class Liar(Eot):
    """Runs three times what it says."""

    cost = 1


@dataclass(frozen=True)
class Twice:
    """Says one row, and calls the model once more behind the door's back."""

    gives = Can.GRADIENT | Can.SCORES | Can.DECISIONS
    cost = 1
    exact = False

    def bind(self, model: Any) -> Any:
        return lambda x, rng: (model(x, rng) + model(x, rng.fold("again"))) / 2
