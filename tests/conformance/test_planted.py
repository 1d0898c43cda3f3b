"""Bugs planted in sets, searches, objectives, goals and oracles, one at a time: the promise that is there for each notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound import L2, Ask, Attack, Can, Direct, Eot, Finite, Linf, Margin, Untargeted, testing
from ironbound.core.engine import Run
from ironbound.core.incumbents import Incumbents
from ironbound.core.rows import column, flat
from ironbound.models.model import Model
from ironbound.sets import ball, finite, l2, linf
from ironbound.testing.promise import Promise, Subject

Patch = pytest.MonkeyPatch
PIXELS = torch.arange(24).remainder(5).view(2, 3, 4) < 3
EDGE, BALL = linf.LinfRegion, l2.L2Region


def dimmed(x: Tensor) -> Tensor:
    return x * 0.5


class Sets(testing.SetConformance):
    sets = [Linf(0.3), L2(0.7), Linf(0.3, mask=PIXELS), Finite((dimmed,)), Linf(torch.tensor([0.1, 0.2, 0.3, 0.4]))]
    shapes = [(2, 3, 4)]
    boxes = ((0.0, 1.0), None)
    dtypes = (torch.float64, torch.float32)


def kept(name: str, kit: testing.Conformance) -> list[tuple[Promise, Subject]]:
    """The tests that a class of the kit makes of one promise."""
    made = [parameter.values for parameter in kit._parameters()]
    return [(promise, subject) for promise, subject in made if promise.name == name]


def holds(name: str, kit: testing.Conformance) -> None:
    tests = kept(name, kit)
    assert tests, f"there is no promise {name}"
    for promise, subject in tests:
        promise(subject)


# ------------------------------------------------------------------------------------------------- sets
def overshoots(patch: Patch) -> None:
    """A projection goes a millionth too far."""
    project = EDGE.project
    patch.setattr(EDGE, "project", lambda self, p: self.x + (project(self, p) - self.x) * (1 + 1e-6))


def scales_then_clips(patch: Patch) -> None:
    """The usual projection onto ball and box: scaled onto the one, then clamped to the other."""

    def project(self: Any, p: Tensor) -> Tensor:
        change = p - self.x
        share = (self.radius / torch.linalg.vector_norm(flat(change.double()), dim=1)).clamp_max(1.0)
        inside = (self.x + column(share * (1 - 1e-6), p) * change).clamp(self.lo, self.hi)
        return torch.where(
            column(self.contains(p), p), p, torch.where(column(share < 1, p), inside, p.clamp(self.lo, self.hi))
        )

    patch.setattr(BALL, "project", project)


def bounds_as_they_come(patch: Patch) -> None:
    """The edge is x +- eps as float32 rounds it."""

    def edges(x: Tensor, radius: Tensor, box: Any) -> tuple[Tensor, Tensor]:
        low, high = (-torch.inf, torch.inf) if box is None else box
        return (x - column(radius, x)).clamp(low, high), (x + column(radius, x)).clamp(low, high)

    patch.setattr(ball, "edges", edges)


def bounds_too_narrow(patch: Patch) -> None:
    """To be on the safe side, the edge is a little inside."""
    edges = ball.edges
    patch.setattr(ball, "edges", lambda x, radius, box: edges(x, radius * (1 - 1e-6), box))


def tolerant(patch: Patch) -> None:
    """contains looks away a little."""
    patch.setattr(EDGE, "contains", lambda self, p: flat((p >= self.lo - 1e-6) & (p <= self.hi + 1e-6)).all(1))


def not_outside(patch: Patch) -> None:
    """What is not outside is taken to be inside: NaN is."""
    patch.setattr(EDGE, "contains", lambda self, p: ~flat((p < self.lo) | (p > self.hi)).any(1))


def support_ignores_the_box(patch: Patch) -> None:
    """x + eps sign(g), clamped for the point but not for the value."""
    support = EDGE.support

    def unboxed(self: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        gain = self.radius * flat(g.double().abs()).sum(1)
        return support(self, g)[0], flat(g.double() * self.x.double()).sum(1) + gain

    patch.setattr(EDGE, "support", unboxed)


def support_is_the_gradient_scaled(patch: Patch) -> None:
    """The L2 ball without the box: what the box takes away is not given to other values."""

    def scaled(self: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        p = self.project(self.x + column(self.radius, g) * self.steepest(g) * 0.999)
        return p, flat(g.double() * p.double()).sum(1)

    patch.setattr(BALL, "support", scaled)


def steepest_forgets_the_mask(patch: Patch) -> None:
    patch.setattr(EDGE, "steepest", lambda self, g: g.sign())


def steepest_is_the_gradient(patch: Patch) -> None:
    patch.setattr(BALL, "steepest", lambda self, g: g)


def draws_alike(patch: Patch) -> None:
    """All rows get the first row's numbers."""
    sample = EDGE.sample
    patch.setattr(EDGE, "sample", lambda self, rng: sample(self, rng.take(torch.zeros(len(rng), dtype=torch.int64))))


