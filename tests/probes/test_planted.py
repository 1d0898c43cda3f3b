"""Bugs planted in the engine, one at a time: each is noticed by the check that is there for it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ironbound.core import attack as attack_module
from ironbound.core import engine, rows
from ironbound.core.engine import Run
from ironbound.core.incumbents import Incumbents
from ironbound.core.ledger import Ledger
from ironbound.core.rng import Rng
from ironbound.core.task import Task
from ironbound.models import model as model_module
from ironbound.sets import ball, linf
from ironbound.testing import invariance
from probes import checks
from probes.cases import CASES

Patch = pytest.MonkeyPatch


def run_wide_keys(patch: Patch) -> None:
    """Randomness belongs to the place in the batch, not to the problem."""
    patch.setattr(attack_module, "content_keys", lambda x, y: torch.arange(len(y)))


def run_wide_counts(patch: Patch) -> None:
    """Fresh streams count the asks of the whole run."""

    def fresh(task: Task) -> Rng:
        asked = task._run.ledger.asked
        return task.rng.fold("fresh").fold(asked.max().expand(task.n))

    patch.setattr(Task, "fresh", property(fresh))


def the_judge_unreserved(patch: Patch) -> None:
    """Rows are granted without keeping back those of the judge."""
    affordable = Ledger.affordable
    patch.setattr(Ledger, "affordable", lambda self, price, back, kept: affordable(self, price, back, 0))


def the_price_ignored(patch: Patch) -> None:
    """A row is reckoned to cost one model row, whatever the oracle says."""
    affordable = Ledger.affordable
    patch.setattr(
        Ledger, "affordable", lambda self, price, back, kept: affordable(self, 1, None if back is None else 1, kept)
    )


def contains_skipped(patch: Patch) -> None:
    """Any point may become the incumbent."""
    candidates = Incumbents.candidates

    class Anything:
        def __init__(self, region: Any) -> None:
            self.region = region

        def take(self, index: Tensor) -> Anything:
            return Anything(self.region.take(index))

        def contains(self, p: Any) -> Tensor:
            return torch.ones(len(p), dtype=torch.bool)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.region, name)

    patch.setattr(Incumbents, "candidates", lambda self, region, *rest: candidates(self, Anything(region), *rest))


def contains_says_yes(patch: Patch) -> None:
    """The set itself does not look."""
    patch.setattr(linf.LinfRegion, "contains", lambda self, p: torch.ones(len(p), dtype=torch.bool))


def bounds_as_they_come(patch: Patch) -> None:
    """The edge is x +- eps as float32 rounds it."""

    def edges(x: Tensor, radius: Tensor, box: Any) -> tuple[Tensor, Tensor]:
        reach = radius.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        low, high = (-torch.inf, torch.inf) if box is None else box
        return (x - reach).clamp(low, high), (x + reach).clamp(low, high)

    patch.setattr(ball, "edges", edges)


def modes_by_train(patch: Patch) -> None:
    """The module is put back by train(), as most libraries do."""

    @contextmanager
    def held(net: nn.Module) -> Iterator[None]:
        training, wanted = net.training, [(p, p.requires_grad) for p in net.parameters()]
        net.eval()
        for p, _ in wanted:
            p.requires_grad_(False)
        try:
            yield
        finally:
            net.train(training)
            for p, flag in wanted:
                p.requires_grad_(flag)

    patch.setattr(model_module, "held", held)


def flags_by_true(patch: Patch) -> None:
    """All parameters want gradients afterwards."""
    kept = model_module.held

    @contextmanager
    def held(net: nn.Module) -> Iterator[None]:
        with kept(net):
            yield
        for p in net.parameters():
            p.requires_grad_(True)

    patch.setattr(model_module, "held", held)


def lone_rows(patch: Patch) -> None:
    """A pass of one row is run as it is."""

    def rows_(self: Any, x: Any, rng: Rng, problem: Tensor, backward: int, allowed: int = 1) -> Any:
        ran = rows.count(x)
        self.ledger.charge(problem, ran // len(problem), backward)
        return (self._cheap if backward else self._exact)(x, rng)

    patch.setattr(engine.Door, "rows", rows_)


def ranks_dropped(patch: Patch) -> None:
    """All rows of a problem in one ask draw alike."""
    patch.setattr(engine, "ranks", lambda problem, problems: torch.zeros_like(problem))


def asks_uncounted(patch: Patch) -> None:
    """The problem's own count of asks stands still."""
    answer = Run._answer

    def uncounted(self: Run, *args: Any) -> Any:
        heard = answer(self, *args)
        self.ledger.asked.zero_()
        return heard

    patch.setattr(Run, "_answer", uncounted)


