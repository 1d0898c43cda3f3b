"""What attacks promise about how they end: failures that say so, targets as another goal, parameters without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Status, Want
from ironbound.goals import Targeted
from ironbound.oracles import Direct
from ironbound.sets.ball import Ball
from ironbound.testing import invariance
from ironbound.testing.attacks import Tried
from ironbound.testing.promise import require
from ironbound.testing.tables import same
from ironbound.testing.trials import Trial, require_witnesses

FAILED = (Status.NOT_FOUND, Status.BUDGET, Status.NON_FINITE)
HARD = 0.01
"""The share of a ball's radius at which most problems fail."""
SOME = 2
"""How many failures are looked at alone."""


def parameters_get_no_gradient(tried: Tried) -> None:
    """Whether the module's parameters want gradients changes nothing, and none is left with a .grad."""
    invariance.gradients_are_not_kept(tried.usual, tried.result)


def targets_are_another_goal(tried: Tried) -> None:
    """With a class to reach instead of one to leave its witnesses are of that class; or it is refused when it is built."""
    trial = tried.usual
    try:
        trial = trial.replace(goal=Targeted())
    except CompositionError:
        return
    model, x, y = trial.build(torch.float32)
    wanted = (y + 1) % 3
    require_witnesses(trial, model, x, wanted, trial.attack(model, x, wanted))


def failures_say_so(tried: Tried) -> None:
    """A failure has a status that says so. Where the smallest change is wanted it is the input itself, of size 0.

    Where any change within the set would do, it is the contained point of all that were asked that came nearest to one.
    """
    for trial in (tried.trial(threat) for threat in _hard(tried)):
        _, x, _ = trial.build(torch.float64)
        result = trial.run()
        lost = ~result.success
        said = torch.isin(result.status, torch.tensor([int(code) for code in FAILED], device=lost.device))
        require(said == lost, "a status and a success tell two stories.", "report it: the engine sets statuses.")
        want = getattr(trial.attack, "want", None)  # a cascade has none of its own
        if want is Want.SMALLEST:
            mend = "report it: the engine answers with what it keeps."
            require(result.size[lost] == 0, "a failure has a size.", mend)
            require(same(result.adversarial[lost], x[lost]), "a failure is not the input itself.", mend)
        seen = isinstance(getattr(trial.attack, "oracle", None), Direct)  # points, as the model sees them
        if want is Want.FIRST and seen and isinstance(trial.attack.set, Ball):
            for problem in lost.nonzero()[:SOME, 0]:
                _is_the_strongest(trial, problem[None])


def _hard(tried: Tried) -> Iterator[Any]:
    """The first set, and the balls so small that most problems fail."""
    yield tried.threats[0]
    for threat in tried.threats:
        if isinstance(threat, Ball) and not isinstance(threat.eps, Tensor):
            yield replace(threat, eps=1.0 if threat.norm == "l0" else threat.eps * HARD)


def _is_the_strongest(trial: Trial, problem: Tensor) -> None:
    """The answer of one problem alone has the margin of the best contained input that went through the model."""
    model, x, y = trial.build(torch.float64)
    heard = list[Tensor]()
    ours = trial.run_on(problem, wrap=lambda model: Listening(model, heard))
    inputs = torch.cat(heard)
    every = torch.zeros(len(inputs), dtype=torch.int64)
    region = trial.rows(problem).set.at(x[problem], model.box).take(every)
    with torch.no_grad():
        margins = trial.attack.goal.margin(model.module.eval()(inputs), y[problem].expand(len(inputs)))
    best = margins[_contained(region, inputs)].max()
    require(
        (ours.margin - best).abs() <= 1e-9 * (1 + best.abs()),
        f"a failure has the margin {float(ours.margin):g}, and a contained point of margin {float(best):g} was asked.",
        "ask for contained points: only those may become an answer.",
    )


def _contained(region: Any, inputs: Tensor) -> Tensor:
    """Which inputs stand for contained points; all, where points are parameters that inputs do not tell."""
    if getattr(region, "parametric", False):
        return torch.ones(len(inputs), dtype=torch.bool)
    locate = getattr(region, "locate", None)
    inside: Tensor = region.contains(inputs if locate is None else locate(inputs))
    return inside


class Listening:
    """A model that notes the inputs of its passes."""

    def __init__(self, model: Any, heard: list[Tensor]) -> None:
        self.model, self.heard = model, heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @contextmanager
    def opened(self, cheap: bool = False) -> Iterator[Any]:
        """As the model's own, noting."""
        with self.model.opened(cheap) as call:

            def noted(x: Any, rng: Any) -> Any:
                self.heard.append(x.detach().clone())
                return call(x, rng)

            yield noted
