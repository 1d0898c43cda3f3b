"""The tests that a goal and an objective inherit: they look at logits (m, classes) that the kit brings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ironbound.core.protocols import Can
from ironbound.goals import Targeted, Untargeted
from ironbound.testing.promise import Conformance, Promise, ids, promises, require
from ironbound.testing.tables import noise, order

CLASSES = (2, 3, 10, 1000)
ROWS = 6
STEP = 1e-3
_FINITE = "subtract the largest logit before exp, divide by what cannot be 0, keep inf - inf out of the graph."


@dataclass(frozen=True)
class Answered:
    """Logits (m, classes), labels (m,), a goal, and the objective or the goal's own number that is looked at."""

    goal: Any
    number: Callable[[Tensor, Tensor], Tensor]
    """(logits, labels) -> one number a row."""
    logits: Tensor
    y: Tensor

    @property
    def classes(self) -> int:
        """How many."""
        return self.logits.shape[1]

    def __call__(self, logits: Tensor) -> Tensor:
        """One number a row."""
        return self.number(logits, self.y)

    def gradient(self, logits: Tensor, number: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
        """Of the sum over rows, at the logits."""
        at = logits.detach().clone().requires_grad_(True)
        (grad,) = torch.autograd.grad((number or self.number)(at, self.y).sum(), at)
        return grad

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """The goal's."""
        margin: Tensor = self.goal.margin(logits, y)
        return margin

    def take(self, index: Tensor) -> Answered:
        """Some rows."""
        return replace(self, logits=self.logits[index], y=self.y[index])


def one_number_a_row(case: Answered) -> None:
    """(m, classes) logits give (m,) numbers in the type of the logits."""
    out = case(case.logits)
    right = out.shape == (len(case.logits),) and out.dtype == case.logits.dtype
    require(
        right, f"it gives {out.dtype} {tuple(out.shape)}.", f"({len(case.logits)},) numbers of {case.logits.dtype}."
    )


def rows_do_not_feel_each_other(case: Answered) -> None:
    """The number of a row depends on that row only, to the last bit: reversed, among fewer, alone."""
    ours = case(case.logits)
    for which in ("reversed", "subset", "middle"):
        index = order(len(case.logits), which)
        theirs = case.take(index)(case.logits[index])
        near = (
            ours[index] == theirs if case.classes <= 16 else (ours[index] - theirs).abs() <= 1e-6 * (1 + theirs.abs())
        )
        require(
            near, f"rows {index.tolist()} have other numbers.", "no means or maxima over the batch: reduction='none'."
        )


def extreme_logits_are_no_trouble(case: Answered) -> None:
    """Numbers and gradients are finite at logits of 1e-30 and 1e4, all equal, and where one class is far ahead."""
    ahead, behind = torch.zeros_like(case.logits), torch.zeros_like(case.logits)
    ahead[:, 0], behind[:, -1] = 1e4, -1e4
    tried = {"as they are": case.logits, "of 1e-30": 1e-30 * case.logits, "of 1e4": 1e4 * case.logits,
             "all zero": torch.zeros_like(case.logits), "all 1e4": torch.full_like(case.logits, 1e4),
             "one far ahead": ahead, "one far behind": behind}  # fmt: skip
    for name, logits in tried.items():
        require(torch.isfinite(case(logits)), f"logits {name}: the number is not finite.", _FINITE)
        require(torch.isfinite(case.gradient(logits)), f"logits {name}: the gradient is not finite.", _FINITE)


def up_is_better(case: Answered) -> None:
    """Where the goal is not reached, a small step along the gradient of its margin never lowers the number."""
    logits = case.logits.double()
    along = case.gradient(logits, case.margin)
    before, after = case(logits), case(logits + STEP * along)
    rounding = 1e-9 * (1 + before.abs())
    reached = case.margin(logits, case.y) > 0
    require(reached | (after >= before - rounding), "it falls as the goal comes nearer.",
            "up is better for the attacker, whatever the goal: no sign, the goal's margin or cross_entropy.")  # fmt: skip


def success_is_above_failure(case: Answered) -> None:
    """Logits that reach the goal by far have a higher number than logits that miss it by far."""
    logits, along = case.logits.double(), case.gradient(case.logits.double(), case.margin)
    near, far = logits + 40 * along, logits - 40 * along
    for _ in range(3):  # the rival changes on the way
        near = near + 40 * case.gradient(near, case.margin)
    won = case.margin(near, case.y) > 0
    lost = case.margin(far, case.y) < 0
    higher = case(near) > case(far)
    require(higher[won & lost], "a failure has the higher number.", "up is better for the attacker, whatever the goal.")


def two_classes_leave_no_doubt(case: Answered) -> None:
    """With two classes there is but one margin: the number never falls as it rises from -6 to 6, and rises in between."""
    if case.classes != 2:
        return
    along = case.gradient(case.logits.double(), case.margin)
    path = torch.linspace(-6, 6, 25, dtype=torch.float64)
    base = case.logits.double()
    base = base - along * (case.margin(base, case.y) / (along * along).sum(1))[:, None]  # where the margin is 0
    values = torch.stack([case(base + t / 2 * along) for t in path])
    require(values.diff(dim=0) >= -1e-9, "it falls on the way.", "up is better for the attacker.")
    require(values[-1] > values[0], "it is flat.", "an objective tells success from failure.")


# ------------------------------------------------------------------------------------------------- goals
def margins_are_in_logits(case: Answered) -> None:
    """The margin ignores what is added to all logits, and grows with their scale: it is a difference of logits."""
    margin = case(case.logits.double())
    shifted = case(case.logits.double() + 3.0)
    require(
        (shifted - margin).abs() <= 1e-9 * (1 + margin.abs()), "a shift of all logits changes it.", "compare logits."
    )
    require((case(2 * case.logits.double()) - 2 * margin).abs() <= 1e-9 * (1 + margin.abs()), "it is not in logits.",
            "do not normalise: the judge compares margins with the logits' scale.")  # fmt: skip


def success_is_a_positive_margin(case: Answered) -> None:
    """Following the margin far enough reaches the goal, and going against it leaves the goal missed."""
    logits = case.logits.double()
    near, far = logits, logits
    for _ in range(2 * case.classes + 2):
        if bool((case(near) > 0).all()) and bool((case(far) < 0).all()):
            return
        near, far = near + 4 * case.gradient(near), far - 4 * case.gradient(far)
    require(case(near) > 0, "the goal cannot be reached along its own margin.", "margin > 0 is success.")
    require(case(far) < 0, "the goal cannot be missed against its own margin.", "margin > 0 is success.")


def cross_entropy_leads_to_the_goal(case: Answered) -> None:
    """The cross-entropy is finite, and its gradient never points against the margin's."""
    for scale in (1.0, 1e-30, 1e4):
        logits = (scale * case.logits).double()
        value, grad = case.goal.cross_entropy(logits, case.y), case.gradient(logits, case.goal.cross_entropy)
        require(torch.isfinite(value) & torch.isfinite(grad).all(1), f"not finite at logits of {scale:g}.", _FINITE)
        agree = (grad * case.gradient(logits, case.margin)).sum(1)
        require(agree >= -1e-12, "it points against the margin.", "up as the goal comes nearer: mind the sign.")


def _logits(classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    logits = 2 * noise(torch.empty(ROWS, classes, dtype=dtype), 7)
    y = logits.argmax(1)
    y[-1] = logits[-1].argmin()  # already wrong
    return logits, y


OBJECTIVES = promises(
    one_number_a_row, rows_do_not_feel_each_other, extreme_logits_are_no_trouble, up_is_better, success_is_above_failure,
    two_classes_leave_no_doubt,
)  # fmt: skip
GOALS = promises(
    one_number_a_row, rows_do_not_feel_each_other, extreme_logits_are_no_trouble, margins_are_in_logits,
    success_is_a_positive_margin, cross_entropy_leads_to_the_goal, two_classes_leave_no_doubt,
)  # fmt: skip


@dataclass(frozen=True)
class OutputSubject:
    """A goal, or an objective with the goals that it is given."""

    name: str
    objective: Any
    goals: Sequence[Any]
    classes: Sequence[int]

    can = ~Can(0)

    def cases(self) -> Iterator[tuple[str, Answered]]:
        """Every goal, number of classes and type."""
        for goal in self.goals:
            for classes in self.classes:
                for dtype in (torch.float32, torch.float64):
                    logits, y = _logits(classes, dtype)
                    if isinstance(goal, Targeted) and goal.target is None:
                        y = (y + 1) % classes
                    yield f"{goal}, {classes} classes, {dtype}", Answered(goal, self._number(goal), logits, y)

    def _number(self, goal: Any) -> Callable[[Tensor, Tensor], Tensor]:
        if self.objective is None:
            return lambda out, y: goal.margin(out, y)
        return lambda out, y: self.objective(out, y, goal)


@dataclass(frozen=True)
class Towards:
    """A loss(outputs, y, target) as an objective, so that it can be named in a test: the target is the class after y."""

    loss: Callable[[Any, Any, Any], Any]

    def __call__(self, out: Tensor, y: Tensor, goal: Any) -> Tensor:
        """One number a row."""
        number: Tensor = self.loss(out, y, (y + 1) % out.shape[1])
        return number


class GoalConformance(Conformance):
    """Name `goals`; `classes` are the numbers of classes at which they make sense."""

    goals: ClassVar[Sequence[Any]] = ()
    classes: ClassVar[Sequence[int]] = CLASSES
    promises: ClassVar[tuple[Promise, ...]] = GOALS
    named = "goals"

    def subjects(self) -> Iterable[OutputSubject]:
        """The goals that were named."""
        for name, goal in zip(ids(self.goals), self.goals, strict=True):
            yield OutputSubject(name, None, (goal,), self.classes)


class ObjectiveConformance(Conformance):
    """Name `objectives`; each is tried with every one of `goals` at every one of `classes`."""

    objectives: ClassVar[Sequence[Any]] = ()
    goals: ClassVar[Sequence[Any]] = (Untargeted(), Targeted(1), Targeted())
    classes: ClassVar[Sequence[int]] = CLASSES
    promises: ClassVar[tuple[Promise, ...]] = OBJECTIVES
    named = "objectives"

    def subjects(self) -> Iterable[OutputSubject]:
        """The objectives that were named."""
        for name, objective in zip(ids(self.objectives), self.objectives, strict=True):
            yield OutputSubject(name, objective, self.goals, self.classes)
