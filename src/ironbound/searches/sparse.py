"""What searches that change few pixels share."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from ironbound.core.errors import CompositionError
from ironbound.core.judge import convincing, scale_of
from ironbound.core.protocols import Answer, Task
from ironbound.core.rows import kept, take
from ironbound.searches.norms import norm_among


def open_region(task: Task, search: Any) -> Any:
    """The region of an L0 ball in a box. Raises CompositionError where it is another, or values have no ends to go to."""
    norm_among(task.region, search.norms, search)
    if task.region.box is None:
        raise CompositionError(
            f"{type(search).__name__} moves values towards the ends of the model's range, and this model has none: give it "
            "one, or use sigma_zero."
        )
    return task.region


def some(table: Tensor, region: Any, at: Int[Tensor, " r"]) -> tuple[Tensor, Any, Tensor | None]:
    """Points and region of these rows (ascending), and the owner that an ask for them names."""
    whole = len(at) == len(table)
    return kept(table, at, len(table)), kept(region, at, len(table)), None if whole else at


def won(task: Task, s: Any, answer: Answer, owner: Int[Tensor, " m"]) -> Bool[Tensor, " m"]:
    """Which points have a margin that convinces the judge; `s.scale` keeps the largest logit heard of each problem."""
    largest = scale_of(answer.outputs)
    if largest is None:
        return answer.success
    s.scale = s.scale.scatter_reduce(0, owner, largest, "amax")
    margin: Tensor = task.goal.margin(answer.outputs, take(task.y, owner))
    return answer.success & convincing(margin, s.scale[owner])


def changed(region: Any, p: Tensor) -> Bool[Tensor, "n pixels"]:
    """Which pixels differ from x."""
    differs: Tensor = region.by_pixel(p != region.x).any(1)
    return differs
