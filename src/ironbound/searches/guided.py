"""Searches that climb towards something learnt at the clean input: a target class each turn, or away from the clean answer.

They run another search as it is and change what it climbs: every ask goes out with their loss, and the search hears that
loss as its objective. Success stays the goal's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.protocols import Answer, Ask, Can, Outputs, Search, Task
from ironbound.objectives import KlToClean, TargetDlr
from ironbound.searches.hyperplane import DUAL

Asking = Generator[Ask, Answer, Any]
MOST = 1 << 26
"""Numbers that the gradients of a ranking may hold at a time (256 MiB in float32)."""


def guided(
    search: Search,
    task: Task,
    loss: Callable[..., Tensor],
    tables: Callable[[], tuple[Tensor, ...]],
    note: Callable[[Ask, Answer], None] = lambda ask, heard: None,
) -> Asking:
    """Run a search with loss(terms, *tables) for its objective; the tables have one row a problem of the task as it is now.

    `note` is told each ask as it went out, and what was heard.
    """

    def out(ask: Ask) -> Ask:
        if ask.loss is not None:
            raise CompositionError(f"{type(search).__name__} has a loss of its own and cannot be guided by another.")
        args = tuple(table if ask.owner is None else table[ask.owner] for table in tables())
        return replace(ask, loss=loss, args=args)

    def back(ask: Ask, heard: Answer) -> Answer:
        note(ask, heard)
        assert heard.loss is not None  # every ask went out with one
        return replace(heard, value=heard.loss)

    return relayed(search, task, out, back)


def relayed(
    search: Search, task: Task, out: Callable[[Ask], Ask], back: Callable[[Ask, Answer], Answer]
) -> Generator[Ask, Answer, None]:
    """Run a search whose asks go out, and whose answers come back, through somebody else's hands."""
    asks, answer = search.run(task), None
    while True:
        try:
            ask = next(asks) if answer is None else asks.send(answer)
        except StopIteration:
            return
        answer = back(ask, (yield out(ask)))


# ------------------------------------------------------------------------------------------------- which targets
class Targets(Protocol):
    """Which classes to aim at, in what order."""

    @property
    def needs(self) -> Can:
        """What set and oracle must offer."""
        ...

    def ranked(self, task: Task) -> Generator[Ask, Answer, Int[Tensor, "n k"] | None]:
        """The classes for each problem, first things first; None where the clean answers could not be had."""
        ...


@dataclass(frozen=True)
class Likely:
    """The classes with the highest logits at the clean input, but the label; as many as there are where count is None.

    Paper: Croce, Hein 2020, arXiv 2003.01690, section 5 (APGD-T, nine targets). Of C classes there are C - 1 at most.
    """

    count: int | None = 9
    needs = Can.SCORES

    def ranked(self, task: Task) -> Generator[Ask, Answer, Int[Tensor, "n k"] | None]:
        """One forward row a problem."""
        out = yield from clean_logits(task)
        return None if out is None else likeliest(out, task.y, self.count)


