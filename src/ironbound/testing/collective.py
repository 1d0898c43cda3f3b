"""What attacks with one point for many inputs promise: invariance, budgets, and counts that are those of the model alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Can, Status
from ironbound.core.result import Result
from ironbound.models.model import Model
from ironbound.sets.linf import Linf
from ironbound.sets.patch import Patch
from ironbound.sets.universal import Universal
from ironbound.testing import invariance
from ironbound.testing.nets import Flat, Holes, fit
from ironbound.testing.promise import Conformance, Promise, numbered, promises, require
from ironbound.testing.tables import LAYOUTS, assert_same
from ironbound.testing.trials import Trial

GROUPS = (0, 1, 2, 0, 1, 2, 2, 1, 2, 2, 0, 2, 2, 1, 1, 2)  # 3, 5 and 8 inputs
BUDGETS = (1, 9, 60)


@dataclass(frozen=True)
class Shared:
    """An attack with the sets, of three groups of inputs each, that it is tried on."""

    name: str
    attack: Any
    threats: Sequence[Any]
    shape: tuple[int, ...]
    known: dict[int, Result] = field(default_factory=dict, compare=False)

    can = ~Can(0)

    def cases(self) -> Iterator[tuple[str, tuple[Trial, Result]]]:
        """A trial on each set, with its result in float64."""
        for number, threat in enumerate(self.threats):
            trial = self._trial(threat)
            if number not in self.known:
                self.known[number] = trial.run()
            yield f"{len(GROUPS)} inputs in three groups, {threat!r}", (trial, self.known[number])

    def _trial(self, threat: Any) -> Trial:
        def build(kind: torch.dtype) -> tuple[Any, Tensor, Tensor]:
            model, x, y = fit(self.shape, 3, len(GROUPS), (0.0, 1.0), kind)
            return model, x, y

        attack = self.attack.replace(set=replace(threat, groups=GROUPS))
        return Trial(attack, build, 3, _some_groups, finds=False)


def _some_groups(attack: Any, index: Tensor) -> tuple[Any, Tensor]:
    """The attack on some of the groups, in this order, and their inputs."""
    owner = torch.tensor(GROUPS)
    inputs = [(owner == group).nonzero()[:, 0] for group in index.tolist()]
    numbers = tuple(new for new, mine in enumerate(inputs) for _ in mine)
    return attack.replace(set=replace(attack.set, groups=numbers)), torch.cat(inputs)


Case = tuple[Trial, Result]


def counts_are_the_models_own(case: Case) -> None:
    """Each answer is in its set; the inputs on which it is said to work are as many as the net alone says, one at a time.

    Where what is made of an input is drawn, it may be another draw: the count is then one that success is told by alone.
    """
    trial, result = case
    model, x, y = trial.build(torch.float64)
    region = trial.attack.set.at(x, model.box)
    require(region.contains(result.points), "an answer is not in its set.", "project before a look at all inputs.")
    said, sizes = (
        torch.tensor(result.config["collective"]["works_on"]),
        torch.tensor(result.config["collective"]["inputs"]),
    )
    require(sizes == torch.bincount(region.items), "inputs are not counted.", "report it.")
    require(result.success == (said >= trial.attack.share * sizes), "success is not the share.", "report it.")
    if getattr(region, "random", False) or model.random:
        return
    net = copy.deepcopy(model.module).eval()
    with torch.no_grad():
        each = torch.cat([net(result.adversarial[i : i + 1]) for i in range(len(x))])
    won = trial.attack.goal.margin(each, y) > 0
    counted = torch.zeros(len(sizes), dtype=torch.int64).index_add_(0, region.items, won.long())
    heard = result.forward > 0
    require((counted == said)[heard], f"{said.tolist()} is said, {counted.tolist()} is so.", "look at all inputs last.")


def runs_repeat(case: Case) -> None:
    """A second run with the same seed is the same to the last bit; another seed runs as well."""
    assert_same(case[1], case[0].run(), why="in a second run")
    case[0].run(seed=1)


def passes_of_any_size_are_alike(case: Case) -> None:
    """How many pairs of a point and an input a pass has changes nothing."""
    for count in (1, 5):
        invariance.rows_change_nothing(case[0], count, case[1])


def compaction_is_invisible(case: Case) -> None:
    """Whether finished problems leave the search's tables at once, or never, changes nothing."""
    invariance.compaction_changes_nothing(*case)


def groups_are_alone(case: Case) -> None:
    """Which other groups there are, and in which order, changes nothing for a group."""
    for which in ("reversed", "first", "middle", "last"):
        invariance.order_changes_nothing(case[0], which, case[1])


def budgets_hold(case: Case) -> None:
    """A budget is for all inputs of a problem together, and never exceeded by one row, the judge's included."""
    for forward in BUDGETS:
        for cheap in (False, True):
            invariance.budget_holds(case[0], forward, cheap)


