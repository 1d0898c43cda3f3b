"""The engine's promises as functions that raise AssertionError; test_planted.py shows that each notices its bug."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ironbound.core import rows
from ironbound.core.attack import Attack
from ironbound.core.protocols import Ask, Budget, Can
from ironbound.core.result import Result
from ironbound.goals import Targeted
from ironbound.models.model import Model
from ironbound.objectives import Margin
from ironbound.oracles import Direct, Eot
from ironbound.sets import Linf
from probes.cases import GOAL, Case, Noise, digits, net_of

FIELDS = ("points", "adversarial", "success", "size", "margin", "status", "forward", "backward", "refused", "judged")


# ------------------------------------------------------------------------------------------------- invariance
def same(a: Any, b: Any) -> bool:
    """Equality to the last bit, for tables of any kind."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
    return bool(a == b)


def assert_same(ours: Result, theirs: Result, index: Tensor | None = None, fields: tuple[str, ...] = FIELDS) -> None:
    """All tables of a result equal those of another, or those of its rows `index`."""
    for name in fields:
        mine = getattr(ours, name)
        assert same(mine if index is None else rows.take(mine, index), getattr(theirs, name)), name


def rows_change_nothing(case: Case, count: int, ours: Result | None = None) -> None:
    assert_same(ours or case.run(), case.run(rows=count))


def compaction_changes_nothing(case: Case, ours: Result | None = None) -> None:
    ours = ours or case.run()
    assert_same(ours, case.run(compaction="always"))
    assert_same(ours, case.run(compaction="never"))


ORDERS = ("reversed", "shuffled", "subset", "first", "middle", "last")


