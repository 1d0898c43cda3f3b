"""Interval bound propagation: a box of inputs through the whole graph, in two passes' time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.certification.graph import Graph, Node, Ref, arguments, compute
from ironbound.certification.intervals import Interval, end, normalise
from ironbound.certification.operations import OPERATIONS
from ironbound.core.errors import InputError, UsageError

BATCH_NORM = "_native_batch_norm_legit_no_training.default"

Stats = Literal["running", "batch"]
Before = Callable[[Node, dict[str, Any]], None]


@dataclass(frozen=True, eq=False)
class BatchStatistics:
    """Of one pass of clean inputs through one batch normalisation: what its running statistics are updated with."""

    module: str
    """The module's name in the traced one: "features.1"."""
    mean: Float[Tensor, " channels"]
    var: Float[Tensor, " channels"]
    """Unbiased, as torch's running_var takes it in. Both are detached."""


@dataclass(frozen=True, eq=False)
class Propagation:
    """One pass: an `Interval` (or a constant) for every node by name, and what the clean inputs gave."""

    graph: Graph
    values: dict[str, Any]
    clean: Tensor | None
    """The outputs at the clean inputs, normalised by the same statistics; None where none were given."""
    statistics: tuple[BatchStatistics, ...]
    """With stats="batch", one a batch normalisation and call, in order."""

    @property
    def output(self) -> Interval:
        """Bounds of the graph's output, each (n, *out_shape)."""
        return self.values[self.graph.output]


def bounds(
    graph: Graph,
    lo: Float[Tensor, "n ..."],
    hi: Float[Tensor, "n ..."],
    *,
    dtype: torch.dtype | None = None,
    weights: Mapping[str, Tensor] | None = None,
    stats: Stats = "running",
    clean: Float[Tensor, "m ..."] | None = None,
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, "n ..."]]:
    """Lower and upper bounds of the graph's output over the boxes [lo, hi]; see `propagate` for the arguments.

    Paper: Gowal et al. 2018, "On the Effectiveness of Interval Bound Propagation" (arXiv 1810.12715), section 3;
    Mirman et al. 2018 (the box domain of DiffAI).
    """
    output = propagate(graph, lo, hi, dtype=dtype, weights=weights, stats=stats, clean=clean).output
    return output.lower, output.upper


def propagate(
    graph: Graph,
    lo: Float[Tensor, "n ..."],
    hi: Float[Tensor, "n ..."],
    *,
    dtype: torch.dtype | None = None,
    weights: Mapping[str, Tensor] | None = None,
    stats: Stats = "running",
    clean: Float[Tensor, "m ..."] | None = None,
    frozen: Collection[str] = (),
    before: Before | None = None,
) -> Propagation:
    """Bounds of every value in the graph over the boxes [lo, hi], row by row; differentiable.

    Parameters
    ----------
    dtype: the type to compute in, lo's own by default; parameters are cast, the module is not.
    weights: tensors that stand in for some of the module's parameters and buffers, by their names in it.
    stats: what batch normalisation normalises with. "running": the module's frozen statistics, as at inference: the
        only bounds that certify anything. "batch": for certified training, the mean and the (biased) variance over the
        batch and positions of the *clean* activations at that layer; the box and the clean inputs are normalised with
        the same numbers, so that the layer stays affine for a fixed batch, and the gradient flows through them.
    clean: the inputs that the statistics are of, needed for "batch"; any number of rows. With "running" they are
        merely propagated too.
    frozen: with "batch", the names of batch normalisations that use their running statistics all the same.
    before: called with each node that varies and all values so far, before the node is passed; it may narrow intervals.

    lo <= hi is the caller's promise; a NaN in them makes NaN bounds, which prove nothing.

    Paper: Shi et al. 2021, "Fast Certified Robust Training with Short Warmup" (arXiv 2103.17268), for "batch".
    """
    if stats not in ("running", "batch") or (stats == "batch" and clean is None):
        raise UsageError(
            f'stats is "running", or "batch" with clean= inputs; got {stats!r} with clean={clean is not None}.'
        )
    graph.checked(lo, "lo")
    if graph.checked(hi, "hi").shape != lo.shape or not len(lo):
        raise InputError(f"lo and hi are boxes of n >= 1 inputs; got {len(lo)} and {len(hi)} rows.")
    with torch.autocast(lo.device.type, enabled=False):
        return _Pass(graph, dtype or lo.dtype, lo.device, stats, frozenset(frozen), before).run(lo, hi, weights, clean)


@dataclass(frozen=True, eq=False)
class _Pass:
    graph: Graph
    dtype: torch.dtype
    device: torch.device
    stats: Stats
    frozen: frozenset[str] = frozenset()
    before: Before | None = None

    def run(self, lo: Tensor, hi: Tensor, weights: Mapping[str, Tensor] | None, clean: Tensor | None) -> Propagation:
        stored: dict[str, Any] = dict(self.graph.read(self.dtype, self.device, weights))
        box = stored | {self.graph.input: Interval(lo.to(self.dtype), hi.to(self.dtype))}
        point = (
            None
            if clean is None
            else stored | {self.graph.input: self.graph.checked(clean, "clean").to(lo.device, self.dtype)}
        )
        statistics = []
        for node in self.graph.nodes:
            if self.before is not None and node.varies:
                self.before(node, box)
            if point is not None and self._by_batch(node):
                statistics.append(self._normalised(node, box, point))
                continue
            if point is not None:
                point[node.name] = compute(node, *arguments(node, point, self.dtype, self.device))
            box[node.name] = self._bounded(node, box)
        answer = None if point is None else point[self.graph.output]
        return Propagation(self.graph, box, answer, tuple(statistics))

    def _by_batch(self, node: Node) -> bool:
        """Whether this is a batch normalisation that normalises by the statistics of the batch."""
        by_batch = node.op == BATCH_NORM and node.varies and self.stats == "batch"
        return by_batch and self._layer(node) not in self.frozen

    def _bounded(self, node: Node, box: dict[str, Any]) -> Any:
        args, kwargs = arguments(node, box, self.dtype, self.device)
        if node.varies:
            return OPERATIONS[node.op].interval(node, *args, **kwargs)
        return compute(node, end(args, "lower"), kwargs)  # of a box it reads the shape at most

    def _normalised(self, node: Node, box: dict[str, Any], point: dict[str, Any]) -> BatchStatistics:
        """Batch normalisation of box and clean activations with the statistics of the latter."""
        (x, weight, bias, *_, eps), _kwargs = arguments(node, point, self.dtype, self.device)
        count = x.numel() // x.shape[1]
        if count < 2:
            raise InputError(
                f"batch statistics at {node.module} need two values a channel or more; got {count}. Use larger batches."
            )
        axes = [axis for axis in range(x.ndim) if axis != 1]
        var, mean = torch.var_mean(x, axes, correction=0)
        given = (weight, bias, mean, var, 0.0, eps)
        box[node.name] = normalise(node, arguments(node, box, self.dtype, self.device)[0][0], *given)
        (exact,) = normalise(node, Interval(x, x), *given)
        point[node.name] = (exact.lower,)
        return BatchStatistics(self._layer(node), mean.detach(), var.detach() * count / (count - 1))

    def _layer(self, node: Node) -> str:
        running = node.args[3]
        name = self.graph.sources.get(running.name, "") if isinstance(running, Ref) else ""
        return name.removesuffix("running_mean").removesuffix(".")
