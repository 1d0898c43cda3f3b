"""From a user's module to a Graph, by torch.export; what PyTorch changes about exporting concerns this file only."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, default_decompositions, export
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node as FxNode

from ironbound.certification.elementwise import KEPT
from ironbound.certification.expansions import expansion
from ironbound.certification.graph import Graph, Node, Ref, evaluate, leaves
from ironbound.certification.operations import OPERATIONS, SHAPE_ONLY, supported
from ironbound.certification.rewriting import Rewritten
from ironbound.core.errors import InputError, ModelError, UnsupportedOperation
from ironbound.models.held import held

SAME = 1e-4
"""By what share of the scale the answer for one input may differ from batch to batch: by rounding."""
PERMUTE = torch.ops.aten.permute.default


def traced(module: nn.Module, example: Tensor) -> Graph:
    """What graph.trace promises."""
    if not isinstance(example, Tensor) or not example.is_floating_point() or example.ndim < 2 or not len(example):
        got = f"{example.dtype} {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise InputError(f"example must be a batch of floats of shape (n, ...), n >= 1; got {got}.")
    # One row would be taken for a constant size. Which values it has is of no concern: the trace is of shapes.
    example = example.detach()[:1].repeat(2, *[1] * (example.ndim - 1))
    with held(module), torch.enable_grad():
        graph = _Conversion(_exported(module, example), module).graph(tuple(example.shape[1:]))
        _compared(graph, example)
    return graph


def _exported(module: nn.Module, example: Tensor) -> ExportedProgram:
    try:
        with warnings.catch_warnings(), Rewritten():
            warnings.simplefilter("ignore")
            program = export(module, (example,), dynamic_shapes=({0: Dim("batch")},), strict=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = program.run_decompositions(_decompositions())
            _folded(program)
            return program
    except Exception as error:  # torch.export raises a dozen kinds, some of them private
        said = " ".join(str(error).split()) or type(error).__name__
        raise UnsupportedOperation(
            f"{_title(module)} cannot be traced for a batch of any size. Usual reasons: len(x), or a number, "
            "where x.shape[0] is meant; an `if` on a tensor's values; NumPy inside forward(). Rewrite that part. "
            f"torch.export says: {said[:300]}"
        ) from error


def _decompositions() -> Any:
    """PyTorch's own table down to core ATen, but for functions that have bounds as a whole."""
    table = default_decompositions()
    for name in KEPT:
        table.pop(getattr(torch.ops.aten, name).default, None)
    return table


def _folded(program: ExportedProgram) -> None:
    """One permutation for two in a row: a batch that goes behind the tokens and comes back was never away."""
    graph = program.graph
    for node in graph.nodes:
        if node.target is not PERMUTE or node.args[0].target is not PERMUTE:
            continue
        inner, order = node.args[0].args
        order = [order[dim] for dim in node.args[1]]
        if order == sorted(order):
            node.replace_all_uses_with(inner)
        else:
            node.args = (inner, order)
    graph.eliminate_dead_code()