def order(n: int, which: str) -> Tensor:
    """The same problems in other ways: reversed, shuffled, some of them, one alone."""
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    ways = {"reversed": torch.arange(n).flip(0), "shuffled": shuffled, "subset": torch.arange(0, n, 3)}
    return ways.get(which, torch.tensor([{"first": 0, "middle": n // 2, "last": n - 1}.get(which, 0)]))


def order_changes_nothing(case: Case, which: str, ours: Result | None = None) -> None:
    fields = tuple(f for f in FIELDS if not (case.collective and f == "adversarial"))  # which has one row an input
    index = order(case.problems, which)
    assert_same(ours or case.run(), case.run_on(index), index, fields)


# ------------------------------------------------------------------------------------------------- budgets
def budget_holds(case: Case, forward: int, cheap: bool = False) -> None:
    """Never one row more, forward or backward, the judge's rows included."""
    backward = forward // 3
    attack = case.attack.replace(budget=Budget(forward=forward, backward=backward), cheap=cheap)
    model, x, y = case.build(torch.float32)
    spy = Rows(model)
    result = attack(spy, x, y)
    assert int(result.forward.max()) <= forward, "forward"
    assert int(result.backward.max()) <= backward, "backward"
    assert bool((result.judged <= result.forward).all()), "judged"
    assert spy.ran >= int(result.forward.sum()), "more rows were charged than run"


class Rows:
    """A model that notes the number of rows of its passes, whatever runs them."""

    def __init__(self, model: Model) -> None:
        self.model, self.sizes = model, list[int]()

    @property
    def ran(self) -> int:
        return sum(self.sizes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @contextmanager
    def opened(self, cheap: bool = False) -> Iterator[Any]:
        with self.model.opened(cheap) as call:

            def counted(x: Any, rng: Any) -> Any:
                self.sizes.append(rows.count(x))
                return call(x, rng)

            yield counted


def no_row_is_alone(case: Case) -> None:
    """Kernels for one row differ in the last bits from those for many: no pass has one."""
    spies = list[Rows]()
    case.run_on(torch.tensor([0]), wrap=lambda model: spies.append(Rows(model)) or spies[0], rows=1)
    assert spies[0].sizes, "nothing ran"
    assert min(spies[0].sizes) >= 2, "a lone row"


# ------------------------------------------------------------------------------------------------- witnesses
def witnesses_hold(case: Case, kind: torch.dtype) -> None:
    """Measured again in float64: inside ball and box, without tolerance; and the net alone is fooled at batch 1."""
    model, x, y = case.build(kind)
    result = case.attack(model, x, y)
    assert bool(result.success.any())
    assert bool(torch.isfinite(result.size).all())
    change, radius, norm = _measured(case.attack.set, x, result)
    if case.collective:
        mine = result.success[torch.tensor(case.attack.set.groups or [0] * len(x))]
    else:
        mine = result.success
    for size, eps in zip(_sizes(change, norm), radius, strict=True):
        assert bool((size[mine] <= eps).all()), "outside the ball"
    low, high = (-torch.inf, torch.inf) if model.box is None else model.box
    for leaf in rows.leaves(result.adversarial):
        assert low <= float(leaf.min()), "below the box"
        assert float(leaf.max()) <= high, "above the box"
    if not model.random:
        assert_fooled(case, model, result, y)


def assert_fooled(case: Case, model: Model, result: Result, y: Tensor) -> None:
    net, fooled = copy.deepcopy(model.net).eval(), []
    with torch.no_grad():
        for i, label in enumerate(y):
            out = net(rows.take(result.adversarial, torch.tensor([i])))
            fooled.append(bool(case.attack.goal.margin(out, label[None]) > 0))
    if not case.collective:
        assert bool(torch.tensor(fooled)[result.success].all()), "a witness does not fool the net at batch 1"
        return
    owner = torch.tensor(case.attack.set.groups or [0] * len(y))
    for group in result.success.nonzero()[:, 0]:
        share = torch.tensor(fooled)[owner == group].double().mean()
        assert share >= case.attack.share, "a universal witness works on too few items"


def _measured(threat: Any, x: Any, result: Result) -> tuple[list[Any], list[float], list[str]]:
    """The changes made, the radii they must stay in and their norms, one entry a part of the set."""
    new = result.adversarial
    match type(threat).__name__:
        case "Substitutions":
            edits = [
                sum(a != b for a, b in zip(t.split(), n.split(), strict=True)) for t, n in zip(x, new, strict=True)
            ]
            return [torch.tensor(edits)[:, None]], [threat.edits], ["linf"]
        case "Swaps":
            return [(new != x).sum(1, keepdim=True)], [threat.edits], ["linf"]
        case "Branch":
            name = threat.name
            assert all(torch.equal(new[other], x[other]) for other in x if other != name)
            return [new[name].double() - x[name].double()], [threat.set.eps], [threat.set.norm]
        case "Both":
            parts = threat.sets
            changes = [new[name].double() - x[name].double() for name in parts]
            return changes, [part.eps for part in parts.values()], [part.norm for part in parts.values()]
        case "Lengths":
            changes = [float((a.double() - b.double()).abs().max()) for a, b in zip(new, x, strict=True)]
            return [torch.tensor(changes, dtype=torch.float64)[:, None]], [threat.eps], ["linf"]
    return [new.double() - x.double()], [threat.eps], [getattr(threat, "norm", "linf")]


def _sizes(changes: list[Tensor], norms: list[str]) -> list[Tensor]:
    flat = [change.flatten(1).double() for change in changes]
    return [c.square().sum(1).sqrt() if norm == "l2" else c.abs().amax(1) for c, norm in zip(flat, norms, strict=True)]


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


# ------------------------------------------------------------------------------------------------- the user's model
def model_is_left_alone(case: Case) -> None:
    """Weights, buffers, modes per submodule, requires_grad, .grad and the global generators are as they were."""
    model, x, y = case.build(torch.float64)
    before = snapshot(model.net)
    case.attack(model, x, y)
    assert_untouched(model.net, before)


def snapshot(net: nn.Module) -> dict[str, Any]:
    """What must be the same afterwards; a frozen submodule in another mode, a frozen and a used parameter included."""
    net.train()
    list(net.modules())[-1].eval()
    parameters = list(net.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    return {
        "state": {name: tensor.clone() for name, tensor in net.state_dict(keep_vars=True).items()},
        "ids": [id(tensor) for tensor in (*net.parameters(), *net.buffers())],
        "modes": [module.training for module in net.modules()],
        "wanted": [parameter.requires_grad for parameter in parameters],
        "grads": [parameter.grad for parameter in parameters],
        "torch": torch.random.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),  # noqa: NPY002
    }


def assert_untouched(net: nn.Module, before: dict[str, Any]) -> None:
    parameters = list(net.parameters())
    assert before["modes"] == [module.training for module in net.modules()], "modes"
    assert before["wanted"] == [parameter.requires_grad for parameter in parameters], "requires_grad"
    assert all(a is b for a, b in zip(before["grads"], [p.grad for p in parameters], strict=True)), "grad"
    assert float(parameters[-1].grad.min()) == 1 == float(parameters[-1].grad.max()), "grad"
    state = net.state_dict()
    assert before["state"].keys() == state.keys(), "names"
    assert all(torch.equal(kept, state[name]) for name, kept in before["state"].items()), "state"
    assert before["ids"] == [id(tensor) for tensor in (*net.parameters(), *net.buffers())], "tensors"
    assert torch.equal(before["torch"], torch.random.get_rng_state()), "torch's generator"
    assert np.array_equal(before["numpy"], np.random.get_state()[1]), "NumPy's generator"  # noqa: NPY002


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
    attack = Attack(Linf(0.1), Never(), First(), search, Eot(Direct(), Noise(0.1), 2))
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
    attack = Attack(Linf(0.01), GOAL, Margin(), Stare(1, 12), Eot(Direct(), Noise(1.0), 1))
    result = attack(Model(Sum(), range=(-9, 9)), x, torch.zeros(3, dtype=torch.int64))
    assert not bool(result.success.any())
    assert int(result.refused.min()) >= 1, "no refused claim was counted"
    assert torch.equal(result.judged, result.refused), "each refused claim cost one row of the judge"


def the_judge_stays_within_the_budget() -> None:
    """Three rows an ask, which claim and are refused: the judge's row is within the cap, wherever that is."""
    x = torch.full((3, 1, 4, 4), 0.45, dtype=torch.float64)
    attack = Attack(Linf(0.01), GOAL, Margin(), Stare(3, 6), Eot(Direct(), Noise(1.0), 1))
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
