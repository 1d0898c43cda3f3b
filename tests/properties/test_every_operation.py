"""Every operation of the registry has a node here, made by hand: no point crosses its interval or its linear bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bound_samples import functionals_crossed, points, values_of
from ironbound.certification import expansions, milp
from ironbound.certification.encoding import encoded
from ironbound.certification.graph import Graph, Node, Ref
from ironbound.certification.interval import propagate
from ironbound.certification.operations import OPERATIONS
from ironbound.certification.piecewise import Program
from ironbound.core.errors import UnsupportedOperation
from ironbound.sets import L2, Linf

TOLERANCE = 1e-9
FLAT, PLANE, LINE, SPACE = (12,), (2, 4, 4), (3, 5), (1, 4, 4, 4)


class Builder:
    """A graph node by node, over inputs of one shape."""

    def __init__(self, *shape: int) -> None:
        self.x = Ref("x", True, (1, *shape))
        self.nodes: list[Node] = []
        self.constants: dict[str, Tensor] = {}
        self.values: dict[str, Any] = {"x": torch.full((1, *shape), 0.7, dtype=torch.float64)}
        self.random = torch.Generator().manual_seed(0)

    def constant(self, *shape: int, low: float = -1.0, value: Tensor | None = None) -> Ref:
        """A drawn tensor in [low, 1], or the one that is given."""
        name = f"c{len(self.constants)}"
        drawn = torch.rand(shape, generator=self.random, dtype=torch.float64) * (1 - low) + low
        self.constants[name] = self.values[name] = drawn if value is None else value
        return Ref(name, False, None)

    def __call__(self, op: str, *args: Any, target: Any = None, **kwargs: Any) -> Ref:
        """The next node; the target is ATen's operation of that name."""
        if target is None:
            target = getitem if op == "getitem" else torch.ops.aten
            for part in () if op == "getitem" else op.split("."):
                target = getattr(target, part)
        value = target(*filled(args, self.values), **filled(kwargs, self.values))
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        name = f"n{len(self.nodes)}"
        self.values[name] = value
        self.nodes.append(Node(name, op, target, args, kwargs, "by hand", True, shape))
        return Ref(name, True, shape)

    def graph(self) -> Graph:
        last = self.nodes[-1]
        assert last.shape is not None
        shape = tuple(self.x.shape[1:])
        return Graph(nn.Module(), tuple(self.nodes), {}, self.constants, "x", last.name, shape, last.shape[1:])


def getitem(parts: Any, at: int) -> Any:
    return parts[at]


def filled(tree: Any, values: dict[str, Any]) -> Any:
    if isinstance(tree, Ref):
        return values[tree.name]
    if isinstance(tree, dict):
        return {name: filled(part, values) for name, part in tree.items()}
    return type(tree)(filled(part, values) for part in tree) if isinstance(tree, (list, tuple)) else tree


def plain(op: str, *args: Any, shape: tuple[int, ...] = FLAT, **kwargs: Any) -> Callable[[], Graph]:
    """op(x, *args)."""

    def made() -> Graph:
        b = Builder(*shape)
        out = b(op, b.x, *args, **kwargs)
        if out.shape is None:
            b("getitem", out, 0)
        return b.graph()

    return made


def built(shape: tuple[int, ...], build: Callable[[Builder], Any]) -> Callable[[], Graph]:
    def made() -> Graph:
        b = Builder(*shape)
        build(b)
        return b.graph()

    return made


def positive(op: str, *args: Any, **kwargs: Any) -> Callable[[], Graph]:
    """op of values that are at least 0.3."""
    return built(FLAT, lambda b: b(op, b("clamp_min.default", b.x, 0.3), *args, **kwargs))


def two(op: str) -> Callable[[], Graph]:
    """op(x, an affine function of x): paths that part and meet again."""
    return built(FLAT, lambda b: b(op, b.x, b("add.Tensor", b("mul.Tensor", b.x, b.constant(12)), b.constant(12))))


def pooled(op: str, *args: Any, shape: tuple[int, ...] = PLANE) -> Callable[[], Graph]:
    return plain(op, *args, shape=shape)


