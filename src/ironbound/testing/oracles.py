"""The tests that an oracle inherits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ironbound.core import rows
from ironbound.core.attack import Attack
from ironbound.core.protocols import Can
from ironbound.core.rng import Rng
from ironbound.core.several import Several
from ironbound.goals import Untargeted
from ironbound.models.model import Model
from ironbound.objectives import Margin
from ironbound.oracles import Eot
from ironbound.searches.chance import Draws
from ironbound.sets import Linf
from ironbound.testing.invariance import budget_holds
from ironbound.testing.nets import Tiny, fit
from ironbound.testing.promise import Conformance, Promise, ids, promises, require
from ironbound.testing.tables import same
from ironbound.testing.trials import Trial, trial_of

SHAPE, ROWS = (1, 4, 4), 6
_STREAMS = "draw from the rng given, one stream a row: rng.fold(name), rng.repeat(times); never from global generators."


@dataclass(frozen=True)
class Seen:
    """A model seen through an oracle."""

    oracle: Any
    classes: int
    ran: list[int]
    """The rows of each pass of the model."""
    front: nn.Module | None = None
    """What stands in front of the net."""

    def net(self, classes: int) -> nn.Module:
        """The model."""
        net = Tiny(SHAPE, classes)
        return (net if self.front is None else nn.Sequential(self.front, net)).eval()

    def __call__(self, x: Tensor, streams: Rng) -> Any:
        """What the attacker hears."""
        net = self.net(self.classes)

        def model(x: Any, rng: Rng) -> Any:
            assert len(rng) == rows.count(x), "the model is given one stream an input"
            self.ran.append(rows.count(x))
            return net(x)

        return Several.of(self.oracle.bind(model)(x, streams)).middle

    @property
    def x(self) -> Tensor:
        """Inputs."""
        return fit(SHAPE, self.classes, ROWS).x

    @property
    def streams(self) -> Rng:
        """A stream a row."""
        return Rng.of(0, torch.arange(ROWS))

    def clean(self) -> Tensor:
        """What the model itself answers."""
        with torch.no_grad():
            out: Tensor = self.net(self.classes)(self.x)
        return out


def the_cost_is_true(seen: Seen) -> None:
    """It runs `cost` model rows for each row asked, and never more."""
    seen.ran.clear()
    seen(seen.x, seen.streams)
    ran, cost = sum(seen.ran), seen.oracle.cost
    require(
        isinstance(cost, int) and cost >= 1, f"its cost is {cost!r}.", "a whole number of model rows per row asked."
    )
    require(ran <= cost * ROWS, f"{ran} rows were run for {ROWS} asked, at a cost of {cost}.", "declare the true cost.")


def streams_decide_the_draws(seen: Seen) -> None:
    """The same streams draw the same, and a row draws the same whatever its company, to the last bit."""
    ours = seen(seen.x, seen.streams)
    require(same(ours, seen(seen.x, seen.streams)), "the same streams give other answers.", _STREAMS)
    for index in (torch.arange(ROWS).flip(0), torch.tensor([4, 1]), torch.tensor([3])):
        theirs = seen(seen.x[index], seen.streams.take(index))
        require(same(rows.take(ours, index), theirs), f"rows {index.tolist()} are answered otherwise.", _STREAMS)


def exact_is_true(seen: Seen) -> None:
    """Where it calls itself exact, its answers are the model's own to the last bit: claims are believed by that."""
    if seen.oracle.exact:
        mend = "exact = False, wherever an answer may differ from the model's."
        require(same(seen(seen.x, seen.streams), seen.clean()), "its answers are not the model's.", mend)


def it_gives_what_it_says(seen: Seen) -> None:
    """SCORES are logits (n, classes); GRADIENT reaches the inputs and is finite; DECISIONS alone are classes, int64 (n,)."""
    gives, x = seen.oracle.gives, seen.x.clone().requires_grad_(True)
    out = seen(x, seen.streams)
    if Can.SCORES in gives:
        right = out.is_floating_point() and out.shape == (ROWS, seen.classes)
        require(right, f"SCORES are {out.dtype} {tuple(out.shape)}.", f"logits ({ROWS}, {seen.classes}).")
    else:
        right = out.dtype == torch.int64 and out.shape == (ROWS,)
        require(right, f"without SCORES it answers {out.dtype} {tuple(out.shape)}.", "classes, int64, one a row.")
    if Can.GRADIENT in gives:
        require(
            out.requires_grad, "no gradient flows to the inputs.", "leave GRADIENT out of `gives`, or keep the graph."
        )
        (grad,) = torch.autograd.grad(out.sum(), x)
        require(torch.isfinite(grad), "the gradient is not finite.", "make the transformation differentiable.")


def it_nests(seen: Seen) -> None:
    """Averaged by another oracle it costs twice as much, and keeps the promises of streams and cost."""
    outer = replace(seen, oracle=Eot(seen.oracle, None, 2), ran=[])
    require(
        outer.oracle.cost == 2 * seen.oracle.cost,
        "its cost does not multiply.",
        "cost is a number that others multiply.",
    )
    the_cost_is_true(outer)
    streams_decide_the_draws(outer)


def budgets_are_kept(seen: Seen) -> None:
    """Under an attack, budgets hold to the row: what it runs is what it is charged for."""
    if Can.SCORES | Can.DECISIONS in seen.oracle.gives or Can.DECISIONS in seen.oracle.gives:
        attack = Attack(Linf(0.2), Untargeted(), Margin(), Draws(6), seen.oracle)
        trial = _behind(seen.front, trial_of(attack, None, shape=SHAPE, classes=seen.classes, n=ROWS))
        for forward in (1, seen.oracle.cost, 2 * seen.oracle.cost + 1, 5 * seen.oracle.cost + 3):
            budget_holds(trial, forward)


def _behind(front: nn.Module | None, trial: Trial) -> Trial:
    """The trial with this in front of its net."""
    if front is None:
        return trial

    def build(kind: torch.dtype) -> tuple[Any, Any, Tensor]:
        model, x, y = trial.build(kind)
        return Model(nn.Sequential(front, model.net), range=model.box), x, y

    return replace(trial, build=build)


PROMISES = promises(
    the_cost_is_true, streams_decide_the_draws, exact_is_true, it_gives_what_it_says, it_nests, budgets_are_kept
)


@dataclass(frozen=True)
class OracleSubject:
    """An oracle that was named."""

    name: str
    oracle: Any
    classes: Sequence[int]
    front: nn.Module | None

    can = ~Can(0)

    def cases(self) -> Iterator[tuple[str, Seen]]:
        """Every number of classes."""
        for classes in self.classes:
            yield f"{classes} classes, inputs {(ROWS, *SHAPE)}", Seen(self.oracle, classes, [], self.front)


class OracleConformance(Conformance):
    """Name `oracles`; `front` is a module in front of the nets of the kit, for oracles about such a one."""

    oracles: ClassVar[Sequence[Any]] = ()
    front: ClassVar[nn.Module | None] = None
    classes: ClassVar[Sequence[int]] = (2, 10)
    promises: ClassVar[tuple[Promise, ...]] = PROMISES
    named = "oracles"

    def subjects(self) -> Iterable[OracleSubject]:
        """The oracles that were named."""
        for name, oracle in zip(ids(self.oracles), self.oracles, strict=True):
            yield OracleSubject(name, oracle, self.classes, self.front)
