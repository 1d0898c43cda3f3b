"""The functions of one varying argument, by the names that ATen gives them: intervals, lines and where they are decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.certification import curves, functions, pieces
from ironbound.certification.curves import Curve, Family
from ironbound.certification.graph import Node, Ref
from ironbound.certification.intervals import Interval
from ironbound.certification.lines import Lines
from ironbound.certification.pieces import Pieces


@dataclass(frozen=True, eq=False)
class Smooth:
    """The bounds of a function that is a curve, as the registry wants them."""

    describe: Callable[..., Curve]

    def interval(self, node: Node, x: Interval, *constants: Any, **named: Any) -> Interval:
        """The least and greatest value."""
        return curves.image(self.describe(node, *constants, **named), x)

    def relax(self, node: Node, x: Interval, *constants: Any, free: Tensor | None = None, **named: Any) -> Lines:
        """The lines below and above; what `free` chooses is said in curves.py."""
        return self.choose(node, self.family(node, x, *constants, **named), free)

    def family(self, node: Node, x: Interval, *constants: Any, **named: Any) -> Family:
        """What the lines depend on but for `free`: it is far more work than choosing, and the same for all rows."""
        return curves.family(self.describe(node, *constants, **named), x)

    def choose(self, node: Node, family: Family, free: Tensor | None) -> Lines:
        """The lines of a family, or of rows of it."""
        return curves.chosen(self.describe(node, *node.args[1:], **node.kwargs), family, free)

    def start(self, node: Node, x: Interval) -> Tensor:
        """What `free` is for the default lines."""
        return torch.full_like(x.lower, 0.5)


@dataclass(frozen=True, eq=False)
class Piecewise:
    """The same of a piecewise linear one."""

    describe: Callable[..., Pieces]

    def interval(self, node: Node, x: Interval, *constants: Any) -> Interval:
        """The least and greatest value."""
        return pieces.image(self.describe(node, *constants), x)

    def relax(self, node: Node, x: Interval, *constants: Any, free: Tensor | None = None) -> Lines:
        """The lines below and above; what `free` chooses is said in pieces.py."""
        return pieces.relaxed(self.describe(node, *constants), x, free)

    def undecided(self, node: Node, x: Interval) -> Tensor:
        """Where a narrower interval would change the lines."""
        return x.upper > x.lower if self._open(node) else pieces.kinks(self.describe(node, *node.args[1:]), x)

    def start(self, node: Node, x: Interval) -> Tensor:
        """What `free` is for the default lines."""
        return (
            torch.full_like(x.lower, 0.5) if self._open(node) else pieces.start(self.describe(node, *node.args[1:]), x)
        )

    def _open(self, node: Node) -> bool:
        """Whether the function depends on parameters of the module."""
        return any(isinstance(constant, Ref) for constant in node.args[1:])


# --------------------------------------------- the functions that operations are, by their constants as PyTorch takes them
def _curve(curve: Curve) -> Callable[[Node], Curve]:
    return lambda node: curve


def _pieces(pieces_: Pieces) -> Callable[[Node], Pieces]:
    return lambda node: pieces_


def _gelu(node: Node, approximate: str = "none") -> Curve:
    return functions.GELU_TANH if approximate == "tanh" else functions.GELU


def _softplus(node: Node, beta: float = 1, threshold: float = 20) -> Curve:
    return functions.softplus(beta, threshold)


def _elu(node: Node, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Curve:
    return functions.elu(alpha, scale, input_scale)


def _celu(node: Node, alpha: float = 1) -> Curve:
    return functions.elu(alpha, 1, 1 / alpha)


def _power(node: Node, exponent: float) -> Curve:
    return functions.power(exponent)


def _leaky(node: Node, slope: float = 0.01) -> Pieces:
    return pieces.leaky(slope)


def _prelu(node: Node, weight: Tensor) -> Pieces:
    dimensions = len(node.shape or ())
    return pieces.leaky(weight.view(-1, *[1] * (dimensions - 2)) if dimensions > 1 else weight)


def _clamp(node: Node, least: Any = None, most: Any = None) -> Pieces:
    return pieces.clamped(least, most)


def _hardtanh(node: Node, least: float = -1, most: float = 1) -> Pieces:
    return pieces.clamped(least, most)


_SMOOTH: dict[str, Callable[..., Curve]] = {
    "sigmoid.default": _curve(functions.SIGMOID),
    "tanh.default": _curve(functions.TANH),
    "erf.default": _curve(functions.ERF),
    "erfc.default": _curve(functions.ERFC),
    "atan.default": _curve(functions.ATAN),
    "asinh.default": _curve(functions.ASINH),
    "gelu.default": _gelu,
    "silu.default": _curve(functions.SILU),
    "mish.default": _curve(functions.MISH),
    "hardswish.default": _curve(functions.HARDSWISH),
    "exp.default": _curve(functions.EXP),
    "expm1.default": _curve(functions.EXPM1),
    "exp2.default": _curve(functions.EXP2),
    "log.default": _curve(functions.LOG),
    "log1p.default": _curve(functions.LOG1P),
    "log2.default": _curve(functions.LOG2),
    "log10.default": _curve(functions.LOG10),
    "log_sigmoid.default": _curve(functions.LOGSIGMOID),
    "cosh.default": _curve(functions.COSH),
    "sinh.default": _curve(functions.SINH),
    "sqrt.default": _curve(functions.power(0.5)),
    "rsqrt.default": _curve(functions.power(-0.5)),
    "reciprocal.default": _curve(functions.power(-1)),
    "square.default": _curve(functions.power(2)),
    "pow.Tensor_Scalar": _power,
    "softplus.default": _softplus,
    "elu.default": _elu,
    "celu.default": _celu,
}
_PIECEWISE: dict[str, Callable[..., Pieces]] = {
    "abs.default": _pieces(pieces.ABSOLUTE),
    "hardsigmoid.default": _pieces(pieces.HARDSIGMOID),
    "leaky_relu.default": _leaky,
    "prelu.default": _prelu,
    "hardtanh.default": _hardtanh,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "clamp_min.default": lambda node, least: pieces.clamped(least, None),
    "clamp_max.default": lambda node, most: pieces.clamped(None, most),
}
FUNCTIONS: dict[str, Smooth | Piecewise] = {
    **{name: Smooth(describe) for name, describe in _SMOOTH.items()},
    **{name: Piecewise(describe) for name, describe in _PIECEWISE.items()},
}
KEPT = ("silu", "celu", "softplus", "mish", "hardswish", "hardsigmoid", "log_sigmoid", "prelu")
"""What torch.export would take apart, into products and comparisons that can only be bounded worse."""