def convolution(b: Builder, across: bool) -> Ref:
    kernel = b.constant(2, 2, 3, 2) if across else b.constant(4, 1, 3, 2)
    groups = 1 if across else 2
    return b("convolution.default", b.x, kernel, b.constant(2 if across else 4), [2, 1], [1, 1], [1, 2], across,
             [1, 0] if across else [0, 0], groups)  # fmt: skip


def normalised(b: Builder) -> Ref:
    statistics = [b.constant(2), b.constant(2), b.constant(2), b.constant(2, low=0.1)]
    return b("getitem", b("_native_batch_norm_legit_no_training.default", b.x, *statistics, 0.1, 1e-3), 0)


def of_two(b: Builder, op: str, target: Callable[..., Tensor]) -> Ref:
    """max(a, c) with relu(c - a), min(a, c) with relu(a - c)."""
    a, c = b.x, b("mul.Tensor", b.x, b.constant(12))
    rest = b("relu.default", b("sub.Tensor", *((c, a) if op == "larger" else (a, c))))
    return b(op, a, rest, c, target=target)


def layer_normalised(b: Builder) -> Ref:
    c = b("centred", b.x, [2], target=expansions.centred)
    square = b("mean.dim", b("pow.Tensor_Scalar", c, 2), [2], True)
    inverse = b("rsqrt.default", b("add.Tensor", square, 0.1))
    return b("scaled_by_rms", c, inverse, [2], 0.1, True, target=expansions.scaled_by_rms)


def turned(b: Builder) -> Ref:
    return b("permute.default", b.x, [0, 2, 1])


