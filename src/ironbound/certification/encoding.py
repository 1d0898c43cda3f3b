"""From a Graph to mixed-integer programs: the affine maps between its values once, the constraints input by input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.certification.graph import RESHAPES, Graph, Node, Ref, arguments, compute, leaves
from ironbound.certification.piecewise import Array, Program, Values
from ironbound.core.errors import UnsupportedOperation, UsageError

LARGEST = 1 << 24
"""Entries of the largest affine map between two values of the graph that is written down."""

_LAYERS = (
    "alias cat clone constant_pad_nd convolution cumsum detach expand flip mm addmm neg permute repeat split_with_sizes _to_copy "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d _native_batch_norm_legit_no_training avg_pool1d avg_pool2d avg_pool3d"
)
_OTHERS = (
    "add.Tensor add.Scalar sub.Tensor sub.Scalar div.Tensor div.Scalar select.int slice.Tensor index.Tensor "
    "sum.dim_IntList mean.dim upsample_nearest2d.vec getitem where.self index_select.default centred"
)
_AFFINE = RESHAPES | {f"{name}.default" for name in _LAYERS.split()} | set(_OTHERS.split())
_PRODUCTS = frozenset({"mul.Tensor", "mul.Scalar"})
"""Affine where one factor alone depends on the input."""


@dataclass(frozen=True, eq=False)
class Linear:
    """An affine operation: the sum of matrix @ value over `parts`, plus offset; flat, for one input."""

    parts: tuple[tuple[str, Any], ...]
    offset: Array


@dataclass(frozen=True, eq=False)
class Encoding:
    """A graph up to the value `output`, ready to be written as constraints over any box."""

    graph: Graph
    output: str
    linear: Mapping[str, Linear]
    bent: Mapping[str, Node]
    """The operation of each other value: pooling's, where the value is the first of two."""
    point: Mapping[str, Any]
    """All values at the input 0: what the constants are."""

    def values(self, program: Program, entry: Values, known: Mapping[str, tuple[Array, Array]]) -> Values:
        """The output as a function of the program's variables, given the input; `known` are bounds by node's name."""
        found = {self.graph.input: entry}
        for node in self.graph.nodes:
            if node.varies and node.shape is not None:
                if node.name in self.linear:
                    found[node.name] = _summed(program, self.linear[node.name], found)
                else:
                    found[node.name] = _bent(program, self.bent[node.name], found, self.point)
                if node.name in known:
                    found[node.name] = found[node.name].within(*known[node.name])
            if node.name == self.output:
                break
        return found[self.output]


def encoded(graph: Graph, output: str, device: torch.device) -> Encoding:
    """The graph's affine maps, in float64.

    Raises UnsupportedOperation for what is not piecewise linear, and UsageError where a map is too large to write down.
    """
    zeros = torch.zeros(1, *graph.shape, dtype=torch.float64, device=device)
    point: dict[str, Any] = {**graph.read(torch.float64, device), graph.input: zeros}
    nodes = {node.name: node for node in graph.nodes}
    linear, bent = {}, {}
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for node in graph.nodes:
            point[node.name] = compute(node, *arguments(node, point, torch.float64, device))
            if node.varies:
                source = nodes.get(node.args[0].name, node) if node.op == "getitem" else node
                _known(source)
                if source.op in _BENT:
                    bent[node.name] = source
                elif node.shape is not None:
                    linear[node.name] = _linear(node, source, point)
            if node.name == output:
                break
    return Encoding(graph, output, linear, bent, point)


def _known(node: Node) -> None:
    """Refuse what is not piecewise linear."""
    varying = [leaf for leaf in leaves([*node.args, *node.kwargs.values()]) if leaf.varies]
    if node.op in _AFFINE | _BENT.keys() or (node.op in _PRODUCTS and len(varying) == 1):
        return
    products = _PRODUCTS | {"product"}
    what = "a product of two values that depend on the input" if node.op in products else node.op
    raise UnsupportedOperation(
        f"milp is for piecewise-linear models, and {what} at {node.module} is not piecewise linear. "
        'Use method="alpha-crown" or "crown" for this model.'
    )