def draws_from_the_clock(patch: Patch) -> None:
    generator = torch.Generator().manual_seed(0)

    def sample(self: Any, rng: Any) -> Tensor:
        return self.project(self.x + torch.empty_like(self.x).normal_(generator=generator))

    patch.setattr(EDGE, "sample", sample)


def take_loses_the_radius(patch: Patch) -> None:
    take = EDGE.take
    patch.setattr(EDGE, "take", lambda self, index: replace(take(self, index), radius=self.radius[: len(index)]))


def scaled_loses_the_mask(patch: Patch) -> None:
    scaled = EDGE.scaled
    patch.setattr(EDGE, "scaled", lambda self, radius: scaled(replace(self, mask=None), radius))


def always_near(patch: Patch) -> None:
    patch.setattr(EDGE, "distance", lambda self, p: torch.zeros(len(p), dtype=torch.float64))


def writes(patch: Patch) -> None:
    """In place, to save memory."""
    patch.setattr(EDGE, "project", lambda self, p: p.copy_(torch.clamp(p, self.lo, self.hi)))


def sums_the_batch(patch: Patch) -> None:
    """The size is relative to the largest change of the batch."""
    size = EDGE.size
    patch.setattr(EDGE, "size", lambda self, p: size(self, p) / size(self, p).amax().clamp_min(1e-300))


def single_precision(patch: Patch) -> None:
    size = EDGE.size
    patch.setattr(EDGE, "size", lambda self, p: size(self, p).float())


def forgets_a_point(patch: Patch) -> None:
    listed = finite.FiniteRegion.enumerate
    patch.setattr(finite.FiniteRegion, "enumerate", lambda self: tuple(table[1:] for table in listed(self)))


def moves_nowhere(patch: Patch) -> None:
    patch.setattr(finite.FiniteRegion, "neighbours", lambda self, p, rng: (p, torch.arange(len(p))))


SETS = [
    (overshoots, "projections_are_inside"), (scales_then_clips, "projections_are_nearest"),
    (bounds_as_they_come, "edges_are_exact"), (bounds_too_narrow, "edges_are_exact"), (tolerant, "edges_are_exact"),
    (not_outside, "not_a_number_is_in_no_set"), (support_ignores_the_box, "support_is_attained"),
    (support_is_the_gradient_scaled, "support_is_the_largest_value"),
    (steepest_forgets_the_mask, "steepest_and_support_agree"), (steepest_is_the_gradient, "the_steepest_step_is_steepest"),
    (draws_alike, "rows_stand_alone"), (draws_from_the_clock, "draws_are_inside"),
    (take_loses_the_radius, "rows_stand_alone"), (scaled_loses_the_mask, "other_radii_are_the_same_set"),
    (always_near, "contains_and_distance_agree"), (writes, "nothing_is_written_to"), (sums_the_batch, "rows_stand_alone"),
    (single_precision, "answers_have_shapes"), (forgets_a_point, "lists_are_complete"),
    (moves_nowhere, "neighbours_are_inside"),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "promise"), SETS, ids=[plant.__name__ for plant, _ in SETS])
def test_a_bug_in_a_set_is_noticed(plant: Any, promise: str, monkeypatch: Patch) -> None:
    holds(promise, Sets())  # without the bug
    plant(monkeypatch)
    with pytest.raises(testing.Broken, match="How to mend it"):
        holds(promise, Sets())


