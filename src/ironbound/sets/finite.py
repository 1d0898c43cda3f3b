"""Finite sets: the adversary chooses one of a few changes, so that all of them can be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.describe import described
from ironbound.core.errors import InputError, UsageError
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.core.rows import flat
from ironbound.sets.bounds import inner_box
from ironbound.sets.union import Union, united

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Finite:
    """x itself, and what each of some changes makes of it: P(x) = {x, change_1(x), ..., change_k(x)}.

    A change is a function from a batch of inputs (n, ...) to one of the same shape and type, that treats every row by
    itself, or a tensor of a sample's shape that is added. What leaves the model's range is clamped to it; a change that
    must know the range has a method `within(x, box)`, which is called instead. To be
    fingerprinted, functions are module-level ones or instances of frozen dataclasses.

    Points are numbers (n,), int64: 0 is x, i the i-th change. `sample` draws each with the same probability. The size is
    1 of every change and 0 of none. Two finite sets united by `|` are one finite set.

    Raises UsageError for a change that is neither.

    >>> Finite((torch.tensor([0.1, 0.0]), torch.tensor([0.0, 0.1])), names=("first", "second"))
    Finite('first', 'second')
    """

    changes: tuple[Change | Tensor, ...]
    names: tuple[str, ...] | None = None

    can = Can.SAMPLE | Can.FINITE | Can.NEIGHBOURS

    def __post_init__(self) -> None:
        if isinstance(self.changes, Tensor) or callable(self.changes):
            raise UsageError("Finite takes a list of changes; of a single one, write Finite([change]).")
        object.__setattr__(self, "changes", tuple(self.changes))
        for change in self.changes:
            if not (isinstance(change, Tensor) or callable(change)):
                raise UsageError(
                    f"a change is a function of a batch of inputs, or a tensor to be added; got {change!r}."
                )
        if self.names is not None:
            object.__setattr__(self, "names", tuple(map(str, self.names)))
            if len(self.names) != len(self.changes):
                raise UsageError(f"{len(self.changes)} changes have as many names; got {len(self.names)}.")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(described(self) == described(other))

    def __hash__(self) -> int:
        return hash(str(described(self)))

    def __repr__(self) -> str:
        named = self.names or tuple(_name(change) for change in self.changes)
        return f"Finite({', '.join(map(repr, named[:4]))}{f', ... {len(named)} changes' if len(named) > 4 else ''})"

    def __or__(self, other: Any) -> Finite | Union:
        if not isinstance(other, Finite):
            return united(self, other)
        names = None if self.names is None or other.names is None else self.names + other.names
        return Finite(self.changes + other.changes, names)

    def at(self, x: Float[Tensor, "n ..."], box: Box) -> FiniteRegion:
        """The region around x, shape (n, ...). Raises InputError for what is no tensor of floats."""
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"Finite changes a tensor of floats; got {kind}.")
        one = (1, *x.shape[1:])
        for change in self.changes:
            if isinstance(change, Tensor) and not _fits(tuple(change.shape), one):
                raise InputError(
                    f"{_name(change)!r} cannot be added to a sample of shape {one[1:]}: it needs that shape."
                )
        return FiniteRegion(x, box, self.changes)


@dataclass(frozen=True)
class FiniteRegion:
    """Numbered changes of each row of x."""

    x: Tensor
    box: Box
    changes: tuple[Change | Tensor, ...]

    items = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some problems."""
        return replace(self, x=self.x.index_select(0, index))

    def identity(self) -> Int[Tensor, " n"]:
        """0 of each."""
        return torch.zeros(len(self.x), dtype=torch.int64, device=self.x.device)

    def leaf(self, p: Tensor) -> Tensor:
        """The point itself; there is no relaxation."""
        return p

    def apply(self, p: Int[Tensor, " m"], rng: Rng | None = None, items: Int[Tensor, " m"] | None = None) -> Tensor:
        """The changed inputs, row by row. Raises UsageError where a change gives another shape or type."""
        out = self.x.clone()
        for number in p.unique().tolist():
            if number:
                at = (p == number).nonzero()[:, 0]
                out.index_copy_(0, at, self._changed(self.changes[number - 1], self.x.index_select(0, at)))
        return out

    def _changed(self, change: Change | Tensor, x: Tensor) -> Tensor:
        if isinstance(change, Tensor):
            new: Any = x + change.to(x.device, x.dtype)
        else:
            within = getattr(change, "within", None)
            new = change(x) if within is None else within(x, self.box)
        if not isinstance(new, Tensor) or new.shape != x.shape or new.dtype != x.dtype:
            got = f"{new.dtype} {tuple(new.shape)}" if isinstance(new, Tensor) else type(new).__name__
            raise UsageError(f"change {_name(change)!r} made {got} of {x.dtype} {tuple(x.shape)}; it must keep both.")
        return new.clamp(*inner_box(self.box, x.dtype))

    def locate(self, inputs: Tensor) -> Int[Tensor, " n"]:
        """The point whose input each of these is, but for rounding; the nearest of several, -1 where there is none.

        Kernels round a row otherwise in other company: a change made again may differ from itself in the last bits.
        """
        found = torch.full((len(self.x),), -1, dtype=torch.int64, device=self.x.device)
        eps = torch.finfo(self.x.dtype).eps
        rounding = 64 * eps if eps < 1e-4 else 2 * eps  # half precision is rounded once, from sums in float32
        largest = torch.maximum(flat(self.x).abs().amax(1), flat(inputs).abs().amax(1)).double()
        least = torch.nextafter(rounding * largest, torch.full_like(largest, torch.inf))
        for number in range(len(self.changes) + 1):
            made = self.apply(torch.full_like(found, number))
            away = flat(made.double() - inputs.double()).abs().amax(1)
            found = torch.where(away < least, number, found)
            least = torch.minimum(least, away)
        return found

    def contains(self, p: Int[Tensor, " m"]) -> Bool[Tensor, " m"]:
        """Whether there is a change of that number."""
        return (p >= 0) & (p <= len(self.changes))

    def size(self, p: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """1 of a change, 0 of none."""
        return (p != 0).double()

    def distance(self, p: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """0 inside, 1 for numbers that there are not."""
        return (~self.contains(p)).double()

    def sample(self, rng: Rng) -> Int[Tensor, " n"]:
        """One of all points, none included, each with the same probability."""
        return rng.integers(0, len(self.changes) + 1)

    def neighbours(self, p: Int[Tensor, " n"], rng: Rng) -> tuple[Tensor, Tensor]:
        """All other points of each row, in order, and the row each belongs to."""
        points, owner = self.enumerate()
        others = points != p[owner]
        return points[others], owner[others]

    def enumerate(self) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """All points, x first, and the row each belongs to."""
        each, n = len(self.changes) + 1, len(self.x)
        device = self.x.device
        return torch.arange(each, device=device).repeat(n), torch.arange(n, device=device).repeat_interleave(each)


def _fits(shape: tuple[int, ...], one: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be added to every sample: one for each row would be mixed up."""
    return len(shape) <= len(one) and all(a in (1, b) for a, b in zip(shape[::-1], one[::-1], strict=False))


def _name(change: Any) -> str:
    if isinstance(change, Tensor):
        return f"tensor {' x '.join(map(str, change.shape))}"
    return getattr(change, "__name__", None) or repr(change)
