"""Bounds of any value of a graph by backward passes: of the layers in between while intervals pass through them.

The intervals go forwards; before a node whose lines depend on the interval of what goes into it, that is narrowed by
backward passes from there, and what follows starts from the narrower one. Rows are a flat list of (input, value), so
that an input with few undecided values costs little, and are bounded chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ironbound.certification.backward import pulled
from ironbound.certification.coefficients import Coefficients, Dense, Spots
from ironbound.certification.extremes import is_box, least
from ironbound.certification.functionals import Known, Rows, varying
from ironbound.certification.graph import RESHAPES, Graph, Node, Ref
from ironbound.certification.interval import Propagation, propagate
from ironbound.certification.intervals import Interval
from ironbound.certification.operations import OPERATIONS
from ironbound.certification.products import multiplied
from ironbound.core.memory import Chunks, free_bytes

WORK = 64 << 20
"""Bytes of coefficients beyond which a CPU gains nothing from more rows a pass."""
SHARE = 0.25
"""Of an accelerator's free memory, likewise."""
TABLES = 6
"""Tensors as large as the coefficients that are alive at a time."""
ALONE = 24
"""Rows of one input that are worth a pass of their own on a CPU: what is known of it is then broadcast, not copied."""
ONE_TO_ONE = RESHAPES | {
    f"{name}.default"
    for name in ["clone", "detach", "_to_copy", "alias", "neg", "permute", "expand", "constant_pad_nd"]
    + ["_native_batch_norm_legit_no_training"]
} | {f"{name}.{kind}" for name in ["add", "sub", "mul", "div"] for kind in ("Tensor", "Scalar")} | {
    "slice.Tensor", "select.int", "getitem"
}  # fmt: skip
"""Operations that make each value of one value: they leave exact intervals exact."""


def swept(graph: Graph, region: Any, dtype: torch.dtype, refine: bool = True) -> tuple[Propagation, Bounder]:
    """Intervals of all values over the region, narrowed by backward passes on the way, and what bounds further values."""
    bounder = Bounder(graph, region, dtype)
    before = bounder.narrow if refine else bounder.see
    return propagate(graph, region.lo, region.hi, dtype=dtype, before=before), bounder


