"""A trial is an attack with the model and the data that it runs on: what promises about searches look at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ironbound.core import rows
from ironbound.core.protocols import Box
from ironbound.core.result import Result
from ironbound.testing.nets import fit
from ironbound.testing.promise import require

Measure = Callable[[Any, Any, Result], list[tuple[Tensor, Tensor | float]]]
"""(set, x, result) -> sizes of the changes, one a row, measured anew, and the radii in which they stay."""


@dataclass(frozen=True)
class Trial:
    """An attack, and how to make a model, inputs and labels of a type for it."""

    attack: Any
    build: Callable[[torch.dtype], tuple[Any, Any, Tensor]]
    problems: int
    regroup: Callable[[Any, Tensor], tuple[Any, Tensor]] | None = None
    """Collective problems: the attack on some problems, and the inputs that belong to them."""
    measure: Measure | None = None
    """Where the set is no ball: how witnesses are measured. None: by the set's norm, or by its own `contains` alone."""
    finds: bool = True
    """Whether at least one witness is expected."""

    @property
    def collective(self) -> bool:
        """Whether a problem has several inputs."""
        return self.regroup is not None

    @property
    def stages(self) -> int:
        """How many attacks it runs in turn: each has the budget for itself."""
        return len(getattr(self.attack, "stages", (self.attack,)))

    def run(self, kind: torch.dtype = torch.float64, **options: Any) -> Result:
        """The attack on all problems."""
        model, x, y = self.build(kind)
        result: Result = self.attack(model, x, y, **options)
        return result

    def run_on(self, index: Tensor, kind: torch.dtype = torch.float64, wrap: Any = None, **options: Any) -> Result:
        """The attack on some of the problems, in this order."""
        model, x, y = self.build(kind)
        attack, inputs = (self.rows(index), index) if self.regroup is None else self.regroup(self.attack, index)
        result: Result = attack(wrap(model) if wrap else model, rows.take(x, inputs), y[inputs], **options)
        return result

    def rows(self, index: Tensor) -> Any:
        """The attack for some problems: a set with something of each keeps what belongs to these."""
        return self.attack.replace(set=rows.of_rows(self.attack.set, index))

    def replace(self, **parts: Any) -> Trial:
        """The same with other parts of the attack."""
        return replace(self, attack=self.attack.replace(**parts))


def trial_of(
    attack: Any, threat: Any, *, shape: tuple[int, ...] = (1, 4, 4), classes: int = 3, n: int = 8, box: Box = (0.0, 1.0),
    finds: bool = True,
) -> Trial:  # fmt: skip
    """A trial on a net and inputs of the kit, see `fit`. An attack that has no set yet is given this one."""

    def build(kind: torch.dtype) -> tuple[Any, Tensor, Tensor]:
        model, x, y = fit(shape, classes, n, box, kind)
        return model, x, y

    return Trial(attack if threat is None else attack.against(threat), build, n, finds=finds)


class Counted:
    """A model that notes the number of rows of its passes, whatever runs them."""

    def __init__(self, model: Any) -> None:
        self.model, self.sizes = model, list[int]()

    @property
    def ran(self) -> int:
        """All rows that went through the model."""
        return sum(self.sizes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @contextmanager
    def opened(self, cheap: bool = False) -> Iterator[Any]:
        """As the model's own, counting."""
        with self.model.opened(cheap) as call:

            def counted(x: Any, rng: Any) -> Any:
                self.sizes.append(rows.count(x))
                return call(x, rng)

            yield counted


# ------------------------------------------------------------------------------------------------- witnesses
_OUTSIDE = "keep points in the set by region.project before asking; the judge takes the point as it was asked."
_ALONE = "a witness was accepted on a pass that is not the model's own: report it, the engine or an oracle's `exact` is wrong."


def require_witnesses(trial: Trial, model: Any, x: Any, y: Any, result: Result) -> None:
    """Every witness, measured anew in float64, lies in set and box without tolerance, and fools the net at batch size 1."""
    require(torch.isfinite(result.size[result.success]), "the size of a witness is not finite.", "Region.size must be.")
    threat = trial.attack.set
    region = threat.at(x, model.box)
    mine = result.success if region.items is None else result.success[region.items]
    require(region.contains(result.points)[result.success], "a witness is not in its set.", _OUTSIDE)
    measured = trial.measure(threat, x, result) if trial.measure else _measured(threat, x, result)
    for size, radius in measured:
        require(
            (size <= torch.as_tensor(radius, dtype=torch.float64))[mine],
            "a witness is outside the ball as float64 measures it.",
            _OUTSIDE,
        )
    if model.box is not None:
        for leaf in rows.leaves(result.adversarial):
            within = (leaf.double() >= model.box[0]) & (leaf.double() <= model.box[1])
            require(within, f"an adversarial input leaves the model's range {model.box}.", _OUTSIDE)
    if not model.random:
        require_fooled(trial, model, result, y, region.items)


def _measured(threat: Any, x: Any, result: Result) -> list[tuple[Tensor, Tensor | float]]:
    from ironbound.testing.edges import own_size

    if getattr(threat, "norm", None) not in ("linf", "l2", "l1", "l0") or not hasattr(threat, "eps"):
        return []
    eps = threat.eps if not isinstance(threat.eps, Tensor) else threat.at(x, None).radius
    return [(own_size(threat, result.adversarial.double() - x.double()), eps)]


def require_fooled(trial: Trial, model: Any, result: Result, y: Any, items: Tensor | None) -> None:
    """The module itself, in evaluation mode, one input at a time."""
    net, fooled = copy.deepcopy(model.module).eval(), []
    with torch.no_grad():
        for i, label in enumerate(y):
            out = net(rows.take(result.adversarial, torch.tensor([i], device=result.success.device)))
            fooled.append(bool(trial.attack.goal.margin(out, label[None]) > 0))
    won = torch.tensor(fooled)
    if items is None:
        require(won[result.success.cpu()], "a witness does not fool the net at batch size 1.", _ALONE)
        return
    for group in result.success.nonzero()[:, 0]:
        share = won[(items == group).cpu()].double().mean()
        require(share >= trial.attack.share, "a witness works on too few items of its problem.", _ALONE)