def _linear(node: Node, source: Node, point: Mapping[str, Any]) -> Linear:
    """An affine operation's matrices: the derivative of the operation itself, so that none needs code of its own."""
    from scipy import sparse

    names = sorted({leaf.name for leaf in leaves([*source.args, *source.kwargs.values()]) if leaf.varies})
    inputs = tuple(torch.zeros_like(point[name]) for name in names)
    device = inputs[0].device

    def at(*values: Tensor) -> Tensor:
        known = {**point, **dict(zip(names, values, strict=True))}
        if source.op == "detach.default":  # which has no derivative, and is no change
            return values[0]
        out = compute(source, *arguments(source, known, torch.float64, device))
        return out if source is node else out[node.args[1]]

    offset = at(*inputs)
    entries = offset.numel() * max(value.numel() for value in inputs)
    if entries > LARGEST:
        raise UsageError(
            f"milp is for tiny models, and {source.op} at {source.module} alone is a map of {entries:,} numbers. "
            'Use method="alpha-crown" or "crown" for this model.'
        )
    if not bool(offset.isfinite().all()):
        raise UnsupportedOperation(
            f"milp needs finite numbers, and {source.op} at {source.module} adds or pads with others. "
            'Use method="alpha-crown" or "crown" for this model.'
        )
    with torch.enable_grad():
        derivatives = torch.autograd.functional.jacobian(at, inputs)
    matrices = [sparse.csr_array(numbers(part).reshape(offset.numel(), -1)) for part in derivatives]
    linear = Linear(tuple(zip(names, matrices, strict=True)), numbers(offset))
    elsewhere = [torch.arange(1.0, 1 + x.numel(), dtype=x.dtype, device=device).sin().view(x.shape) for x in inputs]
    expected, got = linear.offset, numbers(at(*elsewhere))
    for matrix, x in zip(matrices, elsewhere, strict=True):
        expected = expected + matrix @ numbers(x)
    if not np.allclose(expected, got, rtol=1e-9, atol=1e-9 * (1 + np.abs(got).max(initial=0.0))):
        raise UnsupportedOperation(f"{source.op} at {source.module} is not the affine map that milp takes it for.")
    return linear


def _summed(program: Program, linear: Linear, found: Mapping[str, Values]) -> Values:
    matrix, offset = 0, linear.offset
    for name, part in linear.parts:
        matrix, offset = matrix + part @ program.widened(found[name].matrix), offset + part @ found[name].offset
    return program.values(matrix, offset)


# ------------------------------------------------------------------------------------------------- piecewise linear
def _bent(program: Program, node: Node, found: Mapping[str, Values], point: Mapping[str, Any]) -> Values:
    """The value of an operation that is not affine (of pooling with indices, the first of its values)."""
    args = [_operand(program, arg, found, point) for arg in node.args]
    shapes = [tuple(point[arg.name].shape) if isinstance(arg, Ref) else () for arg in node.args]
    return _BENT[node.op](program, _Call(node, args, shapes))


@dataclass(frozen=True, eq=False)
class _Call:
    """An operation with its arguments: `Values` where they depend on the input."""

    node: Node
    args: list[Any]
    shapes: list[tuple[int, ...]]
    """Of arguments that are tensors, for one input."""

    def get(self, at: int, name: str, default: Any = None) -> Any:
        """A constant, by position or by name; tensors as arrays that broadcast with the first argument's values."""
        value = self.args[at] if at < len(self.args) else self.node.kwargs.get(name, default)
        if not isinstance(value, Tensor):
            return value
        return numbers(value.broadcast_to(self.shapes[0]))


def _operand(program: Program, arg: Any, found: Mapping[str, Values], point: Mapping[str, Any]) -> Any:
    if not isinstance(arg, Ref):
        return arg
    return found[arg.name] if arg.varies else point[arg.name]


def _relu(program: Program, call: _Call) -> Values:
    return program.relu(call.args[0])