# ------------------------------------------------------------------------------------------------- searches
@dataclass(frozen=True)
class Walk:
    """A random walk that keeps what helps; children get one thing wrong each."""

    needs = Can.SCORES | Can.PROJECT

    def start(self, task: Any) -> Tensor:
        return task.region.identity()

    def step(self, task: Any, s: Any) -> Tensor:
        return 0.15 * task.fresh.fold("step").normal(tuple(s.p.shape[1:]), s.p.dtype)

    def value(self, answer: Any) -> Tensor:
        return answer.value

    def run(self, task: Any) -> Iterator[Ask]:
        s = task.state(p=self.start(task))
        answer = yield Ask(s.p)
        s.value = self.value(answer)
        for _ in range(12):
            task.compact()
            q = task.region.project(s.p + self.step(task, s))
            answer = yield Ask(q)
            better = self.value(answer) > s.value
            s.value = torch.where(better, self.value(answer), s.value)
            s.p = torch.where(column(better, q), q, s.p)


class SharedSteps(Walk):
    """The same step for all rows."""

    def step(self, task: Any, s: Any) -> Tensor:
        return super().step(task, s)[:1].expand_as(s.p)


class BatchNormed(Walk):
    """Steps shrink with the batch's mean value, as a schedule for the whole batch would have it."""

    def step(self, task: Any, s: Any) -> Tensor:
        return super().step(task, s) * (1 + s.value.mean().tanh())


class GlobalDraws(Walk):
    """Draws from torch's own generator."""

    def step(self, task: Any, s: Any) -> Tensor:
        return 0.15 * torch.randn_like(s.p)


class Stateful(Walk):
    """Remembers how often it was run."""

    calls = [0]

    def step(self, task: Any, s: Any) -> Tensor:
        self.calls[0] += 1
        return super().step(task, s) / self.calls[0]


class Silent(Walk):
    """Asks nothing."""

    def run(self, task: Any) -> Iterator[Ask]:
        yield from ()


class Secretive(Walk):
    """Asks only some of the problems: those whose first value is large."""

    def run(self, task: Any) -> Iterator[Ask]:
        p = task.region.identity()
        row = p.flatten(1)[:, 0].argsort()[-2:]
        yield Ask(p[row], owner=row)


def attacking(search: Any) -> testing.Conformance:
    class Named(testing.SearchConformance):
        attacks = [Attack(Linf(0.2), Untargeted(), Margin(), search, Direct())]

    return Named()


SEARCHES = [
    (SharedSteps, "company_is_invisible"), (BatchNormed, "parts_make_the_whole"), (GlobalDraws, "runs_repeat"),
    (GlobalDraws, "the_model_is_left_alone"), (Stateful, "runs_repeat"), (Silent, "results_add_up"),
    (Silent, "witnesses_are_exact"), (Secretive, "company_is_invisible"),
]  # fmt: skip


@pytest.mark.parametrize(("search", "promise"), SEARCHES, ids=[f"{s.__name__} {p}" for s, p in SEARCHES])
def test_a_bug_in_a_search_is_noticed(search: Any, promise: str) -> None:
    holds(promise, attacking(Walk()))
    with pytest.raises(testing.Broken, match="How to mend it"):
        holds(promise, attacking(search()))


def forgets_failures(patch: Patch) -> None:
    """A problem without a witness answers with its input, whatever was asked of it."""
    patch.setattr(Incumbents, "keep_failures", lambda self, *tables: None)


def keeps_no_status(patch: Patch) -> None:
    patch.setattr(Run, "status", lambda self, size: torch.zeros(self.n, dtype=torch.int64))


def minds_parameters(patch: Patch) -> None:
    """Gradients are taken of the loss of another model where parameters are frozen."""
    opened = Model.opened

    def other(self: Any, cheap: bool = False) -> Any:
        self.module.net.last.bias.data += 0.1 * (not self.module.net.last.bias.requires_grad)
        return opened(self, cheap)

    patch.setattr(Model, "opened", other)


ENDINGS = [
    (forgets_failures, "failures_say_so"), (keeps_no_status, "failures_say_so"),
    (minds_parameters, "parameters_get_no_gradient"),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "promise"), ENDINGS, ids=[plant.__name__ for plant, _ in ENDINGS])
def test_a_bug_around_searches_is_noticed(plant: Any, promise: str, monkeypatch: Patch) -> None:
    holds(promise, attacking(Walk()))
    plant(monkeypatch)
    with pytest.raises(testing.Broken, match="How to mend it"):
        holds(promise, attacking(Walk()))


