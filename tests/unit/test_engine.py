"""The engine's single duties, each on the smallest composition that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, OutOfMemory, UsageError
from ironbound.core.progress import Event
from ironbound.core.protocols import Ask, Budget, Can, Rows, Status, Want
from ironbound.goals import Targeted
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct, Eot, Labels
from ironbound.recipes import apgd, hopskipjump, i_fgsm, noise, pgd
from ironbound.searches.ascent import Ascent
from ironbound.searches.chance import Draws
from ironbound.searches.moves import Apgd, Step
from ironbound.sets import L2, Linf
from ironbound.testing import WhiteNoise, invariance
from probes import checks
from probes.cases import CASES, GOAL, TABLE, digits, net_of
from probes.checks import Liar, Never, Sum, Twice
from probes.greedy import Greedy
from probes.tokens import Swaps
from probes.universal import Universal
from probes.words import Substitutions

PGD = pgd(6).replace(set=Linf(0.08))


def some(n: int = 8, kind: torch.dtype = torch.float64) -> tuple[Model, Tensor, Tensor]:
    x, y = digits()
    return Model(net_of(kind)), x[:n].to(kind), y[:n]


def greys(*levels: float) -> tuple[Tensor, Tensor]:
    """Flat 4x4 pictures, all of class 0."""
    x = torch.tensor(levels, dtype=torch.float64)[:, None, None, None].expand(-1, 1, 4, 4).clone()
    return x, torch.zeros(len(x), dtype=torch.int64)


@dataclass(frozen=True)
class Script:
    """A search that asks for what a function of the task yields."""

    body: Callable[[Any], Iterator[Ask]]

    needs = Can(0)

    def run(self, task: Any) -> Iterator[Ask]:
        return self.body(task)


def scripted(body: Callable[[Any], Iterator[Ask]], **parts: Any) -> Attack:
    return Attack(Linf(0.1), GOAL, Margin(), Script(body), Direct()).replace(**parts)


# ------------------------------------------------------------------------------------------------- what does not fit
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: PGD.replace(oracle=Labels()), ("Ascent", "GRADIENT", "Labels", "DECISIONS", "hopskipjump")),
        (
            lambda: PGD.replace(set=Substitutions(TABLE, 2)),
            ("Ascent", "PROJECT", "Substitutions", "NEIGHBOURS", "Linf"),
        ),
        (lambda: PGD.replace(search=Greedy(2)), ("Greedy", "NEIGHBOURS", "Linf", "discrete set")),
        (lambda: noise().replace(set=Swaps(3, 1)), ("Draws", "SAMPLE", "Swaps", "nothing", "Linf")),
        (lambda: PGD.replace(votes=3), ("3 votes", "7 or more")),
        (lambda: PGD.replace(votes=0), ("votes=0", "at least 1")),
        (lambda: PGD.replace(restarts=0), ("restarts=0", "at least 1")),
        (lambda: PGD.replace(share=0.0), ("share=0.0", "(0, 1]")),
        (lambda: PGD.replace(budget=Budget(forward=-1)), ("forward=-1", ">= 0")),
        (lambda: Linf(-0.1), ("Linf", "-0.1", ">= 0")),
        (lambda: L2(float("nan")), ("L2", "nan")),
        (lambda: pgd(0), ("steps=0", "at least one")),
        (lambda: hopskipjump(rounds=0), ("rounds=0", "at least 1")),
        (lambda: Draws(0), ("steps=0", "at least one")),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(build: Callable[[], Any], said: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        build()
    assert all(word in str(caught.value) for word in said), str(caught.value)


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).mean(1) > 0.5).long()


@pytest.mark.parametrize(
    ("attack", "model", "said"),
    [
        (pgd(2), Model(Sum()), ("no set yet", "threat=")),
        (PGD, Sum(), ("ironbound.Model", "Sum", "Wrap it")),
        (PGD, Model(Decides()), ("Ascent", "GRADIENT", "DECISIONS", "hopskipjump")),
        (PGD, Model(Sum(), random=True), ("votes=20", "Eot")),
        (pgd(3).replace(set=Linf()), Model(Sum()), ("share of the radius", "step")),
        (apgd(3).replace(set=Linf()), Model(Sum()), ("share of the radius", "give the set a radius")),
        (hopskipjump(50).replace(set=L2()), Model(Sum(), range=None), ("HopSkipJump", "range")),
        (noise(3).replace(set=L2()), Model(Sum(), range=None), ("without end", "radius", "range")),
        (scripted(lambda task: (yield Ask(task.region.identity()[:1]))), Model(Sum()), ("1 points for 2", "owner")),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_called(attack: Attack, model: Any, said: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        attack(model, *greys(0.2, 0.3))
    assert all(word in str(caught.value) for word in said), str(caught.value)


def test_keys_are_one_a_problem() -> None:
    with pytest.raises(UsageError, match="2 are needed, got 3"):
        PGD(Model(Sum()), *greys(0.2, 0.3), keys=torch.arange(3))


# ------------------------------------------------------------------------------------------------- prices and budgets
@pytest.mark.parametrize("oracle", [Liar(Direct(), WhiteNoise(0.1), 3), Twice(), Eot(Twice(), None, 2)])
def test_an_oracle_that_runs_more_than_it_says_is_stopped(oracle: Any) -> None:
    model, x, y = some()
    before = invariance.snapshot(model.net)
    with pytest.raises(CompositionError, match="cost"):
        PGD.replace(oracle=oracle)(model, x, y)
    invariance.assert_untouched(model.net, before)


def test_an_oracle_may_call_the_model_more_than_once() -> None:
    @dataclass(frozen=True)
    class Honest(Twice):
        cost = 2

    model, x, y = some()
    result = PGD.replace(oracle=Honest(), budget=Budget(forward=9))(model, x, y)
    assert int(result.forward.max()) <= 9
    assert bool((result.forward - result.judged).remainder(2).eq(0).all())


def test_a_search_that_nobody_can_pay_ends() -> None:
    def body(task: Any) -> Iterator[Ask]:
        while True:
            owner = torch.arange(task.n).repeat_interleave(9)
            yield Ask(task.region.identity()[owner], owner=owner)

    result = scripted(body, budget=Budget(forward=5))(Model(Sum()), *greys(0.2, 0.3))
    assert result.forward.tolist() == [0, 0]
    assert result.status.tolist() == [Status.BUDGET] * 2


def test_partial_asks_take_what_is_left_and_others_all_or_nothing() -> None:
    heard = {}

    def body(partial: bool) -> Callable[[Any], Iterator[Ask]]:
        def run(task: Any) -> Iterator[Ask]:
            owner = torch.arange(task.n).repeat_interleave(9)
            answer = yield Ask(task.region.identity()[owner], owner=owner, partial=partial)
            heard[partial] = answer

        return run

    for partial in (True, False):
        result = scripted(body(partial), budget=Budget(forward=5))(Model(Sum()), *greys(0.2, 0.3))
        assert result.forward.tolist() == [5 * partial] * 2
    assert heard[True].granted.view(2, 9).sum(1).tolist() == [5, 5]
    assert not bool(heard[False].granted.any())
    assert bool(heard[False].value.isneginf().all())


@pytest.mark.parametrize(
    ("budget", "status"), [(Budget(), "not found"), (Budget(forward=3), "budget"), (Budget(backward=3), "budget")]
)
def test_status_says_whether_the_budget_ended_it(budget: Budget, status: str) -> None:
    result = pgd(6).replace(set=Linf(0.01), budget=budget)(Model(Sum()), *greys(0.2, 0.3))
    assert result.status_names == [status] * 2


def test_rows_that_were_not_granted_hear_zeros_in_every_shape() -> None:
    heard = []

    def body(task: Any) -> Iterator[Ask]:
        p = task.region.identity()
        heard.append((yield Ask(p)))
        jac = torch.zeros(task.n, 2, dtype=torch.int64)
        heard.append((yield Ask(p, grad=True, jac=jac, loss=lambda terms: terms.objective)))

    scripted(body, budget=Budget(forward=2, backward=0))(Model(Sum()), *greys(0.2, 0.3))
    answer = heard[1]
    assert answer.outputs.shape == (2, 2)
    assert answer.grad.shape == (2, 1, 4, 4)
    assert answer.jac.shape == (2, 2, 1, 4, 4)
    assert not bool(answer.grad.any() or answer.jac.any() or answer.success.any() or answer.granted.any())
    assert bool(answer.value.isneginf().all() and answer.loss.isneginf().all())


# ------------------------------------------------------------------------------------------------- company
def test_problems_that_stop_asking_earlier_answer_as_if_alone() -> None:
    checks.leaving_early_changes_nothing()
    x, y = greys(0.1, 0.8, 0.3)
    result = Attack(Linf(0.1), Targeted(1), Margin(), checks.Leaving(), Direct())(Model(Sum()), x, y)
    assert result.size[0] == pytest.approx(0.01)  # the point of its one ask, kept though others asked on
    assert result.size[2] == pytest.approx(0.03)


def test_compaction_after_the_last_ask_mixes_up_nobody() -> None:
    def body(task: Any) -> Iterator[Ask]:
        s = task.state(p=task.region.identity())
        yield Ask(task.region.project(s.p + 0.1))
        task.compact()

    x, y = greys(0.45, 0.2, 0.45, 0.1, 0.3)
    result = scripted(body)(Model(Sum()), x, y, compaction="always")
    assert result.success.tolist() == [True, False, True, False, False]
    assert torch.allclose(result.points, x + 0.1)


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_lazy_points_are_made_in_pieces_and_again_for_claims(rows: int | None) -> None:
    made = []

    def body(task: Any) -> Iterator[Ask]:
        p, owner = task.region.identity(), torch.arange(task.n).repeat_interleave(50)

        def make(at: slice) -> Tensor:
            number = torch.arange(len(owner))[at]
            made.append(len(number))
            return p[owner[at]] + (0.001 + 0.002 * (number % 50).double())[:, None, None, None]

        yield Ask(Rows(len(owner), make), owner=owner)

    x, y = greys(0.45, 0.46, 0.2)
    result = scripted(body, want=Want.SMALLEST)(Model(Sum()), x, y, rows=rows)
    assert result.success.tolist() == [True, True, False]
    assert result.size[:2].tolist() == pytest.approx([0.051, 0.041])
    assert result.size[2] == 0  # who looks for the smallest change and finds none changes nothing
    failed = scripted(body, want=Want.FIRST)(Model(Sum()), x, y, rows=rows)
    assert failed.size[2] == pytest.approx(0.099)  # of the failures the one with the highest margin
    if rows is not None:
        assert max(made) <= rows


# ------------------------------------------------------------------------------------------------- which point is kept
def test_first_smallest_and_strongest_keep_what_they_say() -> None:
    def body(task: Any) -> Iterator[Ask]:
        for step in (0.06, 0.09, 0.055, 0.02):
            yield Ask(task.region.project(task.region.identity() + step))

    x, y = greys(0.45, 0.2)
    sizes = {want: scripted(body, want=want)(Model(Sum()), x, y).size.tolist() for want in Want}
    assert sizes[Want.FIRST] == pytest.approx([0.06, 0.09])  # of the second, the best failure
    assert sizes[Want.SMALLEST] == pytest.approx([0.055, 0.0])
    assert sizes[Want.STRONGEST] == pytest.approx([0.09, 0.09])


def test_a_failure_lies_in_the_set_however_far_the_search_walks() -> None:
    def body(task: Any) -> Iterator[Ask]:
        for step in (0.03, 0.2, 0.05, 0.01):
            yield Ask((task.region.identity() + step).clamp(0, 1))

    x, y = greys(0.2, 0.1)
    result = scripted(body)(Model(Sum()), x, y)
    assert result.status_names == ["not found"] * 2
    assert result.size.tolist() == pytest.approx([0.05, 0.05])


def test_the_strongest_failure_is_the_one_with_the_highest_objective_inside() -> None:
    result = CASES["apgd_l2"].run()
    assert not bool(result.success.all())
    assert bool(torch.isfinite(result.margin).all())
    assert bool((result.margin[~result.success] <= 0).all())
    x, y = digits()
    clean = GOAL.margin(net_of(torch.float64).eval()(x[:16].double()), y[:16]).detach()
    assert bool((result.margin > clean).all())


def test_wrong_from_the_start_is_called_so() -> None:
    x, y = greys(0.2, 0.7)
    result = i_fgsm(3).replace(set=Linf(0.1))(Model(Sum()), x, y)
    assert result.status_names == ["not found", "already wrong"]
    assert result.size.tolist()[1] == 0
    assert torch.equal(result.adversarial[1], x[1])
    assert result.forward[1] == 1


def test_a_targeted_goal_reaches_its_class_and_needs_no_labels() -> None:
    model, x, y = some(16)
    attack = pgd(15).replace(set=Linf(0.3), goal=Targeted(3), objective=Margin())
    result = attack(model, x, y)
    assert int(result.success.sum()) >= 12
    with torch.no_grad():
        assert bool((model.net.eval()(result.adversarial).argmax(1)[result.success] == 3).all())
    free = attack(model, x)
    assert int(free.success.sum()) >= 12
    own = pgd(15).replace(set=Linf(0.3), goal=Targeted(), objective=CrossEntropy())(model, x, (y + 1) % 10)
    with torch.no_grad():
        said = model.net.eval()(own.adversarial).argmax(1)
    assert bool((said == (y + 1) % 10)[own.success].all())


# ------------------------------------------------------------------------------------------------- the judge
class Relaxed(nn.Module):
    """Says class 1 to any relaxation, and class 0 to all token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        z = (x * self.weight).sum((1, 2)) if x.is_floating_point() else -self.weight.sum().expand(len(x))
        return torch.stack([torch.zeros_like(z), z], 1)


