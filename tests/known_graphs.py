"""Graphs of plain nets, traced once a process: torch.export takes half a second, and most audits of tests are of a few nets."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from torch import Tensor, nn

from ironbound.certification import export
from ironbound.certification.graph import Graph
from ironbound.models.model import Wrapped

PLAIN = frozenset({Wrapped, nn.Sequential, nn.Flatten, nn.Linear, nn.ReLU, nn.Conv2d})
"""Modules whose forward pass is told by what they say of themselves."""


def kept(traced: Callable[[nn.Module, Tensor], Graph]) -> Callable[[nn.Module, Tensor], Graph]:
    """The same, but for nets that are built alike of plain modules: they get the first one's graph, compared with themselves."""
    known: dict[Hashable, Graph] = {}

    def traced_once(module: nn.Module, example: Tensor) -> Graph:
        built = _built(module, example)
        if built is None:
            return traced(module, example)
        if built not in known:
            graph = traced(module, example)
            if not graph.constants:
                known[built] = graph
            return graph
        with export.held(module):
            graph = replace(known[built], module=module)
            export._compared(graph, example.detach()[:1].repeat(2, *[1] * (example.ndim - 1)))
        return graph

    return traced_once


def _built(module: nn.Module, example: Tensor) -> Hashable | None:
    """What the trace is of; None where something else than the modules' kinds and shapes may count."""
    parts = list(module.named_modules(remove_duplicate=False))
    hooked = any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for _, part in parts)
    if hooked or not PLAIN.issuperset(type(part) for _, part in parts) or not isinstance(example, Tensor):
        return None
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if not len(example) or any(tensor.device.type != "cpu" for _, tensor in [*tensors, ("", example)]):
        return None
    return (
        tuple((name, type(part), part.extra_repr(), getattr(part, "kind", None)) for name, part in parts),
        tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors),
        (tuple(example.shape[1:]), example.dtype),
    )
