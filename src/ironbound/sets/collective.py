"""What sets share in which one point is for many inputs: who belongs together, and how a file says what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.core.describe import described
from ironbound.core.errors import InputError, UsageError


class Grouped:
    """A collective set: one point for all inputs, or one a group of them. Equal to another where its description is."""

    collective: ClassVar[bool] = True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(described(self) == described(other))

    def __hash__(self) -> int:
        return hash(str(described(self)))

    def take(self: Any, index: Int[Tensor, " r"]) -> Any:
        """The set for some of the inputs it was made for: itself, unless it holds groups."""
        if self.groups is None:
            return self
        return replace(self, groups=tuple(self.groups[i] for i in index.tolist()))


def checked_groups(groups: Any) -> tuple[int, ...] | None:
    """Whole numbers, one an input, as a tuple. Raises UsageError for anything else."""
    if groups is None:
        return None
    listed = groups.tolist() if hasattr(groups, "tolist") else groups
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not all(isinstance(g, int) for g in listed):
        raise UsageError(f"groups are whole numbers, one an input (groups=y: one point a class); got {groups!r}.")
    return tuple(listed)


def items_of(groups: tuple[int, ...] | None, x: Any) -> tuple[Int[Tensor, " inputs"], tuple[int, ...]]:
    """Which problem each input belongs to, and the group of each problem, in ascending order; one problem without groups.

    Raises InputError where there are not as many groups as inputs, or where inputs are no tensor of floats.
    """
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"one change for many inputs needs a tensor of floats; got {kind}.")
    if groups is None:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device), (0,)
    if len(groups) != len(x):
        raise InputError(f"there are {len(groups)} groups, one an input, for {len(x)} inputs.")
    names, items = torch.tensor(groups, dtype=torch.int64).unique(return_inverse=True)
    return items.to(x.device), tuple(names.tolist())