def test_a_success_at_a_relaxation_is_judged_at_the_point() -> None:
    def body(task: Any) -> Iterator[Ask]:
        yield Ask(task.region.identity(), grad=True)
        yield Ask(task.region.identity())

    attack = scripted(body, set=Swaps(3, 1))
    result = attack(
        Model(Relaxed(), range=None), torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    )
    assert not bool(result.success.any())
    assert result.refused.tolist() == result.judged.tolist() == [1, 1]
    assert result.forward.tolist() == [3, 3]


def test_a_win_by_rounding_is_no_win() -> None:
    class Hair(nn.Module):
        """Wins by one part in a million wherever it looks."""

        def forward(self, x: Tensor) -> Tensor:
            one = torch.ones_like(x).flatten(1).mean(1)
            return torch.stack([one, one + 1e-6], 1)

    def body(task: Any) -> Iterator[Ask]:
        for _ in range(3):
            yield Ask(task.region.identity())

    result = scripted(body)(Model(Hair()), *greys(0.2, 0.3))
    assert not bool(result.success.any())
    assert result.refused.tolist() == [3, 3]


def test_the_margin_is_the_judges() -> None:
    model, x, y = some(kind=torch.float32)
    result = PGD.replace(set=Linf(0.15), oracle=Eot(Direct(), WhiteNoise(0.05), 4))(model, x, y)
    with torch.no_grad():
        margin = GOAL.margin(net_of(torch.float32).eval()(result.adversarial), y).double()
    assert bool(result.success.any())
    assert torch.allclose(result.margin[result.success], margin[result.success], atol=1e-4)


