"""Search over a lattice of parameters: every angle and shift of a grid, for sets of a few parameters."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task

AXES = {
    "rotation": ("angle",),
    "translation": ("down", "right"),
    "spatial": ("angle", "down", "right"),
    "brightness": ("brightness",),
    "color": ("hue", "saturation"),
    "blur": ("sigma",),
}
"""The parameters of each kind of set that has a few."""
EXAMPLES = {
    "rotation": "Rotation(30)", "translation": "Translation(3)", "spatial": "Spatial(30, 3)", "flow": "Flow(1.0)",
    "brightness": "Brightness(0.2)", "color": "ColorShift(0.1)", "blur": "Blur(1.5)",
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """Each problem's lattice points, `block` of them an ask; a problem leaves with its first witness.

    `angles` values of an angle, `shifts` of each shift, `values` of each other parameter, evenly spaced between the ends
    of the set, both included; an odd number has the change of nothing among them. Points at the corners of the set come
    first, where changes are largest. What lies between the points is not tried.
    Paper: Engstrom, Tran, Tsipras, Schmidt, Madry 2019, Exploring the Landscape of Spatial Robustness, arXiv 1712.02779,
    section 3 (grid search): 31 angles and 5 values of each shift, 775 points.
    """

    angles: int = 31
    shifts: int = 5
    values: int = 31
    block: int = 8
    norms: tuple[str, ...] = tuple(AXES)

    needs = Can.SCALE

    def __post_init__(self) -> None:
        if min(self.angles, self.shifts, self.values, self.block) < 1:
            raise UsageError(f"a grid has at least one value of each parameter, and a block one point; got {self}.")

    def notes(self, classes: int) -> list[str]:
        """What a grid does not say."""
        return ["the grid was tried point by point; what lies between its points was not, so that this is no proof."]

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """All points, block by block."""
        counts = self.counts(must_be(task.region, self.norms, self))
        shares = task.region.lattice(counts)
        for part in shares.split(self.block):
            if not task.n:
                return
            task.compact()
            count, k = task.n, len(part)
            owner = torch.arange(count, device=part.device).repeat(
                k
            )  # all problems' first points, then all second ones
            yield Ask(task.region.along(part.repeat_interleave(count, 0), owner), owner=owner, partial=True)

    def counts(self, axes: Sequence[str]) -> dict[str, int]:
        """How many values each parameter has."""
        each = {"angle": self.angles, "down": self.shifts, "right": self.shifts}
        return {name: each.get(name, self.values) for name in axes}

    def points(self, kind: str) -> int:
        """How many points the lattice of a kind of set has."""
        return math.prod(self.counts(AXES[kind]).values())


def must_be(region: Any, norms: Sequence[str], search: object) -> tuple[str, ...]:
    """The parameters of a region of one of these kinds. Raises CompositionError with the kinds that go."""
    kind = getattr(region, "norm", None)
    if kind not in norms:
        raise CompositionError(
            f"{type(search).__name__} is for threats such as {', '.join(EXAMPLES[norm] for norm in norms)}; got "
            f"{type(region).__name__}. Use one of these, or another attack for this set."
        )
    axes: tuple[str, ...] = region.axes
    return axes
