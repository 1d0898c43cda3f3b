"""What the engine promises of every composition: invariance, budgets, exact witnesses, an untouched model, honest verdicts."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from ironbound.core.protocols import Budget, Status
from ironbound.core.result import Result
from ironbound.models.model import Model
from ironbound.recipes import pgd
from ironbound.sets import Linf
from ironbound.testing import invariance, tables
from probes import checks
from probes.cases import CASES, digits, net_of

EACH = pytest.mark.parametrize("name", CASES)
KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["float32", "float64"])
FORWARD = (1, 2, 7, 60)


@cache
def baseline(name: str) -> Result:
    return CASES[name].run()


# ------------------------------------------------------------------------------------------------- invariance
@EACH
@pytest.mark.parametrize("count", [1, 7])
def test_rows_per_pass_change_nothing(name: str, count: int) -> None:
    invariance.rows_change_nothing(CASES[name], count, baseline(name))


@EACH
def test_compaction_changes_nothing(name: str) -> None:
    invariance.compaction_changes_nothing(CASES[name], baseline(name))


@EACH
@pytest.mark.parametrize("which", tables.ORDERS)
def test_order_and_company_change_nothing(name: str, which: str) -> None:
    invariance.order_changes_nothing(CASES[name], which, baseline(name))


@EACH
def test_a_second_run_is_the_same_and_another_seed_is_not(name: str) -> None:
    ours, other = baseline(name), CASES[name].run(seed=1)
    tables.assert_same(ours, CASES[name].run())
    draws = name not in ("pgd_targeted", "mi_fgsm", "carlini_wagner", "deepfool", "universal_ascent", "greedy", "tokens",
                         "tree", "ragged", "pgd_linf")  # fmt: skip
    if draws and int(ours.forward.sum()) > len(ours):
        assert not all(tables.same(getattr(ours, field), getattr(other, field)) for field in tables.FIELDS)
    else:
        assert ours.success.shape == other.success.shape


@EACH
def test_float32_verdicts_are_reproducible(name: str) -> None:
    case, options, verdicts = CASES[name], {"kind": torch.float32, "reproducible": True}, ("success", "status")
    ours = case.run(**options)
    tables.assert_same(ours, case.run(**options, rows=7), None, verdicts)
    index = tables.order(case.problems, "middle")
    tables.assert_same(ours, case.run_on(index, **options), index, verdicts)


# ------------------------------------------------------------------------------------------------- budgets
@EACH
@pytest.mark.parametrize("cheap", [False, True], ids=["exact", "cheap"])
def test_budgets_hold_to_the_row(name: str, cheap: bool) -> None:
    for forward in FORWARD:
        invariance.budget_holds(CASES[name], forward, cheap)


@pytest.mark.parametrize(
    "name", ["square", "hopskipjump_first", "nes", "universal_groups", "random_model", "ragged", "tree"]
)
@pytest.mark.parametrize("forward", [6, 60])
def test_order_and_company_change_nothing_under_a_budget(name: str, forward: int) -> None:
    case = CASES[name]
    capped = case.replace(budget=Budget(forward, 2 * forward // 3))
    ours = capped.run()
    for which in ("subset", "middle", "last"):
        invariance.order_changes_nothing(capped, which, ours)
    invariance.rows_change_nothing(capped, 7, ours)
    invariance.compaction_changes_nothing(capped, ours)


@EACH
def test_no_pass_has_one_row_only(name: str) -> None:
    invariance.no_row_is_alone(CASES[name])


# ------------------------------------------------------------------------------------------------- witnesses
@EACH
@KINDS
def test_witnesses_are_exactly_inside_and_fool_alone(name: str, kind: torch.dtype) -> None:
    invariance.witnesses_hold(CASES[name], kind)


@EACH
def test_what_was_found_has_a_positive_margin_and_a_size(name: str) -> None:
    result = baseline(name)
    assert bool((result.margin[result.success] > 0).all())
    assert torch.equal(result.status == Status.FOUND, result.success & (result.size > 0))
    assert torch.equal(result.status == Status.ALREADY_WRONG, result.success & (result.size == 0))
    assert bool((result.judged <= result.forward).all())


def test_what_lies_outside_hides_nothing_inside() -> None:
    checks.an_outside_point_hides_none_inside()


# ------------------------------------------------------------------------------------------------- the user's model
@EACH
def test_the_model_is_left_as_it_was(name: str) -> None:
    invariance.model_is_left_alone(CASES[name])


# ------------------------------------------------------------------------------------------------- cheap and random
@pytest.mark.parametrize("eps", [0.03, 0.06, 0.09])
def test_cheap_passes_decide_nothing(eps: float) -> None:
    x, y = (part[:400] for part in digits())
    model, full = Model(net_of(torch.float32)), pgd(10).replace(set=Linf(eps))
    exact, cheap = full(model, x, y), full.replace(cheap=True)(model, x, y)
    net = net_of(torch.float32).eval()
    with torch.no_grad():
        margins = full.goal.margin(net(cheap.adversarial), y)
    assert bool((margins[cheap.success] > 0).all())
    assert bool((cheap.margin[cheap.success] > 0).all())
    assert abs(int(exact.success.sum()) - int(cheap.success.sum())) <= 0.01 * len(x)
    assert int(cheap.judged.sum()) >= int(cheap.success.sum()) > 0
    assert int(exact.judged.sum()) == 0


def test_witnesses_of_a_random_model_win_fresh_votes() -> None:
    case = CASES["random_model"]
    result, (_, _, y) = case.run(), case.build(torch.float64)
    net, noise = net_of(torch.float64).eval(), torch.Generator().manual_seed(99)
    assert int(result.success.sum()) >= 5
    assert bool((result.judged >= case.attack.votes * result.success).all())
    for i in result.success.nonzero()[:, 0].tolist():
        draws = torch.empty(400, 1, 8, 8, dtype=torch.float64).normal_(0, 0.15, generator=noise)
        with torch.no_grad():
            wins = net(result.adversarial[i] + draws).argmax(1) != y[i]
        assert wins.double().mean() > 0.5


def test_a_random_module_without_streams_is_reproducible_and_gives_the_generator_back() -> None:
    class Global(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net_of(torch.float64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x + 0.1 * torch.randn_like(x))

    x, y = digits()
    attack = CASES["random_model"].attack
    before = torch.random.get_rng_state()
    first, second = (attack(Model(Global(), random=True), x[:8].double(), y[:8]) for _ in range(2))
    tables.assert_same(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_rows_of_one_problem_draw_differently() -> None:
    checks.rows_of_one_problem_draw_differently()


def test_asks_of_one_problem_draw_differently() -> None:
    checks.asks_of_one_problem_draw_differently()
    checks.fresh_streams_differ_from_ask_to_ask()


def test_refused_claims_are_counted() -> None:
    checks.refused_claims_are_counted()