# ------------------------------------------------------------------------------------------------- NaN
@dataclass(frozen=True)
class Levels:
    """Asks the levels given, whatever it hears."""

    levels: tuple[float, ...]
    heard: list[Any] = field(default_factory=list)

    needs = Can(0)

    def run(self, task: Any) -> Iterator[Ask]:
        for level in self.levels:
            self.heard.append((yield Ask(torch.full_like(task.region.identity(), level))))


class Fails(Sum):
    """NaN for pictures that are brighter than 0.55 and darker than 0.65."""

    def forward(self, x: Tensor) -> Tensor:
        level = x.flatten(1).mean(1)
        return super().forward(x) + torch.where((level > 0.55) & (level < 0.65), torch.nan, 0.0)[:, None]


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ((0.6,), "non finite"), ((0.6, 0.4), "non finite"), ((0.4, 0.6, 0.3), "non finite"), ((0.6, 0.7), "found"),
        ((0.4, 0.3), "not found"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("want", Want)
def test_nan_is_noticed_and_never_a_success(levels: tuple[float, ...], status: str, want: Want) -> None:
    search = Levels(levels)
    x, y = greys(0.45, 0.35)
    result = Attack(Linf(0.5), GOAL, Margin(), search, Direct(), want)(Model(Fails()), x, y)
    assert result.status_names == [status] * 2
    assert not any(bool(answer.success[answer.value.isnan()].any()) for answer in search.heard)
    assert bool(torch.isfinite(result.size).all())
    assert bool(torch.isfinite(result.points).all())


@pytest.mark.parametrize("build", [lambda: pgd(6, step=0.05), lambda: apgd(8), lambda: noise(10)])
def test_nan_of_one_problem_is_its_own(build: Callable[[], Attack]) -> None:
    attack, (x, y) = build().replace(set=Linf(0.12)), greys(0.5, 0.2, 0.45)
    model = lambda: Model(Fails(), range=(0, 1))
    together = attack(model(), x, y)
    for i in range(3):
        index = torch.tensor([i])
        checks.assert_same(together, attack(model(), x[index], y[index]), index)
    assert bool(torch.isfinite(together.adversarial).all())


# ------------------------------------------------------------------------------------------------- memory
class Small(nn.Module):
    """Runs out of memory above some rows."""

    def __init__(self, net: nn.Module, most: int) -> None:
        super().__init__()
        self.net, self.most, self.failed = net, most, 0

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            self.failed += 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.net(x)


@pytest.mark.parametrize("most", [2, 3, 5, 12])
@pytest.mark.parametrize("name", ["pgd_linf", "carlini_wagner", "nes", "universal_groups", "apgd_l2"])
def test_out_of_memory_halves_and_changes_nothing(name: str, most: int) -> None:
    case = CASES[name]
    model, x, y = case.build(torch.float64)
    small = Small(model.net, most)
    result = case.attack(Model(small), x, y)
    assert small.failed > 0
    checks.assert_same(case.run(), result)


def test_out_of_memory_charges_no_row_twice() -> None:
    model, x, y = some(16)
    result = PGD.replace(oracle=Eot(Direct(), WhiteNoise(0.01), 4))(Model(Small(model.net, 9)), x, y)
    whole = PGD.replace(oracle=Eot(Direct(), WhiteNoise(0.01), 4))(model, x, y)
    assert torch.equal(result.forward, whole.forward)
    assert torch.equal(result.backward, whole.backward)


@pytest.mark.parametrize(("most", "attack"), [(1, PGD), (3, PGD.replace(oracle=Eot(Direct(), WhiteNoise(0.1), 4)))])
def test_one_row_too_many_says_so(most: int, attack: Attack) -> None:
    model, x, y = some()
    small = Small(model.net, most)
    before = invariance.snapshot(small)
    with pytest.raises(OutOfMemory, match="fewer draws"):
        attack(Model(small), x, y)
    invariance.assert_untouched(small, before)


def test_another_error_is_not_swallowed() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = net_of(torch.float64), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 3:
                raise RuntimeError("a bug of the user's")
            return self.inner(x)

    _, x, y = some()
    net = Broken()
    before = invariance.snapshot(net)
    with pytest.raises(RuntimeError, match="a bug of the user's"):
        PGD(Model(net), x, y)
    invariance.assert_untouched(net, before)


# ------------------------------------------------------------------------------------------------- the user's module
class Buffers(nn.Module):
    """Writes its buffers in every way there is."""

    count: Tensor
    seen: Tensor
    quiet: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = net_of(torch.float64)
        self.register_buffer("count", torch.zeros(3))
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("quiet", torch.zeros(2), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.seen = self.seen + 1
        self.quiet.data.add_(1)
        return self.inner(x)


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_that_the_net_writes_come_back(fails: bool) -> None:
    net, (_, x, y) = Buffers(), some()
    before, quiet = invariance.snapshot(net), net.quiet
    if fails:
        with pytest.raises(CompositionError):
            PGD.replace(oracle=Twice())(Model(net), x, y)
    else:
        PGD.replace(cheap=True)(Model(net), x, y)
    invariance.assert_untouched(net, before)
    assert net.quiet is quiet
    assert quiet.tolist() == [0, 0]


def test_a_gradient_that_does_not_exist_is_explained() -> None:
    class Cut(Sum):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    from ironbound.core.errors import ModelError

    with pytest.raises(ModelError, match=r"does not depend on its input.*hopskipjump"):
        PGD(Model(Cut()), *greys(0.2))


# ------------------------------------------------------------------------------------------------- progress
def test_progress_tells_stage_problems_and_rows() -> None:
    model, x, y = some(16)
    events: list[Event] = []
    result = PGD(model, x, y, rows=5, progress=events.append, stage="pgd")
    assert {event.stage for event in events} == {"pgd"}
    assert {event.total for event in events} == {16}
    assert [event.rows for event in events] == sorted({event.rows for event in events})
    assert events[-1].rows == int(result.forward.sum())
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert max(b.rows - a.rows for a, b in zip(events, events[1:], strict=False)) <= 5


# ------------------------------------------------------------------------------------------------- collective problems
def heard_by(attack: Attack, body: Callable[[Any], Iterator[Ask]], n: int) -> Any:
    model, x, y = some(n)
    return attack.replace(search=Script(body), goal=Never(), objective=CrossLike())(model, x, y)


@dataclass(frozen=True)
class CrossLike:
    """Cross-entropy, whatever the goal."""

    def __call__(self, out: Tensor, y: Tensor, goal: Any) -> Tensor:
        return nn.functional.cross_entropy(out, y, reduction="none")


def test_collective_gradients_are_the_means_over_each_problems_items() -> None:
    groups, answers = (0, 1, 0, 1, 1, 0, 1), []

    def body(task: Any) -> Iterator[Ask]:
        p = task.region.identity() + 0.03
        answers.append((yield Ask(p, grad=True)))
        items = torch.stack([task.members(0)[:2], task.members(1)[2:]])
        answers.append((yield Ask(p, grad=True, items=items)))

    heard_by(scripted(body, set=Universal(0.1, groups)), body, 7)
    model, x, y = some(7)
    region = Universal(0.1, groups).at(x, (0.0, 1.0))
    owner = torch.tensor(groups)
    for answer, members in zip(answers, ([[0, 2, 5], [1, 3, 4, 6]], [[0, 2], [4, 6]]), strict=True):
        p = (region.identity() + 0.03).requires_grad_()
        for group, mine in enumerate(members):
            inputs = region.apply(p[owner[mine]], None, torch.tensor(mine))
            loss = nn.functional.cross_entropy(model.net.eval()(inputs), y[mine])
            assert answer.value[group].item() == pytest.approx(loss.item(), rel=1e-9)
            grad = torch.autograd.grad(loss, p)[0][group]
            assert torch.allclose(answer.grad[group], grad, rtol=1e-9, atol=1e-12)
    assert answers[0].outputs is None  # three items and four: no table
    assert answers[1].outputs.shape == (2, 2, 10)
    assert answers[0].rate.tolist() == [0, 0]


def test_a_minibatch_is_an_estimate_and_never_a_claim() -> None:
    def body(task: Any) -> Iterator[Ask]:
        p = task.region.identity() + 0.1
        heard.append((yield Ask(p, items=torch.tensor([[0], [3]]))))

    heard: list[Any] = []
    x, y = greys(0.45, 0.2, 0.3, 0.45, 0.45)
    attack = scripted(body, set=Universal(0.1, (0, 0, 0, 1, 1)))
    result = attack(Model(Sum()), x, y)
    assert heard[0].success.tolist() == [True, True]
    assert heard[0].rate.tolist() == [1, 1]
    assert not bool(result.success.any())
    assert result.forward.tolist() == [1, 1]
    assert torch.equal(result.points, torch.zeros_like(result.points))


def test_groups_succeed_by_their_own_share() -> None:
    def body(task: Any) -> Iterator[Ask]:
        heard.append((yield Ask(task.region.identity() + 0.1)))

    heard: list[Any] = []
    x, y = greys(0.45, 0.2, 0.3, 0.45, 0.45, 0.1)
    attack = scripted(body, set=Universal(0.1, (0, 0, 0, 1, 1, 1)), share=2 / 3)
    result = attack(Model(Sum()), x, y)
    assert heard[0].rate.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert result.success.tolist() == [False, True]
    assert result.forward.tolist() == [3, 3]
    assert result.adversarial.shape == x.shape


def test_searches_are_told_when_a_table_is_missing() -> None:
    def body(task: Any) -> Iterator[Ask]:
        s = task.state(p=task.region.identity())
        with pytest.raises(AttributeError, match="no table 'q'"):
            _ = s.q
        yield Ask(s.p)

    assert len(scripted(body)(Model(Sum()), *greys(0.2))) == 1


def test_moves_name_the_search_that_needs_them() -> None:
    assert Ascent(3, Apgd()).needs & Can.STEER
    assert Ascent(3, Step(0.1)).needs == Can.GRADIENT | Can.PROJECT | Can.STEER