ATEN, PICKED, THIRDS = torch.ops.aten, torch.tensor([3, 3, 0]), torch.arange(12) % 3 > 0
ELEMENTWISE = (
    "abs asinh atan celu clone alias detach cosh elu erf erfc exp exp2 expm1 gelu hardsigmoid hardswish hardtanh leaky_relu "
    "log_sigmoid mish neg relu sigmoid silu sinh softplus square tanh"
)
POSITIVE = "log log1p log2 log10 sqrt rsqrt reciprocal"
CASES: dict[str, list[Callable[[], Graph]]] = {
    **{f"{name}.default": [plain(f"{name}.default")] for name in ELEMENTWISE.split()},
    **{f"{name}.default": [positive(f"{name}.default")] for name in POSITIVE.split()},
    **{name: [two(name), built(FLAT, lambda b, name=name: b(name, b.constant(12), b.x))]
       for name in ("add.Tensor", "sub.Tensor")},
    "_to_copy.default": [plain("_to_copy.default", dtype=torch.float64)],
    "add.Scalar": [plain("add.Scalar", 0.3, alpha=2)],
    "sub.Scalar": [plain("sub.Scalar", 0.3, alpha=2)],
    "mul.Scalar": [plain("mul.Scalar", -0.3)],
    "div.Scalar": [plain("div.Scalar", -0.3)],
    "mul.Tensor": [built(PLANE, lambda b: b("mul.Tensor", b.constant(2, 1, 4), b.x)), plain("mul.Tensor", -2)],
    "div.Tensor": [built(PLANE, lambda b: b("div.Tensor", b.x, b.constant(2, 1, 1, low=0.2))), plain("div.Tensor", -2)],
    "product": [built(FLAT, lambda b: b("product", b.x, b("mul.Tensor", b.x, b.constant(12)), target=ATEN.mul.Tensor))],
    "larger": [built(FLAT, lambda b: of_two(b, "larger", expansions.larger))],
    "smaller": [built(FLAT, lambda b: of_two(b, "smaller", expansions.smaller))],
    "centred": [plain("centred", [1, 2], shape=LINE, target=expansions.centred)],
    "scaled_by_rms": [built(LINE, layer_normalised)],
    "pow.Tensor_Scalar": [plain("pow.Tensor_Scalar", 2), plain("pow.Tensor_Scalar", 3), positive("pow.Tensor_Scalar", 0.5)],
    "prelu.default": [built(PLANE, lambda b: b("prelu.default", b.x, b.constant(2)))],
    "clamp.default": [plain("clamp.default", -0.2, 0.3), plain("clamp.default", None, 0.3)],
    "clamp.Tensor": [built(FLAT, lambda b: b("clamp.Tensor", b.x, b.constant(12), b.constant(12, low=0.9)))],
    "clamp_min.default": [plain("clamp_min.default", 0.1)],
    "clamp_max.default": [plain("clamp_max.default", 0.1)],
    "where.self": [built(FLAT, lambda b: b("where.self", b.constant(value=THIRDS), b.x, b("neg.default", b.x)))],
    "mm.default": [built(FLAT, lambda b: b("mm.default", b.x, b.constant(12, 3)))],
    "addmm.default": [built(FLAT, lambda b: b("addmm.default", b.constant(3), b.x, b.constant(12, 3)))],
    "bmm.default": [built(LINE, lambda b: b("bmm.default", b.x, turned(b)))],
    "baddbmm.default": [built(LINE, lambda b: b("baddbmm.default", b.constant(1, 3, 3), b.x, turned(b)))],
    "convolution.default": [built(PLANE, lambda b: convolution(b, False)), built(PLANE, lambda b: convolution(b, True))],
    "_native_batch_norm_legit_no_training.default": [built(PLANE, lambda b: normalised(b))],
    "avg_pool1d.default": [pooled("avg_pool1d.default", [3], [2], [1], shape=LINE)],
    "avg_pool2d.default": [pooled("avg_pool2d.default", [2, 3], [2, 2], [1, 1], True, False)],
    "avg_pool3d.default": [pooled("avg_pool3d.default", [2, 2, 2], [2, 2, 1], shape=SPACE)],
    "_adaptive_avg_pool2d.default": [pooled("_adaptive_avg_pool2d.default", [3, 2])],
    "_adaptive_avg_pool3d.default": [pooled("_adaptive_avg_pool3d.default", [3, 2, 2], shape=SPACE)],
    "max_pool2d_with_indices.default": [pooled("max_pool2d_with_indices.default", [3, 2], [1, 2], [1, 0])],
    "max_pool3d_with_indices.default": [pooled("max_pool3d_with_indices.default", [2, 2, 2], [2, 2, 2], shape=SPACE)],
    "adaptive_max_pool2d.default": [pooled("adaptive_max_pool2d.default", [2, 3])],
    "adaptive_max_pool3d.default": [pooled("adaptive_max_pool3d.default", [2, 3, 2], shape=SPACE)],
    "upsample_nearest1d.vec": [plain("upsample_nearest1d.vec", None, [2.0], shape=LINE)],
    "upsample_nearest2d.vec": [plain("upsample_nearest2d.vec", None, [2.0, 1.0], shape=PLANE)],
    "upsample_nearest3d.vec": [plain("upsample_nearest3d.vec", None, [2.0, 1.0, 1.0], shape=SPACE)],
    "upsample_linear1d.vec": [plain("upsample_linear1d.vec", None, False, [2.0], shape=LINE)],
    "upsample_bilinear2d.vec": [plain("upsample_bilinear2d.vec", [5, 3], True, None, shape=PLANE)],
    "upsample_trilinear3d.vec": [plain("upsample_trilinear3d.vec", None, False, [2.0, 1.0, 1.0], shape=SPACE)],
    "sum.dim_IntList": [plain("sum.dim_IntList", [1, 3], shape=PLANE)],
    "mean.dim": [plain("mean.dim", [-1], True, shape=PLANE)],
    "amax.default": [plain("amax.default", [1, 3], shape=PLANE)],
    "amin.default": [plain("amin.default", [-1], True, shape=PLANE)],
    "max.dim": [plain("max.dim", 2, shape=PLANE)],
    "min.dim": [plain("min.dim", 1, True, shape=PLANE)],
    "select.int": [plain("select.int", 1, -1, shape=PLANE)],
    "slice.Tensor": [plain("slice.Tensor", 3, 1, 4, 2, shape=PLANE)],
    "flip.default": [plain("flip.default", [1, 3], shape=PLANE)],
    "cumsum.default": [plain("cumsum.default", 1, shape=PLANE)],
    "index.Tensor": [built(FLAT, lambda b: b("index.Tensor", b.x, [None, b.constant(value=PICKED)]))],
    "index_select.default": [built(FLAT, lambda b: b("index_select.default", b.x, 1, b.constant(value=PICKED)))],
    "cat.default": [built(PLANE, lambda b: b("cat.default", [b.x, b("neg.default", b.x), b.x], 2))],
    "split_with_sizes.default": [built(FLAT, lambda b: b("getitem", b("split_with_sizes.default", b.x, [3, 9], 1), 1))],
    "getitem": [built(FLAT, lambda b: joined(b, b("split_with_sizes.default", b.x, [3, 3, 6], 1)))],
    "constant_pad_nd.default": [plain("constant_pad_nd.default", [1, 0, -1, 2], 0.4, shape=PLANE)],
    "expand.default": [plain("expand.default", [-1, 2, 3], shape=(2, 1))],
    "repeat.default": [plain("repeat.default", [1, 2, 1, 2], shape=PLANE)],
    "permute.default": [plain("permute.default", [0, 3, 1, 2], shape=PLANE)],
    "view.default": [plain("view.default", [-1, 8, 4], shape=PLANE)],
    "_unsafe_view.default": [plain("_unsafe_view.default", size, shape=PLANE) for size in ([-1, 2, 16], [-1, 4])],
    "squeeze.default": [plain("squeeze.default", shape=(3, 1, 2))],
    "squeeze.dim": [plain("squeeze.dim", 2, shape=(3, 1, 2))],
    "squeeze.dims": [plain("squeeze.dims", [2, 3], shape=(3, 1, 1))],
    "unsqueeze.default": [plain("unsqueeze.default", 2, shape=PLANE)],
    "_softmax.default": [plain("_softmax.default", -1, False, shape=LINE)],
    "_log_softmax.default": [plain("_log_softmax.default", 1, False, shape=LINE)],
}  # fmt: skip