# ------------------------------------------------------------------------------------------------- objectives, goals, oracles
def downwards(out: Tensor, y: Tensor, goal: Any) -> Tensor:
    return -goal.cross_entropy(out, y)


def averaged(out: Tensor, y: Tensor, goal: Any) -> Tensor:
    return goal.margin(out, y) - goal.margin(out, y).mean()


def quotient(out: Tensor, y: Tensor, goal: Any) -> Tensor:
    top = out.topk(2, dim=1).values
    return goal.margin(out, y) / (top[:, 0] - top[:, 1])


def one_number(out: Tensor, y: Tensor, goal: Any) -> Tensor:
    return goal.margin(out, y).sum()


def steps(out: Tensor, y: Tensor, goal: Any) -> Tensor:
    return goal.margin(out, y) * 0 + 1


class WrongSign(Untargeted):
    def cross_entropy(self, out: Tensor, y: Tensor) -> Tensor:
        return -super().cross_entropy(out, y)


class InProbabilities(Untargeted):
    def margin(self, out: Tensor, y: Tensor) -> Tensor:
        return super().margin(out.softmax(1), y)


class Cheaper(Eot):
    """Runs three times what it says."""

    cost = 1


class Sure(Eot):
    """Calls its averages exact."""

    exact = True


def one_draw_for_all(x: Tensor, rng: Any) -> Tensor:
    return x + 0.1 * rng.take(torch.zeros(len(x), dtype=torch.int64)).normal(tuple(x.shape[1:]), x.dtype)


def global_noise(x: Tensor, rng: Any) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def naming(kit: type[Any], **named: Any) -> testing.Conformance:
    return type("Named", (kit,), named)()


OTHERS = [
    ("up_is_better", naming(testing.ObjectiveConformance, objectives=[downwards])),
    ("success_is_above_failure", naming(testing.ObjectiveConformance, objectives=[downwards])),
    ("two_classes_leave_no_doubt", naming(testing.ObjectiveConformance, objectives=[steps])),
    ("rows_do_not_feel_each_other", naming(testing.ObjectiveConformance, objectives=[averaged])),
    ("extreme_logits_are_no_trouble", naming(testing.ObjectiveConformance, objectives=[quotient])),
    ("one_number_a_row", naming(testing.ObjectiveConformance, objectives=[one_number])),
    ("cross_entropy_leads_to_the_goal", naming(testing.GoalConformance, goals=[WrongSign()])),
    ("margins_are_in_logits", naming(testing.GoalConformance, goals=[InProbabilities()])),
    ("the_cost_is_true", naming(testing.OracleConformance, oracles=[Cheaper(Direct(), None, 3)])),
    ("exact_is_true", naming(testing.OracleConformance, oracles=[Sure(Direct(), testing.WhiteNoise(0.1), 2)])),
    ("streams_decide_the_draws", naming(testing.OracleConformance, oracles=[Eot(Direct(), one_draw_for_all, 2)])),
    ("streams_decide_the_draws", naming(testing.OracleConformance, oracles=[Eot(Direct(), global_noise, 2)])),
]


@pytest.mark.parametrize(("promise", "kit"), OTHERS, ids=[f"{i} {promise}" for i, (promise, _) in enumerate(OTHERS)])
def test_a_bug_in_another_part_is_noticed(promise: str, kit: Any) -> None:
    with pytest.raises(testing.Broken, match="How to mend it"):
        holds(promise, kit)


# ------------------------------------------------------------------------------------------------- the classes themselves
def test_a_class_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names nothing to test: write sets = \[...\]"):
        naming(testing.SetConformance)._parameters()


def test_exemptions_have_known_names_and_their_reasons_are_told() -> None:
    with pytest.raises(ValueError, match="projections_are_cheap"):
        naming(testing.SetConformance, sets=[Linf(0.1)], but={"projections_are_cheap": "why"})._parameters()
    made = naming(testing.SetConformance, sets=[Linf(0.1)], but={"devices_agree": "no driver"})._parameters()
    skipped = [parameter for parameter in made if parameter.marks]
    assert [parameter.marks[0].kwargs["reason"] for parameter in skipped] == ["exempt: no driver"]


def test_promises_are_asked_of_what_can_keep_them() -> None:
    names = {
        parameter.values[0].name for parameter in naming(testing.SetConformance, sets=[Finite((dimmed,))])._parameters()
    }
    assert "lists_are_complete" in names
    assert "projections_are_inside" not in names
