"""What every attack promises: exact witnesses, invariance, budgets, an untouched model, answers where others break."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.attack import TheThreat
from ironbound.core.protocols import Box, Status
from ironbound.core.result import Result
from ironbound.core.rng import content_keys
from ironbound.models.model import Model
from ironbound.sets.ball import Ball
from ironbound.testing import invariance
from ironbound.testing.linear import accelerators
from ironbound.testing.nets import Flat, Holes
from ironbound.testing.promise import require
from ironbound.testing.tables import FIELDS, LAYOUTS, ORDERS, assert_same, same
from ironbound.testing.trials import Trial, require_witnesses, trial_of

BUDGETS = (1, 2, 5, 12, 31)


@dataclass(frozen=True)
class Tried:
    """An attack with the settings of the class that names it; trials are made from both."""

    attack: Any
    settings: Any

    known: dict[int, Result] = field(default_factory=dict, compare=False)
    """What `found` has run already."""

    @cached_property
    def threats(self) -> Sequence[Any]:
        """The sets to try: the attack's own, where it has one."""
        own = self.attack.set
        return self.settings.threats_for(self.attack) if isinstance(own, TheThreat) else (own,)

    def trial(self, threat: Any = None, classes: int = 3, box: Box = (0.0, 1.0)) -> Trial:
        """On a net of the kit."""
        given = self.settings
        threat = self.threats[0] if threat is None else threat
        return trial_of(
            self.attack, threat, shape=tuple(given.shape), classes=classes, n=given.problems, box=box, finds=given.finds
        )

    @cached_property
    def usual(self) -> Trial:
        """The first set, three classes."""
        return self.trial()

    @property
    def result(self) -> Result:
        """What comes out of the usual trial in float64, with which other runs are compared."""
        return self.found(0)

    def found(self, which: int) -> Result:
        """The same of the set with this number."""
        if which not in self.known:
            self.known[which] = self.trial(self.threats[which]).run()
        return self.known[which]

    def each(self) -> Iterator[tuple[Trial, Result]]:
        """A trial on every set with its result in float64."""
        for which, threat in enumerate(self.threats):
            yield self.trial(threat), self.found(which)


def witnesses_are_exact(tried: Tried) -> None:
    """Witnesses lie in their set as float64 measures it, without tolerance, and fool the net alone, at batch size 1."""
    for trial, result in tried.each():
        invariance.witnesses_hold(trial, torch.float32)
        invariance.witnesses_hold(trial, torch.float64, result)
    wide = tried.threats[0]
    if isinstance(wide, Ball) and not isinstance(wide.eps, Tensor) and wide.norm != "l0":
        for low, high in ((-1.7, 2.3), (0.0, 255.0)):
            scaled = replace(wide, eps=wide.eps * (high - low))
            invariance.witnesses_hold(tried.trial(scaled, box=(low, high)), torch.float32)


def results_add_up(tried: Tried) -> None:
    """Success means a positive margin; status, size, points and inputs of a result tell one story."""
    result, (model, x, _) = tried.result, tried.usual.build(torch.float64)
    region = tried.usual.attack.set.at(x, model.box)
    won = result.success
    mend = "the engine makes results: report it, unless the set's apply or size is wrong."
    require(result.margin[won] > 0, "a success has no positive margin.", mend)
    require(
        (result.status == Status.FOUND) == (won & (result.size > 0)), "status FOUND is not success with a change.", mend
    )
    unchanged = (result.status == Status.ALREADY_WRONG) == (won & (result.size == 0))
    require(unchanged, "status ALREADY_WRONG is not success without a change.", mend)
    require(result.judged <= result.forward, "the judge's rows are not among the forward rows.", mend)
    require(same(region.size(result.points), result.size), "sizes are not those of the points.", mend)
    require(region.contains(result.points), "an answer is not contained.", mend)
    require(result.forward > 0, "a problem heard nothing.", "ask for at least one point of every problem.")


def runs_repeat(tried: Tried) -> None:
    """A second run with the same seed is the same to the last bit; another seed runs as well."""
    assert_same(tried.result, tried.usual.run(), why="in a second run")
    tried.usual.run(seed=1)


