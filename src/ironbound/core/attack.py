"""An attack is five parts: set x goal x objective x oracle x search. Everything that changes the answer is a field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.describe import described
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.judge import wins_beyond_chance
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import Budget, Can, Goal, Model, Objective, Oracle, PerturbationSet, Search, Want
from ironbound.core.result import Result
from ironbound.core.rng import Rng, combined_key, content_keys

if TYPE_CHECKING:
    from ironbound.core.cascade import Cascade

PADDED = 64  # rows of every pass under `reproducible`

_FIXES = {
    Can.GRADIENT: "use a search that needs no gradient (hopskipjump, noise), or an oracle that gives one",
    Can.SCORES: "use a search that needs decisions only (hopskipjump), or an oracle that shows scores",
    Can.DECISIONS: "use an oracle that shows decisions",
    Can.PROJECT: "use a set one can project onto, such as Linf or L2",
    Can.SAMPLE: "use a set one can draw from, such as Linf or L2",
    Can.STEER: "use a set with a steepest direction, such as Linf, L2 or L1",
    Can.SUPPORT: "use a set over which a linear function can be maximised, such as Linf, L2, L1 or L0",
    Can.SCALE: "use a set with a radius, such as Linf or L2",
    Can.NEIGHBOURS: "use a discrete set, whose points have neighbours",
    Can.FINITE: "use a set whose points can be listed",
}


@dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes the answer."""

    rows: int | None = None
    pad: int | None = None
    compaction: str = "auto"
    progress: Listener = silent
    stage: str = "attack"


@dataclass(frozen=True)
class TheThreat:
    """Stands for the set that is not known yet: a verb's `threat`, or replace(set=...)."""

    can = ~Can(0)

    def at(self, x: Any, box: Any) -> Any:
        """There is no region of an unknown set."""
        raise CompositionError(
            "this attack has no set yet: give threat= to the verb, or use attack.replace(set=Linf(8/255))."
        )