def refusals_uncounted(patch: Patch) -> None:
    """Claims that the judge turns down leave no trace."""
    answer = Run._answer

    def uncounted(self: Run, *args: Any) -> Any:
        heard = answer(self, *args)
        self.ledger.refused.zero_()
        return heard

    patch.setattr(Run, "_answer", uncounted)


def items_by_place(patch: Patch) -> None:
    """The items of a collective problem draw by their place in the whole data set."""
    made = engine.Pairing.__init__

    def init(self: Any, owner: Tensor, problems: int) -> None:
        made(self, owner, problems)
        self.place = torch.arange(len(owner))

    patch.setattr(engine.Pairing, "__init__", init)


def everyone_starves(patch: Patch) -> None:
    """Who cannot pay is closed at other problems' asks too."""
    affordable = Run._affordable

    def closing(self: Run, ask: Any, problem: Tensor, counts: Tensor, pairs: Any) -> Tensor:
        poor = self.ledger.poor(1) & ~self.closed
        self.short |= poor
        self._close(poor)
        return affordable(self, ask, problem, counts, pairs)

    patch.setattr(Run, "_affordable", closing)


def compaction_mixes(patch: Patch) -> None:
    """Tables shrink, the streams do not."""
    compact = Task.compact

    def mixed(self: Task) -> None:
        before = self._rng
        compact(self)
        self._rng = before.take(torch.arange(self.n))

    patch.setattr(Task, "compact", mixed)


def order(name: str, which: str = "middle") -> Callable[[], None]:
    return lambda: invariance.order_changes_nothing(CASES[name], which)


def budgets(name: str, cheap: bool = False) -> Callable[[], None]:
    def check() -> None:
        for forward in (6, 23, 60, 131):
            invariance.budget_holds(CASES[name], forward, cheap)

    return check


def witnesses(name: str, kind: torch.dtype = torch.float32) -> Callable[[], None]:
    return lambda: invariance.witnesses_hold(CASES[name], kind)


PLANTED: list[tuple[Callable[[Patch], None], Callable[[], None]]] = [
    (run_wide_keys, order("pgd_linf", "reversed")),
    (run_wide_counts, order("hopskipjump", "last")),
    (the_judge_unreserved, checks.the_judge_stays_within_the_budget),
    (the_price_ignored, budgets("nes_eot")),
    (the_price_ignored, budgets("universal_groups")),
    (contains_skipped, checks.an_outside_point_hides_none_inside),
    (contains_says_yes, witnesses("nes", torch.float64)),
    (bounds_as_they_come, checks.the_edge_is_exact),
    (bounds_as_they_come, witnesses("branch")),
    (modes_by_train, lambda: invariance.model_is_left_alone(CASES["pgd_linf"])),
    (flags_by_true, lambda: invariance.model_is_left_alone(CASES["square"])),
    (lone_rows, lambda: invariance.no_row_is_alone(CASES["pgd_linf"])),
    (ranks_dropped, checks.rows_of_one_problem_draw_differently),
    (asks_uncounted, checks.asks_of_one_problem_draw_differently),
    (asks_uncounted, checks.fresh_streams_differ_from_ask_to_ask),
    (refusals_uncounted, checks.refused_claims_are_counted),
    (everyone_starves, checks.leaving_early_changes_nothing),
    (items_by_place, order("universal_eot", "last")),
    (compaction_mixes, lambda: invariance.compaction_changes_nothing(CASES["noise"])),
]


@pytest.mark.parametrize(
    ("plant", "check"), PLANTED, ids=[f"{i} {plant.__name__}" for i, (plant, _) in enumerate(PLANTED)]
)
def test_a_planted_bug_is_noticed(
    plant: Callable[[Patch], None], check: Callable[[], None], monkeypatch: Patch
) -> None:
    check()  # which holds without the bug
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()


def test_snapshots_notice_what_they_compare() -> None:
    """The check of the user's model notices a change of each kind."""
    net = copy.deepcopy(CASES["pgd_linf"].build(torch.float64)[0].net)

    def weight() -> None:
        net[0].weight.data += 1

    def mode() -> None:
        net[1].eval()

    def grad() -> None:
        net[0].bias.grad = torch.ones_like(net[0].bias)

    def generator() -> None:
        torch.rand(1)

    def buffer() -> None:
        net[1].running_mean = net[1].running_mean.clone()

    for change in (weight, mode, grad, generator, buffer):
        before = invariance.snapshot(net)
        change()
        with pytest.raises(AssertionError):
            invariance.assert_untouched(net, before)