def passes_of_any_size_are_alike(tried: Tried) -> None:
    """How many rows a pass has changes nothing."""
    for count in (1, 3):
        invariance.rows_change_nothing(tried.usual, count, tried.result)


def compaction_is_invisible(tried: Tried) -> None:
    """Whether finished problems leave the search's tables at once, or never, changes nothing, on any set."""
    for trial, result in tried.each():
        invariance.compaction_changes_nothing(trial, result)


def company_is_invisible(tried: Tried) -> None:
    """Order, subset and company change nothing: each problem is answered as if it were alone, on any set."""
    for place, (trial, result) in enumerate(tried.each()):
        for which in ORDERS if place == 0 else ("shuffled", "last"):
            invariance.order_changes_nothing(trial, which, result)


def parts_make_the_whole(tried: Tried) -> None:
    """Problems attacked pool by pool, with their keys, give what they give together: an audit may stop and resume."""
    model, x, y = tried.usual.build(torch.float64)
    keys, whole = content_keys(x, y), tried.usual.attack(model, x, y, seed=5)
    for pool in torch.arange(len(y)).split(3):
        part = tried.usual.rows(pool)(model, rows.take(x, pool), y[pool], seed=5, keys=keys[pool])
        assert_same(whole, part, pool, why=f"in the pool {pool.tolist()}")


def budgets_hold(tried: Tried) -> None:
    """A budget is never exceeded by one row, forward or backward, the judge's included, in float32 and with cheap passes."""
    for forward in BUDGETS:
        for cheap in (False, True):
            invariance.budget_holds(tried.usual, forward, cheap)


def the_model_is_left_alone(tried: Tried) -> None:
    """The user's module is as it was: weights, buffers, modes, requires_grad, .grad; and so are the global generators."""
    invariance.model_is_left_alone(tried.usual)


def no_pass_has_one_row(tried: Tried) -> None:
    """No pass has one row alone, which kernels would round in another way."""
    invariance.no_row_is_alone(tried.usual)


def any_number_of_classes(tried: Tried) -> None:
    """It runs at every number of classes named in `classes`, and at one logit (1); its witnesses hold there too."""
    for place, classes in enumerate(tried.settings.classes):
        trial = tried.trial(tried.threats[place % len(tried.threats)], classes=classes)
        model, x, y = trial.build(torch.float32)
        require_witnesses(trial, model, x, y, trial.attack(model, x, y))


def what_is_wrong_already_is_found(tried: Tried) -> None:
    """An input that the model gets wrong by far is a success."""
    if tried.settings.finds:
        require(
            tried.result.success[-1], "it was not found.", "let the search ask its start, and every point on its way."
        )


def nan_is_a_status(tried: Tried) -> None:
    """A model that answers NaN for some inputs stops nobody: those have a status, the others the result they have alone."""
    trial = tried.usual
    model, x, y = trial.build(torch.float64)
    limit = float(x.flatten(1)[:, 0].sort().values[-2])
    x = x.clone()
    x.view(len(x), -1)[0, 0] = 1.0  # of the first problem nothing is known but where the value is lowered
    holes = Model(Holes(model.net, limit), range=model.box)
    result = trial.attack(holes, x, y)
    known = torch.tensor([int(status) for status in Status], device=result.status.device)
    require(torch.isin(result.status, known), "an unknown status.", "report it: the engine sets statuses.")
    won = result.success
    require(result.margin[won] > 0, "a success has no positive margin.", "let comparisons with NaN be false.")
    for i in range(len(y)):
        index = torch.tensor([i])
        alone = trial.rows(index)(holes, x[index], y[index])
        assert_same(result, alone, index, why=f"where some answers are NaN, of problem {i} alone")


def radius_zero_leaves_x(tried: Tried) -> None:
    """With radius 0 there is nothing to find but what is wrong already, and every answer is x."""
    for threat in tried.threats:
        if isinstance(threat, Ball):
            trial = tried.trial(replace(threat, eps=0.0))
            model, x, y = trial.build(torch.float32)
            result = trial.attack(model, x, y)
            require(same(result.adversarial, x), "an answer is not x.", "let steps of length 0 be no trouble.")
            right = trial.attack.goal.margin(_clean(model, x), y) < 0
            require(~result.success[right], "a success without a change.", "report it: the judge failed.")