def _leaky(program: Program, call: _Call) -> Values:
    slope = call.get(1, "negative_slope", 0.01)
    return program.sum((slope, call.args[0]), (1 - slope, program.relu(call.args[0])))


def _clamp(program: Program, call: _Call) -> Values:
    return program.clamp(call.args[0], call.get(1, "min"), call.get(2, "max"))


def _hardtanh(program: Program, call: _Call) -> Values:
    return program.clamp(call.args[0], call.get(1, "min_val", -1.0), call.get(2, "max_val", 1.0))


def _prelu(program: Program, call: _Call) -> Values:
    slope = call.args[1].reshape(-1, *[1] * (len(call.shapes[0]) - 2)).broadcast_to(call.shapes[0])
    return program.sum((numbers(slope), call.args[0]), (1 - numbers(slope), program.relu(call.args[0])))


def _hardsigmoid(program: Program, call: _Call) -> Values:
    x = call.args[0]
    return program.clamp(program.sum((1 / 6, x), (1, program.constants(np.full(len(x), 0.5)))), 0.0, 1.0)


def _clamp_max(program: Program, call: _Call) -> Values:
    return program.clamp(call.args[0], None, call.get(1, "max"))


def _abs(program: Program, call: _Call) -> Values:
    x = call.args[0]
    return program.maximum(x, program.sum((-1, x)))


def _maximum(program: Program, call: _Call, sign: float = 1) -> Values:
    """max(a, b); with sign = -1 the minimum."""
    shape = np.broadcast_shapes(*call.shapes)
    sides = []
    for side, own in zip(call.args, call.shapes, strict=True):
        if isinstance(side, Values):
            place = np.broadcast_to(np.arange(len(side)).reshape(own), shape).reshape(-1)
            sides.append(program.sum((sign, side.take(place))))
        else:
            sides.append(program.constants(sign * numbers(side.broadcast_to(shape))))
    return program.sum((sign, program.maximum(*sides)))


def _minimum(program: Program, call: _Call) -> Values:
    return _maximum(program, call, -1)


def _of_parts(program: Program, call: _Call, sign: float = 1) -> Values:
    """max(a, b), which comes with relu(b - a), or min(a, b) with relu(a - b)."""
    return program.sum((1, call.args[0]), (sign, call.args[1]))


def _largest(program: Program, call: _Call, sign: float = 1) -> Values:
    """The largest of each window. Which value is in which is asked of the operation: by one value at a time that is not 0."""
    shape, size = call.shapes[0], len(call.args[0])
    probes = torch.eye(size, dtype=torch.float64).reshape(size * shape[0], *shape[1:])
    out = call.node.target(sign * probes, *call.args[1:], **call.node.kwargs)
    members = numbers(sign * (out[0] if isinstance(out, tuple) else out)).reshape(size, -1) > 0
    windows = [column.nonzero()[0] for column in members.T]
    return program.sum((sign, program.most(program.sum((sign, call.args[0])), windows)))


def _least(program: Program, call: _Call) -> Values:
    return _largest(program, call, -1)


_BENT: dict[str, Callable[[Program, _Call], Values]] = {
    "relu.default": _relu,
    "leaky_relu.default": _leaky,
    "prelu.default": _prelu,
    "hardtanh.default": _hardtanh,
    "hardsigmoid.default": _hardsigmoid,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "clamp_min.default": _clamp,
    "clamp_max.default": _clamp_max,
    "abs.default": _abs,
    "maximum.default": _maximum,
    "minimum.default": _minimum,
    "larger": _of_parts,
    "smaller": lambda program, call: _of_parts(program, call, -1),
    "amax.default": _largest,
    "max.dim": _largest,
    "min.dim": _least,
    "adaptive_max_pool3d.default": _largest,
    "amin.default": _least,
    "max_pool2d_with_indices.default": _largest,
    "max_pool3d_with_indices.default": _largest,
    "adaptive_max_pool2d.default": _largest,
}


def numbers(tensor: Tensor) -> Array:
    """A tensor's values, flat, for NumPy."""
    return np.asarray(tensor.detach().reshape(-1).cpu().numpy(), dtype=np.float64)
