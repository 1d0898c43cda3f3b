"""Networks of plain layers from .onnx files, and the properties of .vnnlib files that ask whether a label holds in a box."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

SHARED = Path(__file__).parents[2] / "shared" / "data"
VERIFY = SHARED / "verify"


# ------------------------------------------------------------------------------------------------------------ networks
class Plain(nn.Module):
    """What an ONNX graph of plain layers computes, for any number of inputs: (n, ...) to (n, ...).

    The first dimension is the batch, whatever number the file gives it. Constants are buffers, so that bounds and
    `state_dict` see them.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        self.constants: dict[str, str] = {}
        for weight in graph.initializer:
            self._keep(weight.name, numpy_helper.to_array(weight))
        self.steps: list[tuple[Callable[..., Tensor], list[str], str, dict[str, Any]]] = []
        for node in graph.node:
            settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                self._keep(node.output[0], numpy_helper.to_array(settings["value"]))
            elif node.op_type in OPERATIONS:
                self.steps.append((OPERATIONS[node.op_type], list(node.input), node.output[0], settings))
            else:
                raise NotImplementedError(
                    f"{node.op_type} of {node.name or node.output[0]}; there are {sorted(OPERATIONS)}"
                )
        (self.given,) = (i.name for i in graph.input if i.name not in self.constants)
        (self.answer,) = (out.name for out in graph.output)

    def _keep(self, name: str, values: np.ndarray) -> None:
        place = f"c{len(self.constants)}"
        self.constants[name] = place
        self.register_buffer(place, torch.from_numpy(values.copy()))

    def forward(self, x: Tensor) -> Tensor:
        values = {self.given: x, **{name: getattr(self, place) for name, place in self.constants.items()}}
        for operation, names, output, settings in self.steps:
            values[output] = operation(*(values[name] for name in names), **settings)
        return values[self.answer]


def _gemm(a: Tensor, b: Tensor, c: Tensor | None = None, alpha=1.0, beta=1.0, transA=0, transB=0) -> Tensor:
    if transA:
        raise NotImplementedError("Gemm with transA mixes the inputs of a batch")
    out = alpha * a @ (b.T if transB else b) if alpha != 1.0 else a @ (b.T if transB else b)
    return out if c is None else out + (c if beta == 1.0 else beta * c)


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, pads=None, strides=None, dilations=None, group=1,
    kernel_shape=None, auto_pad=b"NOTSET",
) -> Tensor:  # fmt: skip
    sides = weight.ndim - 2
    pads = pads or [0] * 2 * sides
    if pads[:sides] != pads[sides:] or auto_pad != b"NOTSET" or sides not in (1, 2):
        raise NotImplementedError(f"Conv in {sides} dimensions with pads {pads}, auto_pad {auto_pad!r}")
    convolve = (F.conv1d, F.conv2d)[sides - 1]
    return convolve(x, weight, bias, strides or 1, pads[:sides], dilations or 1, group)


def _flatten(x: Tensor, axis: int = 1) -> Tensor:
    if axis != 1:
        raise NotImplementedError(f"Flatten from axis {axis}: only 1 leaves the batch alone")
    return x.flatten(1)


def _reshape(x: Tensor, shape: Tensor, allowzero: int = 0) -> Tensor:
    first, *rest = shape.tolist()
    if first not in (-1, 0, 1) or allowzero:
        raise NotImplementedError(f"Reshape to {shape.tolist()}: the first dimension is the batch")
    return x.reshape(x.shape[0], *(size or x.shape[place] for place, size in enumerate(rest, 1)))


def _transpose(x: Tensor, perm: list[int]) -> Tensor:
    if perm[0] != 0:
        raise NotImplementedError(f"Transpose by {perm} moves the batch")
    return x.permute(perm)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Relu": F.relu, "Add": torch.add, "Sub": torch.sub, "MatMul": torch.matmul, "Gemm": _gemm, "Conv": _conv,
    "Flatten": _flatten, "Reshape": _reshape, "Transpose": _transpose, "Identity": lambda x: x,
}  # fmt: skip


def module_of(model: Path | onnx.ModelProto) -> nn.Module:
    """The network of a file, in evaluation mode and frozen. Raises NotImplementedError for other layers than plain ones."""
    read = onnx.load(model) if isinstance(model, Path) else model
    return Plain(read.graph).eval().requires_grad_(False)


# ---------------------------------------------------------------------------------------------------------- properties
@dataclass(frozen=True, eq=False)
class Property:
    """A box of inputs, float64 (d,), and the class that must win in all of it."""

    lo: Tensor
    hi: Tensor
    label: int


def centre_of(box: Property, eps: float) -> Tensor:
    """x, float64 (d,), such that the box is all within eps of it in [0, 1], where it ends."""
    x = torch.where(box.lo > 0, box.lo + eps, box.hi - eps).clamp(0, 1)
    apart = torch.stack([(x - eps).clamp(min=0) - box.lo, (x + eps).clamp(max=1) - box.hi]).abs().max()
    if apart > 1e-7:  # the files have float32 numbers
        raise ValueError(f"the box is none of radius {eps}: it ends {float(apart):.2g} from where that one does")
    return x


NUMBER = r"(-?[\d.]+(?:[eE][-+]?\d+)?)"
END = re.compile(rf"\(assert\s+\(\s*(<=|>=)\s+X_(\d+)\s+{NUMBER}\s*\)\s*\)")
RIVAL = re.compile(r"\(and\s+\(\s*>=\s+Y_(\d+)\s+Y_(\d+)\s*\)\s*\)")


def property_of(path: Path) -> Property:
    """What a .vnnlib file states, which is the negation: inputs in a box of which some class gets as much as the label.

    Raises ValueError where the file says anything else, so that nothing is proved of half a property.
    """
    text = re.sub(r";.*", "", path.read_text())
    inputs = len(re.findall(r"\(declare-const\s+X_\d+\s+Real\s*\)", text))
    classes = len(re.findall(r"\(declare-const\s+Y_\d+\s+Real\s*\)", text))
    lo, hi = torch.full((2, inputs), torch.nan, dtype=torch.float64)
    for side, place, number in END.findall(text):
        (lo if side == ">=" else hi)[int(place)] = float(number)
    pairs = [(int(other), int(label)) for other, label in RIVAL.findall(text)]
    labels = {label for _, label in pairs}
    rest = RIVAL.sub("", END.sub("", re.sub(r"\(declare-const\s+\w+\s+Real\s*\)", "", text)))
    whole = re.sub(r"\s", "", rest) == "(assert(or))" and not bool((lo.isnan() | hi.isnan()).any())
    if not whole or len(labels) != 1 or {other for other, _ in pairs} | labels != set(range(classes)):
        raise ValueError(f"{path} is not a box with a class that must win over all others")
    return Property(lo, hi, labels.pop())