def flat_models_are_no_trouble(tried: Tried) -> None:
    """On a model that answers the same whatever it sees nothing is found, and nothing breaks: its gradients are 0."""
    trial = tried.usual
    _, x, _ = trial.build(torch.float32)
    y = torch.zeros(len(x), dtype=torch.int64)
    result = trial.attack(Model(Flat(3, torch.float32)), x, y)
    require(~result.success, "something was found.", "report it: the judge failed.")
    for leaf in rows.leaves(result.adversarial):
        require(torch.isfinite(leaf), "an answer is not finite.", "divide by no norm that may be 0.")


def layouts_are_alike(tried: Tried) -> None:
    """Inputs with gaps in memory, batch innermost or channels last give the same verdicts, and sizes and margins near."""
    model, x, y = tried.usual.build(torch.float64)
    for way, layout in LAYOUTS.items():
        theirs = tried.usual.attack(model, layout(x), y)
        assert_same(tried.result, theirs, None, ("success", "status"), f"with inputs {way}")


def cheap_passes_decide_nothing(tried: Tried) -> None:
    """With gradient passes in bfloat16 witnesses hold in the model's own precision, on any set."""
    for threat in tried.threats:
        trial = tried.trial(threat).replace(cheap=True)
        model, x, y = trial.build(torch.float32)
        require_witnesses(trial, model, x, y, trial.attack(model, x, y))


def types_are_kept(tried: Tried) -> None:
    """Answers have the shape and type of the inputs, and every table has a row a problem; row numbers are int64."""
    for kind in (torch.float32, torch.float64):
        model, x, y = tried.usual.build(kind)
        result = tried.usual.attack(model, x, y)
        right = result.adversarial.dtype == x.dtype and result.adversarial.shape == x.shape
        require(right, f"{result.adversarial.dtype} {tuple(result.adversarial.shape)} came of {x.dtype}.", "keep both.")
        for name in FIELDS:
            require(rows.count(getattr(result, name)) == len(y), f"{name} has not a row a problem.", "report it.")
        require(result.size.dtype == torch.float64, "sizes are not float64.", "Region.size is float64.")


def masks_and_unions_hold(tried: Tried) -> None:
    """Where a mask forbids values to change they do not; on a union each witness is in one of its parts."""
    balls = [threat for threat in tried.threats if isinstance(threat, Ball)]
    mask = torch.arange(torch.Size(tried.settings.shape).numel()).remainder(3).view(*tried.settings.shape) > 0
    for threat in balls:
        trial = tried.trial(replace(threat, mask=mask))
        model, x, y = trial.build(torch.float32)
        result = trial.attack(model, x, y)
        require_witnesses(trial, model, x, y, result)
        require(
            same(result.adversarial[:, ~mask], x[:, ~mask]),
            "a masked value changed.",
            "step by region.steepest and project.",
        )
    if len(balls) > 1:
        trial = tried.trial(balls[0] | balls[1])
        model, x, y = trial.build(torch.float32)
        require_witnesses(trial, model, x, y, trial.attack(model, x, y))


def devices_agree(tried: Tried) -> None:
    """On another device witnesses hold there, and tables stay there (asked where there is one)."""
    for device in accelerators():
        model, x, y = tried.usual.build(torch.float32)
        moved = Model(model.net.to(device), range=model.box)
        result = tried.usual.attack(moved, x.to(device), y.to(device))
        require(
            result.success.device.type == device.type,
            "the result is elsewhere.",
            "create tensors on the inputs' device.",
        )
        require_witnesses(tried.usual, moved, x.to(device), y.to(device), result)


def it_describes_itself(tried: Tried) -> None:
    """The composition is plain data, the same every time: audits are fingerprinted by it."""
    ours = json.dumps(tried.usual.attack.describe(), sort_keys=True)
    again = json.dumps(tried.trial().attack.describe(), sort_keys=True)
    require(ours == again, "two descriptions differ.", "make searches frozen dataclasses of plain data.")


def _clean(model: Any, x: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model.module.eval()(x)
    return out
