"""A small graph of our own, that bounds walk over: traced once, weights read from the user's module at every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.errors import InputError, UsageError

RESHAPES = frozenset(
    {"view.default", "_unsafe_view.default", "squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default"}
)


@dataclass(frozen=True)
class Ref:
    """The value of another node as an argument; `shape` as in Node."""

    name: str
    varies: bool
    shape: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. Its arguments are numbers, None, `Ref`s and lists of them."""

    name: str
    op: str
    """ATen's name with the overload, without the `aten.`: "add.Tensor"; "getitem", "mul" for Python's own."""
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module: str
    """Where in the user's module: "features.3 (ReLU)"."""
    varies: bool
    """Whether the value depends on the input's values."""
    shape: tuple[int, ...] | None
    """(k, ...) where the value has shape (k n, ...) for n inputs, row i's part being the i-th block of k; None for
    constants and tuples."""


@dataclass(frozen=True, eq=False)
class Graph:
    """What a module computes in evaluation mode, as nodes in order. Made by `trace`.

    Parameters and buffers are not kept: `read` takes them from `module` anew. Python attributes that forward() reads
    (a temperature kept as a float) are frozen as they were when it was traced; trace again after changing one.
    """

    module: nn.Module
    nodes: tuple[Node, ...]
    sources: dict[str, str]
    """The module's name ("features.0.weight") of each placeholder that stands for a parameter or a buffer."""
    constants: dict[str, Tensor]
    """Tensors that are neither parameters nor buffers, by placeholder."""
    input: str
    output: str
    shape: tuple[int, ...]
    """The shape of one input, without the batch dimension."""
    out_shape: tuple[int, ...]
    """The shape of one output, without the batch dimension: (classes,) for a classifier."""

    @cached_property
    def batched(self) -> tuple[str, ...]:
        """The constants that have the shape of a batch: made of the input's shape, or of such constants."""
        found: list[str] = []
        for node in self.nodes:
            refs = [ref for ref in leaves([*node.args, *node.kwargs.values()]) if ref.varies or ref.name in found]
            if not node.varies and refs:
                found.append(node.name)
        return tuple(found)

    def upto(self, name: str) -> list[Node]:
        """The nodes that vary, from this one backwards."""
        if name == self.input:
            return []
        return [node for node in self.nodes[self._places[name] :: -1] if node.varies]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {node.name: place for place, node in enumerate(self.nodes)}

    def read(
        self, dtype: torch.dtype, device: torch.device, weights: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The present parameters, buffers and constants by placeholder; floats as `dtype`, all on `device`.

        `weights` replaces some of them, by the module's names. Gradients flow back to what is read.
        """
        live = {
            **dict(self.module.named_parameters(remove_duplicate=False)),
            **dict(self.module.named_buffers(remove_duplicate=False)),
        }
        unknown = sorted(set(weights or ()) - set(live))
        if unknown:
            raise UsageError(
                f"the module has no parameter or buffer called {unknown[0]!r}; names are as in state_dict()."
            )
        live.update(weights or {})
        found = {place: live[name] for place, name in self.sources.items()} | self.constants
        return {place: _cast(tensor, dtype, device) for place, tensor in found.items()}

    def fixed(self, dtype: torch.dtype, device: torch.device) -> Graph:
        """The same graph with the present weights as constants, cast once: for many passes over weights that rest."""
        return replace(self, sources={}, constants=self.read(dtype, device))

    def checked(self, x: Tensor, what: str) -> Tensor:
        """x, if it is a batch of inputs of the traced shape."""
        if not isinstance(x, Tensor) or not x.is_floating_point() or tuple(x.shape[1:]) != self.shape:
            got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(
                f"{what} must be floats of shape (n, {', '.join(map(str, self.shape))}), as traced; got {got}."
            )
        return x


def leaves(tree: Any) -> list[Ref]:
    """The references in arguments, in order, each as often as it occurs."""
    if isinstance(tree, Ref):
        return [tree]
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, (list, tuple)) else []


def resolve(argument: Any, values: Mapping[str, Any]) -> Any:
    """An argument with its references replaced by values."""
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, (list, tuple)):
        return [resolve(part, values) for part in argument]
    return argument


def arguments(
    node: Node, values: Mapping[str, Any], dtype: torch.dtype, device: torch.device
) -> tuple[list[Any], dict[str, Any]]:
    """The node's arguments as values; float types and devices that it names become those of the pass."""
    args = [resolve(argument, values) for argument in node.args]
    kwargs = {name: resolve(value, values) for name, value in node.kwargs.items()}
    if isinstance(kwargs.get("dtype"), torch.dtype) and kwargs["dtype"].is_floating_point:
        kwargs["dtype"] = dtype
    if "device" in kwargs:
        kwargs["device"] = device
    return args, kwargs


def compute(node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The node's value by PyTorch itself, at one point."""
    if node.op in RESHAPES and node.shape is not None:
        return args[0].reshape(-1, *node.shape[1:])  # the traced form needs its strides, and drops a batch of one
    return node.target(*args, **kwargs)


def evaluate(graph: Graph, x: Tensor) -> Tensor:
    """The graph's output at x, shape (n, ...): what the traced module answers, in x's type and on its device."""
    values: dict[str, Any] = {**graph.read(x.dtype, x.device), graph.input: graph.checked(x, "x")}
    for node in graph.nodes:
        values[node.name] = compute(node, *arguments(node, values, x.dtype, x.device))
    return values[graph.output]


def _cast(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else tensor.dtype)


def trace(module: nn.Module, example: Tensor) -> Graph:
    """The graph of what `module` computes in evaluation mode for inputs like `example`, shape (n, ...), any n.

    The module is exported with a dynamic batch and decomposed to core ATen; every operation must be in the registry
    (operations.py), and no value may mix rows of the batch. The graph is run once against the module. The module's
    modes, buffers, `requires_grad` and `.grad` are as before afterwards.

    Raises UnsupportedOperation for what cannot be exported or has no bounds, naming the operation and where it is.

    >>> trace(nn.Linear(4, 3), torch.zeros(1, 4)).out_shape
    (3,)
    """
    from ironbound.certification.export import traced

    return traced(module, example)