@dataclass(frozen=True)
class Attack:
    """A composition that searches P(x) for adversarial examples. Build variants with `attack.replace(steps...)`.

    Parts that do not fit each other are refused here, with both sides and a fix.
    """

    set: PerturbationSet
    goal: Goal
    objective: Objective
    search: Search
    oracle: Oracle
    want: Want = Want.FIRST
    budget: Budget = field(default_factory=Budget)
    restarts: int = 1
    votes: int = 1
    """Fresh draws that judge a claim on a random model: it must win their majority beyond chance."""
    share: float = 1.0
    """Collective problems succeed when this share of their items does."""
    cheap: bool = False
    """Gradient passes in bfloat16; verdicts never."""
    stream: str = ""
    """A name gives the attack random streams of its own: stages of a cascade would otherwise start at the same points."""

    def __post_init__(self) -> None:
        for name in ("set", "goal", "objective", "search", "oracle"):
            if isinstance(part := getattr(self, name), type):
                raise UsageError(f"{name} is an instance, such as {part.__name__}(); got the class itself.")
        if within := getattr(self.objective, "within", ""):
            raise CompositionError(
                f"{type(self.objective).__name__} compares with what was heard at the clean input, so it belongs to the "
                f"search that hears it: search={within} of ironbound.searches.guided. As objective= use Margin() or Dlr()."
            )
        lifts = getattr(self.search, "lifts", None)
        if lifts is not None and not isinstance(self.set, TheThreat):
            object.__setattr__(self, "set", lifts(self.set))
        offered = self.set.can | self.oracle.gives
        missing = self.search.needs & ~offered
        if missing:
            raise CompositionError(
                f"{type(self.search).__name__} needs {_names(missing)}, which neither the set {type(self.set).__name__} "
                f"({_names(self.set.can)}) nor the oracle {type(self.oracle).__name__} ({_names(self.oracle.gives)}) has: "
                + "; ".join(_FIXES[part] for part in missing)
                + "."
            )
        if getattr(self.search, "from_label", False) and not getattr(self.goal, "from_label", True):
            raise CompositionError(
                f"{type(self.search).__name__} leads away from the label by itself, and the goal {self.goal!r} is another "
                "one. Use a search that climbs the goal's own objective: pgd, or apgd with objective=Dlr()."
            )
        if self.restarts < 1 or self.votes < 1 or not 0 < self.share <= 1:
            raise UsageError(
                f"restarts and votes are at least 1 and share lies in (0, 1]; got restarts={self.restarts}, "
                f"votes={self.votes}, share={self.share}."
            )
        if any(cap is not None and cap < 0 for cap in (self.budget.forward, self.budget.backward)):
            raise UsageError(f"a budget is a number of model rows >= 0 per problem, or None; got {self.budget}.")
        try:
            wins_beyond_chance(self.votes)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def replace(self, **parts: Any) -> Self:
        """The same attack with other parts."""
        return replace(self, **parts)

    def against(self, threat: PerturbationSet) -> Attack | Cascade:
        """The attack on this set; on a union, on each of its parts in turn."""
        from ironbound.core.cascade import over_parts

        return over_parts(self.replace(set=threat))

    def rows(self, index: Tensor) -> Self:
        """The same for some of the problems, where the set holds something for each (a radius a problem)."""
        return self.replace(set=rows_.of_rows(self.set, index))

    def notes(self, classes: int) -> list[str]:
        """What the parts do otherwise than their names say, at this number of classes."""
        parts = (self.objective, self.search)
        return [note for part in parts for note in getattr(part, "notes", lambda classes: ())(classes)]

    def describe(self) -> dict[str, Any]:
        """The composition as plain data: what is fingerprinted and stored."""
        return described(self)

    def __call__(
        self,
        model: Model,
        x: Any,
        y: Any = None,
        *,
        seed: int = 0,
        keys: Int[Tensor, " n"] | None = None,
        rows: int | None = None,
        reproducible: bool = False,
        compaction: str = "auto",
        progress: Listener | None = None,
        stage: str = "attack",
    ) -> Result:
        """Attack every problem; row i of the result belongs to row i of x.

        Parameters
        ----------
        model: a Model (wrap a module by ironbound.Model(net)).
        x, y: inputs (n, ...) in the model's range, and what the goal needs to know of them (labels (n,)).
        seed, keys: which randomness belongs to which problem; keys default to a hash of the problem's content.
        rows: model rows per pass; None finds it from the free memory.
        reproducible: fill every pass up to 64 rows, so that kernels round alike at any batch size and `rows`.
        compaction: "auto", "always" or "never": when finished problems leave the search's own tables.

        None of rows, reproducible, compaction, progress and stage changes a draw or a decision.

        Raises InputError for data that the model cannot take, CompositionError where model and attack do not fit.
        """
        x, y = self._admitted(model, x, y)
        if getattr(self.set, "parts", ()):  # a union: part by part
            in_turn = self.against(self.set)
            return in_turn(
                model, x, y, seed=seed, keys=keys, rows=rows, reproducible=reproducible, compaction=compaction,
                progress=progress, stage=stage,
            )  # fmt: skip
        from ironbound.core.engine import Run

        own = content_keys(x, y) if keys is None else keys
        options = Options(min(rows or PADDED, PADDED) if reproducible else rows, PADDED if reproducible else None,
                          compaction, progress or silent, stage)  # fmt: skip
        region = self.set.at(x, model.box)
        if keys is None and region.items is not None:
            owners = region.items.cpu()
            own = torch.tensor([combined_key(own[owners == problem]) for problem in range(len(region))])
        if len(own) != len(region):
            raise UsageError(f"keys give each problem its randomness: {len(region)} are needed, got {len(own)}.")
        streams = Rng.of(seed, own.to(model.device))
        run = Run(self, model, region, y, streams.fold(self.stream) if self.stream else streams, options)
        run.finish()
        return Result.of(run, seed)

    def _admitted(self, model: Any, x: Any, y: Any) -> tuple[Any, Any]:
        if not hasattr(model, "opened"):
            raise CompositionError(
                f"an Attack calls an ironbound.Model; got {type(model).__name__}. Wrap it: ironbound.Model(net)."
            )
        x, y = model.admit(x, y)
        missing = self.search.needs & self.oracle.gives & ~model.gives
        if missing:
            raise CompositionError(
                f"{type(self.search).__name__} needs {_names(missing)}, but this model gives {_names(model.gives)}: "
                + "; ".join(_FIXES[part] for part in missing)
                + "."
            )
        if model.random and self.votes == 1:
            raise CompositionError(
                "the model draws, and a single draw proves nothing: give the votes that judge a claim, "
                "attack.replace(votes=20), and average gradients over draws, oracle=Eot(draws=10)."
            )
        if rows_.count(x) == 0:
            raise CompositionError("there is nothing to attack: x has no rows.")
        return x, y


def _names(can: Can) -> str:
    return ", ".join(part.name or "" for part in can) or "nothing"