@dataclass
class _Conversion:
    """One exported program on its way to a Graph; `varies` and `shapes` of the nodes seen so far, by name."""

    program: ExportedProgram
    module: nn.Module
    varies: dict[str, bool] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    batch: Any = None
    """The symbol of the batch's size."""
    apart: set[str] = field(default_factory=set)
    """Operations that were taken apart."""
    same: dict[str, str] = field(default_factory=dict)
    """Names that stand for an earlier value: the first of the results of what was taken apart."""

    def graph(self, shape: tuple[int, ...]) -> Graph:
        """All of it."""
        sources, constants, entry = self._placeholders()
        used = [node for node in self.program.graph.nodes if node.op not in ("placeholder", "output") and node.users]
        nodes = tuple(made for node in used for made in self._nodes(node))
        result = self._result()
        out = self.shapes.get(result)
        if out is None or out[0] != 1:
            raise UnsupportedOperation(
                f"the output of {_title(self.module)} is not one row of numbers computed from each input."
            )
        return Graph(self.module, nodes, sources, constants, entry, result, shape, out[1:])

    def _placeholders(self) -> tuple[dict[str, str], dict[str, Tensor], str]:
        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        sources: dict[str, str] = {}
        constants: dict[str, Tensor] = {}
        entry = ""
        for spec in self.program.graph_signature.input_specs:
            node, target = nodes[spec.arg.name], spec.target or ""
            if spec.kind is InputKind.USER_INPUT:
                entry, self.batch = node.name, node.meta["val"].shape[0]
            elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                sources |= {node.name: target} if node.users else {}
            elif node.users:
                constants[node.name] = self.program.constants[target]
            self.varies[node.name] = spec.kind is InputKind.USER_INPUT
        self.shapes[entry] = (1, *nodes[entry].meta["val"].shape[1:])
        return sources, constants, entry

    def _result(self) -> str:
        """The name of the one output; writing to buffers in evaluation mode is refused."""
        specs = self.program.graph_signature.output_specs
        written = [spec.target for spec in specs if spec.kind is OutputKind.BUFFER_MUTATION]
        if written:
            raise UnsupportedOperation(
                f"{_title(self.module)} writes to its buffer {written[0]!r} in evaluation mode, so that its "
                "answers change from call to call; no bound holds for that. Make it obey eval()."
            )
        outputs = [spec.arg.name for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
        if len(outputs) != 1:
            raise ModelError(f"{_title(self.module)} answers {len(outputs)} values; one tensor of logits is expected.")
        return self.same.get(outputs[0], outputs[0])

    def _nodes(self, fx: FxNode) -> list[Node]:
        """The nodes that stand for one of the export's: one, several where it is taken apart, none where it only names."""
        node = self._node(fx)
        if node.op == "getitem" and node.args[0].name in self.apart and node.args[1] == 0:
            self.same[fx.name] = node.args[0].name
            return []
        parts = self._bounded(fx, node) if node.varies else [node]
        self.varies[fx.name], self.shapes[fx.name] = node.varies, parts[-1].shape
        return parts

    def _bounded(self, fx: FxNode, node: Node) -> list[Node]:
        """The same with its shape, or the parts that stand for it, all of them known to the registry."""
        rule = expansion(node)
        if rule is None:
            _known(node)
            return [replace(node, shape=self._shape(fx, node.op, node.module))]
        self.apart.add(fx.name)
        parts = rule(replace(node, shape=self._shape(fx, node.op, node.module)))
        for part in parts:
            if part.varies:
                _known(part)
        return parts

    def _node(self, fx: FxNode) -> Node:
        """The operation as exported, without its shape."""
        op, place = _name(fx), _place(fx, _own(self.module))
        args, kwargs = self._refs(fx.args), {name: self._refs(value) for name, value in fx.kwargs.items()}
        varies = op not in SHAPE_ONLY and any(ref.varies for ref in leaves([args, list(kwargs.values())]))
        if torch.Tag.nondeterministic_seeded in getattr(fx.target, "tags", ()):
            raise UnsupportedOperation(
                f"{op} at {place} draws random numbers; bounds are for deterministic models. Leave the drawing out."
            )
        return Node(fx.name, op, fx.target, tuple(args), kwargs, place, varies, None)  # type: ignore[arg-type]

    def _refs(self, argument: Any) -> Any:
        if isinstance(argument, FxNode):
            name = self.same.get(argument.name, argument.name)
            return Ref(name, self.varies[name], self.shapes.get(name))
        if isinstance(argument, (list, tuple)):
            return [self._refs(part) for part in argument]
        return argument

    def _shape(self, fx: FxNode, op: str, place: str) -> tuple[int, ...] | None:
        """(k, ...) of a value of shape (k n, ...). Anything else would mix the rows of a batch."""
        value = fx.meta.get("val")
        if not isinstance(value, Tensor):
            return None
        if not value.is_floating_point():
            raise UnsupportedOperation(
                f"{op} at {place} gives {value.dtype} that depend on the input; bounds are for floats."
            )
        times = _times(value.shape[0], self.batch) if value.ndim else None
        if times is None or not all(isinstance(size, int) for size in value.shape[1:]):
            raise UnsupportedOperation(
                f"{op} at {place} gives shape {tuple(value.shape)}, in which the first dimension is not the batch: "
                "rows would be mixed or moved, and bounds are kept row by row. Keep dimension 0 for the batch."
            )
        return (times, *value.shape[1:])


def _known(node: Node) -> None:
    """Refuse what the registry has no rule for."""
    operation = OPERATIONS.get(node.op)
    if operation is None:
        raise UnsupportedOperation(
            f"no bounds are known for {node.op} at {node.module}. Replace that part by one that has bounds, or go on without "
            f"them: attacks need none, and audits leave them out. Supported: {supported()}."
        )
    if reason := operation.refuses(node):
        raise UnsupportedOperation(f"{node.op} at {node.module} has no bounds as it is used there: {reason}.")


def _compared(graph: Graph, example: Tensor) -> None:
    """The graph must answer what the module answers: a forward() with a memory or a coin would not."""
    with torch.no_grad():
        expected, got = graph.module(example.clone()), evaluate(graph, example)
        more = evaluate(graph, example[:1].repeat(3, *[1] * (example.ndim - 1)))
    if not isinstance(expected, Tensor):
        raise ModelError(f"the model answers with {type(expected).__name__}; one tensor of logits is expected.")
    scale = expected.abs().amax().clamp_min(1.0) if expected.numel() else torch.ones(())
    if expected.shape != got.shape or not _close(got, expected, 1e-3 * scale):
        raise ModelError(
            f"{_title(graph.module)} answers differently when called again than when traced. "
            "forward() must depend on its input, its parameters and its buffers alone."
        )
    if not _close(more, expected[:1].expand_as(more), SAME * scale):
        raise UnsupportedOperation(
            f"{_title(graph.module)} answers one input differently in larger batches or in other places of a batch, and "
            "bounds are of each input by itself. Its answers must not depend on x.shape[0], nor on the row's number."
        )


def _close(got: Tensor, expected: Tensor, room: Tensor) -> bool:
    return bool(((expected - got).abs() <= room).logical_or(~expected.isfinite()).all())


def _times(size: Any, batch: Any) -> int | None:
    """k where the size is k times the batch's, symbolically."""
    if isinstance(size, int):
        return None
    ratio = size.node.expr / batch.node.expr
    return int(ratio) if ratio.is_Integer else None


def _name(fx: FxNode) -> str:
    text = (
        str(fx.target)
        if isinstance(fx.target, torch._ops.OpOverload)
        else getattr(fx.target, "__name__", str(fx.target))
    )
    return text.removeprefix("aten.")


def _own(module: nn.Module) -> str:
    """The name in the traced module of what the user gave: "net" in a model's wrapper, else ""."""
    return str(getattr(module, "wraps", ""))


def _title(module: nn.Module) -> str:
    return type(module.get_submodule(_own(module))).__name__


def _place(fx: FxNode, own: str) -> str:
    """Where the operation was called: "features.3 (ReLU)"; "forward() of Net" outside of any submodule."""
    stack = [entry for entry in (fx.meta.get("nn_module_stack") or {}).values() if entry[0] is not None]
    stack = [(path, kind) for path, kind in stack if not path.startswith("_")]
    if not stack:
        return "the top of the module"
    path, kind = stack[-1]
    kind = (kind if isinstance(kind, str) else kind.__name__).rsplit(".", 1)[-1]
    path = path.removeprefix(own).removeprefix(".") if own else path
    return f"{path} ({kind})" if path else f"forward() of {kind}"