def joined(b: Builder, parts: Ref) -> Ref:
    """Of three outputs two, one of them twice."""
    first, last = b("getitem", parts, 0), b("getitem", parts, 2)
    twice = b("add.Tensor", first, b("getitem", parts, 0))
    return b("cat.default", [last, twice], 1)


def crossed_intervals(graph: Graph, region: Any) -> float:
    passed = propagate(graph, region.lo, region.hi).output
    some = torch.stack([values_of(graph, p)[graph.output] for p in points(region, 3)])
    return float(torch.maximum(passed.lower - some, some - passed.upper).nan_to_num(nan=torch.inf).max())


def test_every_operation_has_an_entry():
    missing = sorted(set(OPERATIONS) - set(CASES))
    assert not missing, f"a node that uses it, for CASES above: {', '.join(missing)}"


@pytest.mark.parametrize("op", sorted(set(CASES) & set(OPERATIONS)))
def test_no_point_crosses_the_bounds_of(op):
    for case in CASES[op]:
        graph = case()
        assert any(node.op == op for node in graph.nodes)
        assert not any(OPERATIONS[node.op].refuses(node) for node in graph.nodes)
        x = torch.randn(3, *graph.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for ball in (Linf(0.0), Linf(0.1), Linf(1.0), L2(1.0)):
            region = ball.at(x, None)
            assert crossed_intervals(graph, region) <= TOLERANCE
            if all(OPERATIONS[node.op].linear for node in graph.nodes):
                assert functionals_crossed(graph, region, 3) <= TOLERANCE


def test_milp_writes_every_piecewise_linear_operation_as_constraints():
    written = set()
    for op in sorted(set(CASES) & set(OPERATIONS)):
        for case in CASES[op]:
            graph = case()
            try:
                encoding = encoded(graph, graph.output, torch.device("cpu"))
            except UnsupportedOperation:
                continue
            written.add(op)
            x = torch.randn(1, *graph.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            for radius in (0.0, 0.5):
                region, program = Linf(radius).at(x, None), Program()
                found = encoding.values(program, milp.boxed(program, region), {})
                z = torch.stack([values_of(graph, p)[graph.output].flatten() for p in points(region, 3)])
                low, high = torch.from_numpy(found.low), torch.from_numpy(found.high)
                assert float(torch.maximum(low - z, z - high).max()) <= TOLERANCE, op
                assert radius or float((high - low).max()) <= TOLERANCE, op
    assert {
        "relu.default",
        "hardtanh.default",
        "amin.default",
        "convolution.default",
        "getitem",
        "cat.default",
    } <= written
    assert not {"tanh.default", "exp.default", "_softmax.default", "product", "gelu.default"} & written