@dataclass(eq=False)
class Bounder:
    """Bounds values of a graph over a region by backward passes; what it finds of layers in between it keeps."""

    graph: Graph
    region: Any
    dtype: torch.dtype
    known: Known | None = None
    done: dict[str, Tensor] = field(default_factory=dict)
    """Of values that have been narrowed, which entries."""
    depth: dict[str, int] = field(default_factory=dict)
    """How many layers that mix values lie between the input and a value; intervals of a box are exact up to one."""
    chunks: Chunks | None = None
    cost: Tensor = field(init=False)
    """Multiplications of the backward passes of each input so far, float64 (n,)."""

    def __post_init__(self) -> None:
        lo = self.region.lo
        self.cost = torch.zeros(len(lo), dtype=torch.float64, device=lo.device)

    @property
    def rows(self) -> Tensor:
        """What was spent on each input, in forward passes of one: two of them for the intervals."""
        assert self.known is not None
        return 2 + self.cost / max(self.known.forward, 1.0)

    # ---------------------------------------------------------------------------------------------- layers in between
    def see(self, node: Node, box: dict[str, Any]) -> None:
        """Take notice of a node, and of the values so far."""
        if self.known is None:
            device = self.region.lo.device
            self.known = Known(self.graph, box, self.dtype, device, len(self.region.lo))
            self.depth[self.graph.input] = 0 if is_box(self.region) else 2
        self.depth[node.name] = self._depth(node)

    def narrow(self, node: Node, box: dict[str, Any]) -> None:
        """Bound what the node's linear rule reads, where the interval leaves it undecided."""
        self.see(node, box)
        for ref in self.reads(node):
            self._narrow(node, ref, OPERATIONS[node.op].undecided or has_width, box)

    def reads(self, node: Node) -> list[Ref]:
        """The arguments whose intervals the node's linear rule reads, but for those that intervals bound exactly."""
        return [ref for ref in read_by(node) if self.depth[ref.name] > 1]

    @property
    def read(self) -> set[str]:
        """The values whose intervals some linear rule reads (a product that of itself, too), and the input."""
        nodes = [node for node in self.graph.nodes if node.varies]
        products = [node for node in nodes if OPERATIONS[node.op].backward is multiplied]
        own = {name for node in products for name in (node.name, *(ref.name for ref in varying(node)))}
        return {ref.name for node in nodes for ref in read_by(node)} | own | {self.graph.input}

    def _narrow(self, node: Node, ref: Ref, undecided: Callable[..., Tensor], box: dict[str, Any]) -> None:
        x = box[ref.name]
        tried, positive = self._untried(ref, undecided(node, x)), x.centre > 0
        x = box[ref.name] = self._one_end(ref, x, tried, positive)  # the end that is more likely to decide goes first
        box[ref.name] = self._one_end(ref, x, undecided(node, x) & tried, ~positive)

    def _untried(self, ref: Ref, wanted: Tensor) -> Tensor:
        """The wanted entries that nobody has narrowed; they count as narrowed from now on."""
        done = self.done.get(ref.name, torch.zeros_like(wanted))
        self.done[ref.name] = done | wanted
        return wanted & ~done

    def _one_end(self, ref: Ref, x: Interval, wanted: Tensor, lower: Tensor) -> Interval:
        """The interval with the lower or the upper end of the wanted entries bounded anew."""
        assert ref.shape is not None
        n = len(self.region.lo)
        owner, place = wanted.reshape(n, -1).nonzero().unbind(1)
        if not len(owner):
            return x
        sign = torch.where(lower.reshape(n, -1)[owner, place], 1.0, -1.0).to(self.dtype)
        found = self.lower(ref.name, Spots(place, sign, ref.shape), owner) * sign
        low, high = x.lower.reshape(n, -1), x.upper.reshape(n, -1)
        best_low = torch.where(sign > 0, torch.maximum(found, low[owner, place]), low[owner, place])
        best_high = torch.where(sign < 0, torch.minimum(found, high[owner, place]), high[owner, place])
        low, high = low.index_put((owner, place), best_low), high.index_put((owner, place), best_high)
        return Interval(low.view_as(x.lower), high.view_as(x.upper))

    def _depth(self, node: Node) -> int:
        depths = [self.depth.get(ref.name, 0) for ref in varying(node)]
        if not depths:
            return 0
        if len(depths) > 1 or not OPERATIONS[node.op].linear or OPERATIONS[node.op].relax is not None:
            return 2
        return depths[0] + (0 if node.op in ONE_TO_ONE else 1)

    # ------------------------------------------------------------------------------------------------ backward passes
    def lower(self, start: str, a: Coefficients, owner: Int[Tensor, " R"]) -> Tensor:
        """Lower bounds (R,) of the functionals a of the value of `start`, chunk by chunk; rows of one owner together."""
        assert self.known is not None
        known = self.known

        def bound(at: slice, single: int | None = None) -> Tensor:
            rows = Rows(known, owner[at], single)
            inside, bias, work = pulled(start, taken(a, at, len(owner)), rows)
            self.cost.index_add_(0, owner[at], torch.full_like(owner[at], work, dtype=torch.float64))
            return least(self.region, inside, rows) + bias

        parts: list[Tensor] = []
        for block, single in self._blocks(owner):
            job = partial(_shifted, bound, block.start, single)
            parts += self._chunks(start).run(block.stop - block.start, job)
        return trusted(torch.cat(parts))

    def _blocks(self, owner: Tensor) -> Iterator[tuple[slice, int | None]]:
        """Rows of many inputs together; on a CPU those of one that has many by themselves."""
        if owner.device.type != "cpu":
            yield slice(0, len(owner)), None
            return
        begin = end = 0
        for single, count in enumerate(torch.bincount(owner).tolist()):
            if count >= ALONE:
                if end > begin:
                    yield slice(begin, end), None
                yield slice(end, end + count), single
                begin = end + count
            end += count
        if end > begin:
            yield slice(begin, end), None

    def _chunks(self, start: str) -> Chunks:
        """What runs rows in portions that fit."""
        limit = self.room(start)
        if self.chunks is None or limit < self.chunks.limit:
            self.chunks = Chunks(limit, self.region.lo.device)
        return self.chunks

    def room(self, start: str) -> int:
        """How many rows memory takes at the widest layer below a value."""
        sizes = [prod(node.shape) for node in self.graph.upto(start) if node.shape is not None]
        wide = max([prod(self.graph.shape), *sizes]) * torch.empty((), dtype=self.dtype).element_size() * TABLES
        device = self.region.lo.device
        return max(1, (WORK if device.type == "cpu" else int(SHARE * free_bytes(device))) // wide)


def trusted(bound: Tensor) -> Tensor:
    """Lower bounds without NaN and infinities, which overflowing coefficients leave: they bound nothing."""
    return torch.where(bound.isfinite(), bound, -torch.inf)


def read_by(node: Node) -> list[Ref]:
    """The arguments whose intervals the node's linear rule reads, each once."""
    operation = OPERATIONS[node.op]
    reads = varying(node) if operation.relax is not None else operation.reads(node) if operation.reads else []
    return list({ref.name: ref for ref in reads}.values())


def has_width(node: Node, x: Interval) -> Tensor:
    """Where an interval is no point."""
    return x.upper > x.lower


def _shifted(bound: Callable[[slice, int | None], Tensor], begin: int, single: int | None, at: slice) -> Tensor:
    return bound(slice(begin + at.start, begin + at.stop), single)


def taken(a: Coefficients, at: slice, rows: int) -> Coefficients:
    """Some of the functionals that a pass begins with."""
    if isinstance(a, Spots):
        return Spots(a.place[at], a.scale[at], a.shape)
    assert isinstance(a, Dense)
    k = len(a.values) // rows
    return Dense(a.values[at.start * k : at.stop * k])
