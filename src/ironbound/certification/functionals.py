"""What a backward pass carries: which input each row is of, what is known of the values, and how rules read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.certification.coefficients import Coefficients, Patches, Window
from ironbound.certification.graph import Graph, Node, Ref, arguments, compute, leaves
from ironbound.certification.intervals import Interval

Free = Callable[[Node, Interval, int], Tensor | None]
"""The free parameters of a node's lines, in the form of the interval given but with so many rows; None: default lines."""

LAYERS = {"convolution.default": 1, "addmm.default": 2, "mm.default": 1}
"""Operations with a matrix of weights, and which argument that is."""


class Back(NamedTuple):
    """What a rule makes of a . z: a functional of each argument that varies, and a constant; a lower bound of it."""

    parts: list[tuple[Ref, Coefficients | Tensor]]
    bias: Float[Tensor, " R"] | None = None


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the values of n inputs: intervals of what varies, the constants, and what was computed of them."""

    graph: Graph
    values: dict[str, Any]
    dtype: torch.dtype
    device: torch.device
    count: int
    lines: dict[str, Any] = field(default_factory=dict)
    """Of nodes whose lines have been asked for; whoever narrows an interval makes these anew."""
    families: dict[str, Any] = field(default_factory=dict)
    """The same of nodes whose lines are chosen row by row (`Operation.family`)."""
    matrices: dict[Any, Tensor] = field(default_factory=dict)
    """Matrices of layers that were asked for; they depend on weights alone."""
    cuts: dict[Any, Any] = field(default_factory=dict)
    """Windows of the planes of one input, see `cuts_of`."""
    constants: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By number of rows: constants that have the shape of a batch."""

    def constant(self, argument: Any) -> Any:
        """A constant argument as it is for the n inputs."""
        return self.values[argument.name] if isinstance(argument, Ref) else argument

    def work(self, node: Node) -> float:
        """Multiplications that a node needs for one input, about: of layers those with weights, else one a value."""
        if node.shape is None:
            return 0.0
        if node.op not in LAYERS or node.args[LAYERS[node.op]].varies:
            return float(prod(node.shape))
        weight = self.values[node.args[LAYERS[node.op]].name]
        return float(prod(node.shape) * weight.numel() / weight.shape[0 if node.op == "convolution.default" else 1])

    @property
    def forward(self) -> float:
        """Multiplications of a forward pass of one input."""
        return sum(self.work(node) for node in self.graph.nodes if node.varies)

    def cuts_of(self, single: int, value: Tensor, window: Window) -> Tensor:
        """All windows of one input's plane, made once for its passes: the last input's are kept, and no others."""
        if value.requires_grad:
            return window.cuts(value[single : single + 1])
        if self.cuts.get("of") != single:
            self.cuts.clear()
            self.cuts["of"] = single
        key = (id(value), window.stride, window.offset, window.size)
        if key not in self.cuts:
            self.cuts[key] = value, window.cuts(value[single : single + 1])  # value is kept, and so its id is its own
        return self.cuts[key][1]

    @cached_property
    def ball(self) -> tuple[Tensor, Tensor]:
        """Centre and radius of the box of inputs."""
        box = self.values[self.graph.input]
        return box.centre, box.radius

    def batched(self, rows: int) -> dict[str, Any]:
        """The constants that are made for a batch (a token expanded over it), made for this many rows."""
        if rows not in self.constants:
            made: dict[str, Any] = {}
            nodes = {node.name: node for node in self.graph.nodes}
            for name in self.graph.batched:
                values = {**self.values, **made} | {
                    ref.name: self._empty(ref, rows) for ref in leaves(nodes[name].args) if ref.varies
                }
                made[name] = compute(nodes[name], *arguments(nodes[name], values, self.dtype, self.device))
            self.constants.clear()
            self.constants[rows] = made
        return self.constants[rows]

    def _empty(self, ref: Ref, rows: int) -> Tensor:
        """Of the right shape, without values: what is asked of it is its shape."""
        assert ref.shape is not None
        return torch.zeros((), dtype=self.dtype, device=self.device).expand(ref.shape[0] * rows, *ref.shape[1:])


@dataclass(frozen=True, eq=False)
class Rows:
    """The functionals of one pass."""

    known: Known
    owner: Int[Tensor, " R"]
    """Which of the n inputs each is of."""
    single: int | None = None
    """That input, where all are of one: values are then broadcast instead of copied for each row."""
    free: Free | None = None

    def __len__(self) -> int:
        return len(self.owner)

    def gathered(self, value: Tensor, rows: bool = True) -> Tensor:
        """A tensor (k n, ...) for each row: (k R, ...), or with one owner, k = 1 and `rows` false (1, ...)."""
        k = len(value) // self.known.count
        if self.single is not None and k == 1:
            own = value[self.single : self.single + 1]
            return own.expand(len(self), *own.shape[1:]) if rows else own
        chosen = value.view(self.known.count, k, *value.shape[1:]).index_select(0, self.owner)
        return chosen.reshape(-1, *value.shape[1:])

    def value(self, argument: Any) -> Any:
        """An argument of a rule: an `Interval` (k R, ...) for what varies, a constant for what does not."""
        if isinstance(argument, (list, tuple)):
            return [self.value(part) for part in argument]
        if not isinstance(argument, Ref):
            return argument
        if argument.varies:
            found = self.known.values[argument.name]
            return Interval(self.gathered(found.lower), self.gathered(found.upper))
        if argument.name in self.known.graph.batched:
            return self.known.batched(len(self))[argument.name]
        return self.known.values[argument.name]

    @cached_property
    def _owners(self) -> tuple[Tensor, Tensor]:
        """The inputs that have rows, and which of these each row is of."""
        which, owner = self.owner.unique(return_inverse=True)
        return which, owner

    def like(self, a: Coefficients, value: Tensor) -> Tensor:
        """A tensor (k n, ...) in the form of coefficients: what lies under each window, or all of it."""
        if not isinstance(a, Patches):
            return self.gathered(value, rows=False)
        if self.single is None:
            which, owner = self._owners
            if len(which) * prod(a.window.grid) > len(self):
                return a.window.picked(value, self.owner)
            return a.window.taken(a.window.cuts(value[which]), owner)
        return a.window.taken(self.known.cuts_of(self.single, value, a.window), None)

    def dot(self, a: Tensor, b: Tensor) -> Float[Tensor, " R"]:
        """a . b row by row, with b in the form of `like`."""
        if a.ndim == 4 and not a.is_contiguous():  # channels last, as of windows: a reshape would copy them
            a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
        if len(b) == 1:
            return a.reshape(len(self), -1) @ b.reshape(-1)
        return torch.linalg.vecdot(a.reshape(len(self), -1), b.reshape(len(self), -1))

    def summed(self, a: Tensor) -> Float[Tensor, " R"]:
        """The sum of each row of a tensor (k R, ...)."""
        return a.reshape(len(self), -1).sum(1)


def varying(node: Node) -> list[Ref]:
    """The arguments that depend on the input, in order, each as often as it occurs."""
    return [ref for ref in leaves([*node.args, *node.kwargs.values()]) if ref.varies]