@dataclass(frozen=True)
class Malt:
    """The classes nearest by the linear view at the clean input: (z_y - z_t) / |grad(z_y - z_t)| in the dual norm.

    Paper: Melamed, Yehudai, Shamir 2024, MALT Powers Up Adversarial Attacks, arXiv 2407.02240, section 3. The `among`
    most likely classes are ranked; gradients cost a forward and up to `among` + 1 backward rows a problem.
    """

    count: int = 9
    among: int = 100
    needs = Can.SCORES | Can.GRADIENT

    def ranked(self, task: Task) -> Generator[Ask, Answer, Int[Tensor, "n k"] | None]:
        """Logits first, then gradients of the classes that come into question, some problems at a time."""
        out = yield from clean_logits(task)
        if out is None:
            return None
        likely = likeliest(out, task.y, self.among)
        if likely.shape[1] < 2:
            return likely
        asked, x = torch.cat([task.y[:, None], likely], 1), task.region.identity()
        norms = torch.ones(likely.shape, dtype=torch.float64, device=out.device)
        for row in torch.arange(len(asked), device=out.device).split(max(1, MOST // (asked.shape[1] * x[0].numel()))):
            answer = yield Ask(x[row], owner=row, jac=asked[row])
            difference = answer.jac[:, 1:] - answer.jac[:, :1]
            norms[row] = _dual(task.region, difference.flatten(2).double())
        gap = (out.gather(1, task.y[:, None]) - out.gather(1, likely)).double()
        score = torch.where(norms > 0, gap / norms, torch.inf)
        return likely.gather(1, score.argsort(dim=1, stable=True)[:, : self.count])


def clean_logits(task: Task) -> Asking:
    """The logits at the clean input, or None; every problem that can pay hears them."""
    answer = yield Ask(task.region.identity())
    out: Outputs = answer.outputs
    if out is not None and not (isinstance(out, Tensor) and out.is_floating_point() and out.ndim == 2):
        raise CompositionError("targets are ranked by logits (n, classes), and this model answers with something else.")
    return out


def likeliest(out: Float[Tensor, "n c"], y: Int[Tensor, " n"], count: int | None) -> Int[Tensor, "n k"]:
    """The classes with the highest logits but y, the highest first; `count` of them, or all."""
    others = out.shape[1] - 1
    order = out.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, : others if count is None else min(count, others)]


def _dual(region: Any, gradients: Float[Tensor, "n k d"]) -> Float[Tensor, "n k"]:
    """The slope of each along its steepest step of length 1; of a set that has no norm for it says so itself (`dual`)."""
    if hasattr(region, "dual"):
        own: Tensor = region.dual(gradients)
        return own
    if region.norm not in DUAL:
        raise CompositionError(f"MALT ranks targets by a dual norm, and {region.norm} has none; use Likely() instead.")
    return torch.linalg.vector_norm(gradients, ord=DUAL[region.norm], dim=2)


# ------------------------------------------------------------------------------------------------- the searches
@dataclass(frozen=True)
class Aimed:
    """Run a search once for each target class, most promising first; any wrong answer met on the way is a success.

    Paper: Gowal et al. 2019, arXiv 1910.09338 (multi-targeted); Croce, Hein 2020, arXiv 2003.01690 (APGD-T).
    """

    search: Search
    loss: Callable[[Outputs, Tensor, Tensor], Tensor] = field(default_factory=TargetDlr)
    """(outputs, y, target) -> one number a row, up towards the target."""
    targets: Targets = Likely(9)

    from_label = True

    @property
    def needs(self) -> Can:
        """What the search needs, and what the ranking needs."""
        return self.search.needs | self.targets.needs

    def notes(self, classes: int) -> list[str]:
        """Where there are too few classes for the loss or the number of targets."""
        name = "targeted DLR" if isinstance(self.loss, TargetDlr) else type(self.loss).__name__
        least, wanted = getattr(self.loss, "needs", 2), getattr(self.targets, "count", None)
        few = [f"{name} needs {least} classes; the model has {classes}, and the margin z_t - z_y stood in."]
        fewer = [f"{wanted} targets were asked for; of {classes} classes there are {classes - 1}."]
        return (few if classes < least else []) + (fewer if wanted and wanted > classes - 1 else [])

    def run(self, task: Task) -> Asking:
        """Rank the targets, then a turn of the search for each."""
        ranking = yield from self.targets.ranked(task)
        if ranking is None:
            return
        s = task.state(target=ranking)
        for turn in range(ranking.shape[1]):
            task.turn(turn)
            task.compact()
            yield from guided(self.search, task, self._towards, lambda turn=turn: (s.target[:, turn],))  # type: ignore[misc]

    def _towards(self, terms: Any, target: Tensor) -> Tensor:
        return self.loss(terms.outputs, terms.y, target)


@dataclass(frozen=True)
class Away:
    """Run a search that climbs away from the clean answer: loss(outputs, clean outputs), TRADES' KL by default."""

    search: Search
    loss: Callable[[Outputs, Outputs], Tensor] = field(default_factory=KlToClean)

    from_label = True

    @property
    def needs(self) -> Can:
        """What the search needs, and scores."""
        return self.search.needs | Can.SCORES

    def run(self, task: Task) -> Asking:
        """Hear the clean answer, then search."""
        clean = yield from clean_logits(task)
        if clean is None:
            return
        s = task.state(clean=clean)
        task.compact()
        yield from guided(self.search, task, lambda terms, clean: self.loss(terms.outputs, clean), lambda: (s.clean,))
