"""The functions of one varying argument, by the names that ATen gives them: intervals, lines and where they are decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ironbound.certification import curves, functions, pieces
from ironbound.certification.curves import Curve
from ironbound.certification.graph import Node, Ref
from ironbound.certification.intervals import Interval
from ironbound.certification.lines import Lines
from ironbound.certification.pieces import Pieces

Shape = Curve | Pieces
Describe = Callable[..., Shape]
"""describe(node, *constants, **named): the function that an operation is with these constants, given as PyTorch takes them."""


@dataclass(frozen=True, eq=False)
class Function:
    """The bounds of one function, as the registry wants them."""

    describe: Describe

    def interval(self, node: Node, x: Interval, *constants: Any, **named: Any) -> Interval:
        """The least and greatest value."""
        shape = self.describe(node, *constants, **named)
        return curves.image(shape, x) if isinstance(shape, Curve) else pieces.image(shape, x)

    def relax(self, node: Node, x: Interval, *constants: Any, free: Tensor | None = None, **named: Any) -> Lines:
        """The lines below and above; what `free` chooses is said in curves.py and pieces.py."""
        shape = self.describe(node, *constants, **named)
        return curves.relaxed(shape, x, free) if isinstance(shape, Curve) else pieces.relaxed(shape, x, free)

    def undecided(self, node: Node, x: Interval) -> Tensor:
        """Where a narrower interval would change the lines."""
        wide = x.upper > x.lower
        if any(isinstance(constant, Ref) for constant in node.args[1:]):
            return wide
        shape = self.describe(node, *node.args[1:], **node.kwargs)
        return wide if isinstance(shape, Curve) else pieces.kinks(shape, x)


def _always(shape: Shape) -> Describe:
    return lambda node: shape


def _gelu(node: Node, approximate: str = "none") -> Shape:
    return functions.GELU_TANH if approximate == "tanh" else functions.GELU


def _softplus(node: Node, beta: float = 1, threshold: float = 20) -> Shape:
    return functions.softplus(beta, threshold)


def _elu(node: Node, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Shape:
    return functions.elu(alpha, scale, input_scale)


def _celu(node: Node, alpha: float = 1) -> Shape:
    return functions.elu(alpha, 1, 1 / alpha)


def _power(node: Node, exponent: float) -> Shape:
    return functions.power(exponent)


def _leaky(node: Node, slope: float = 0.01) -> Shape:
    return pieces.leaky(slope)


def _prelu(node: Node, weight: Tensor) -> Shape:
    dimensions = len(node.shape or ())
    return pieces.leaky(weight.view(-1, *[1] * (dimensions - 2)) if dimensions > 1 else weight)


def _clamp(node: Node, least: Any = None, most: Any = None) -> Shape:
    return pieces.clamped(least, most)


def _hardtanh(node: Node, least: float = -1, most: float = 1) -> Shape:
    return pieces.clamped(least, most)


_DESCRIBED: dict[str, Describe] = {
    "sigmoid.default": _always(functions.SIGMOID),
    "tanh.default": _always(functions.TANH),
    "erf.default": _always(functions.ERF),
    "erfc.default": _always(functions.ERFC),
    "atan.default": _always(functions.ATAN),
    "asinh.default": _always(functions.ASINH),
    "gelu.default": _gelu,
    "silu.default": _always(functions.SILU),
    "mish.default": _always(functions.MISH),
    "hardswish.default": _always(functions.HARDSWISH),
    "exp.default": _always(functions.EXP),
    "expm1.default": _always(functions.EXPM1),
    "exp2.default": _always(functions.EXP2),
    "log.default": _always(functions.LOG),
    "log1p.default": _always(functions.LOG1P),
    "log2.default": _always(functions.LOG2),
    "log10.default": _always(functions.LOG10),
    "log_sigmoid.default": _always(functions.LOGSIGMOID),
    "cosh.default": _always(functions.COSH),
    "sinh.default": _always(functions.SINH),
    "sqrt.default": _always(functions.power(0.5)),
    "rsqrt.default": _always(functions.power(-0.5)),
    "reciprocal.default": _always(functions.power(-1)),
    "square.default": _always(functions.power(2)),
    "pow.Tensor_Scalar": _power,
    "softplus.default": _softplus,
    "elu.default": _elu,
    "celu.default": _celu,
    "abs.default": _always(pieces.ABSOLUTE),
    "hardsigmoid.default": _always(pieces.HARDSIGMOID),
    "leaky_relu.default": _leaky,
    "prelu.default": _prelu,
    "hardtanh.default": _hardtanh,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "clamp_min.default": lambda node, least: pieces.clamped(least, None),
    "clamp_max.default": lambda node, most: pieces.clamped(None, most),
}
FUNCTIONS = {name: Function(describe) for name, describe in _DESCRIBED.items()}
KEPT = ("silu", "celu", "softplus", "mish", "hardswish", "hardsigmoid", "log_sigmoid", "prelu")
"""What torch.export would take apart, into products and comparisons that can only be bounded worse."""