def the_model_is_left_alone(case: Case) -> None:
    """The user's module and the global generators are as they were; parameters get no gradients."""
    invariance.model_is_left_alone(case[0])
    invariance.gradients_are_not_kept(*case)


def no_pass_has_one_row(case: Case) -> None:
    """No pass has one row alone, which kernels would round in another way."""
    invariance.no_row_is_alone(case[0])


def any_number_of_inputs(case: Case) -> None:
    """It runs with a single input, and with one point for all of them."""
    trial = case[0]
    model, x, y = trial.build(torch.float32)
    whole = trial.attack.replace(set=replace(trial.attack.set, groups=None))
    require(len(whole(model, x, y)) == 1, "there is not one point for all.", "ask a row a problem.")
    require(len(whole(model, x[:1], y[:1])) == 1, "there is not one point for one.", "ask a row a problem.")


def nan_is_a_status(case: Case) -> None:
    """A model that answers NaN for some inputs stops nobody."""
    trial = case[0]
    model, x, y = trial.build(torch.float64)
    holes = Model(Holes(model.net, float(x.flatten(1)[:, 0].sort().values[-3])), range=model.box)
    result = trial.attack(holes, x, y)
    known = torch.tensor([int(status) for status in Status], device=result.status.device)
    require(torch.isin(result.status, known), "an unknown status.", "report it: the engine sets statuses.")
    require(torch.isfinite(result.points), "an answer is not finite.", "let comparisons with NaN be false.")


def flat_models_are_no_trouble(case: Case) -> None:
    """On a model that answers the same whatever it sees nothing is found, and nothing breaks."""
    trial = case[0]
    _, x, y = trial.build(torch.float32)
    result = trial.attack(Model(Flat(3, torch.float32)), x, torch.zeros_like(y))
    require(~result.success, "something was found.", "report it: the judge failed.")
    require(torch.isfinite(result.adversarial), "an answer is not finite.", "divide by no norm that may be 0.")


def layouts_and_types_are_alike(case: Case) -> None:
    """Inputs with gaps in memory, batch innermost or channels last give the same verdicts; types are kept."""
    trial, ours = case
    model, x, y = trial.build(torch.float64)
    for way, layout in LAYOUTS.items():
        assert_same(ours, trial.attack(model, layout(x), y), None, ("success", "status"), f"with inputs {way}")
    model, x, y = trial.build(torch.float32)
    result = trial.attack(model, x, y)
    same = result.adversarial.dtype == x.dtype and result.adversarial.shape == x.shape
    require(same, "inputs have another type or shape than x.", "keep both.")


def it_describes_itself(case: Case) -> None:
    """The composition is plain data, the same every time; so is what a file says of the set."""
    trial, result = case
    ours, again = (json.dumps(trial.attack.describe(), sort_keys=True) for _ in range(2))
    require(ours == again, "two descriptions differ.", "make searches frozen dataclasses of plain data.")
    require(
        json.loads(json.dumps(result.config)) == result.config, "a file would say something else.", "plain data only."
    )


PROMISES = promises(
    counts_are_the_models_own, runs_repeat, passes_of_any_size_are_alike, compaction_is_invisible, groups_are_alone,
    budgets_hold, the_model_is_left_alone, no_pass_has_one_row, any_number_of_inputs, nan_is_a_status,
    flat_models_are_no_trouble, layouts_and_types_are_alike, it_describes_itself,
)  # fmt: skip


class CollectiveConformance(Conformance):
    """Name `attacks` with one point for many inputs: Attacks, or functions that make one. The kit groups its inputs.

    An attack without a set is tried on those of `threats` that it takes.
    """

    attacks: ClassVar[Sequence[Any | Callable[[], Any]]] = ()
    threats: ClassVar[Sequence[Any]] = (Universal(Linf(0.25)), Patch(size=(2, 3)))
    shape: ClassVar[Sequence[int]] = (2, 4, 4)

    promises: ClassVar[tuple[Promise, ...]] = PROMISES
    named = "attacks"

    def subjects(self) -> Iterable[Shared]:
        """The attacks that were named, each with the sets it takes."""
        made: list[Any] = [given if hasattr(given, "replace") else given() for given in self.attacks]
        names = [getattr(given, "__name__", type(attack.search).__name__)
                 for given, attack in zip(self.attacks, made, strict=True)]  # fmt: skip
        for name, attack in zip(numbered(names), made, strict=True):
            yield Shared(name, attack, [threat for threat in self.threats if _takes(attack, threat)], tuple(self.shape))


def _takes(attack: Any, threat: Any) -> bool:
    try:
        attack.replace(set=threat)
    except CompositionError:
        return False
    return True
