"""The registry: for each operation of core ATen what bounds do with it, and what of it they refuse.

A new operation is one line here and, unless it is monotone, one rule in intervals.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ironbound.certification import attention, lines, pooling, products
from ironbound.certification import intervals as rules
from ironbound.certification import transposes as back
from ironbound.certification.elementwise import FUNCTIONS
from ironbound.certification.functionals import varying
from ironbound.certification.graph import RESHAPES, Node, Ref

Rule = Callable[..., Any]
Check = Callable[[Node], str]
"""Why this use of an operation is refused, "" where it is not."""

_MADE = ("full_like", "zeros_like", "ones_like", "new_zeros", "new_ones", "new_full")
SHAPE_ONLY = frozenset({"sym_size.int"} | {f"{name}.default" for name in _MADE})
"""Operations that read of their arguments only the shape, so that their values are constants."""


@dataclass(frozen=True)
class Operation:
    """What bounds know of one operation; None is a rule that is not there (yet)."""

    interval: Callable[..., Any]
    checks: tuple[Check, ...] = ()
    relax: Callable[..., Any] | None = None
    """The `Lines` around an element-wise function of one varying argument."""
    backward: Callable[..., Any] | None = None
    """Coefficients through any other operation; exact for affine ones."""
    reads: Callable[[Node], list[Ref]] | None = None
    """The arguments whose intervals the linear rule reads: by default those of functions with lines, and no others."""
    undecided: Callable[..., Any] | None = None
    """undecided(node, interval of an argument it reads) -> bool: where a tighter interval would change the rule; by
    default where it has a width."""

    start: Callable[[Node, Any], Any] | None = None
    """start(node, interval) -> the free parameters in [0, 1] that alpha-CROWN begins with; None: lines have none."""

    family: Callable[..., Any] | None = None
    """family(node, interval, constants): tensors in the form of the interval's ends, all that `relax` makes of it."""
    choose: Callable[..., Any] | None = None
    """choose(node, rows of the family, free) -> `Lines`: the rest of `relax`, where it is in two parts."""

    @property
    def linear(self) -> bool:
        """Whether there are linear bounds."""
        return self.relax is not None or self.backward is not None

    def refuses(self, node: Node) -> str:
        """Why this node is refused, "" where it is not."""
        return next((reason for check in self.checks if (reason := check(node))), "")


CALLED = {
    "addmm": "linear", "mm": "linear", "convolution": "conv", "_native_batch_norm_legit_no_training": "batch_norm",
    "scaled_by_rms": "layer_norm group_norm instance_norm", "centred": "var std", "larger": "maximum", "smaller": "minimum",
    "product": "mul", "bmm": "matmul einsum attention", "baddbmm": "", "constant_pad_nd": "pad", "where": "where masked_fill",
    "max_pool2d_with_indices": "max_pool", "max_pool3d_with_indices": "", "adaptive_max_pool2d": "adaptive_max_pool",
    "adaptive_max_pool3d": "", "avg_pool1d": "avg_pool", "avg_pool2d": "", "avg_pool3d": "",
    "_adaptive_avg_pool2d": "adaptive_avg_pool", "_adaptive_avg_pool3d": "", "split_with_sizes": "split chunk unbind",
    "_unsafe_view": "", "view": "reshape flatten", "_to_copy": "", "alias": "", "clone": "", "detach": "", "getitem": "",
    "upsample_linear1d": "", "upsample_trilinear3d": "",
    "upsample_bilinear2d": "interpolate", "upsample_nearest1d": "", "upsample_nearest2d": "", "upsample_nearest3d": "",
    "index_select": "roll", "clamp_max": "", "clamp_min": "", "log_sigmoid": "logsigmoid", "_softmax": "softmax",
    "_log_softmax": "log_softmax",
}  # fmt: skip
"""What users call operations, where core ATen has another name for them; "" for what need not be said."""


def supported() -> str:
    """The operations with bounds by their usual names, for messages."""
    names = {name.split(".")[0] for name in OPERATIONS}
    return ", ".join(sorted({usual for name in names for usual in CALLED.get(name, name).split()}))


def argument(node: Node, at: int, default: Any = None) -> Any:
    """An argument by position, where the export left out trailing defaults."""
    return node.args[at] if at < len(node.args) else default


# ------------------------------------------------------------------------------------------------------------ checks
def _only(*places: int) -> Check:
    """Only these arguments may depend on the input."""

    def check(node: Node) -> str:
        varying = [at for at, arg in enumerate(node.args) if isinstance(arg, Ref) and arg.varies and at not in places]
        varying += [name for name, arg in node.kwargs.items() if isinstance(arg, Ref) and arg.varies]  # type: ignore[misc]
        return f"its argument {varying[0]} depends on the input and must be a constant" if varying else ""

    return check


def _rows(at: int) -> Check:
    """The dimensions named by this argument do not include the batch."""

    def check(node: Node) -> str:
        dims = argument(node, at, 0 if node.op.startswith(("cat", "split")) else None)
        dims = [dims] if isinstance(dims, int) else dims
        parts = node.args[0] if isinstance(node.args[0], list) else [node.args[0]]
        ndim = next(len(part.shape) for part in parts if part.shape is not None)
        if not dims or any(dim % ndim == 0 for dim in dims):
            return "it works along dimension 0, and so would mix the rows of a batch"
        return ""

    return check


def _permutes(node: Node) -> str:
    dims = node.args[1]
    return (
        ""
        if dims[0] % len(dims) == 0
        else (
            "it moves dimension 0, that of the batch; keep that in front (layers of nn.Transformer: batch_first=True)"
        )
    )


def _slices(node: Node) -> str:
    start, stop = argument(node, 2, 0), argument(node, 3)
    if argument(node, 1, 0) % len(node.args[0].shape) or ((start or 0) == 0 and (stop is None or stop >= 2**62)):
        return ""
    return "it picks rows of the batch"


def _repeats(node: Node) -> str:
    return "" if node.args[1][0] == 1 else "it repeats rows of the batch"


def _indexes(node: Node) -> str:
    first, *others = node.args[1]
    varying = any(isinstance(index, Ref) and index.varies for index in others)
    return "its indices depend on the input" if varying else "" if first is None else "it picks rows of the batch"


def _rises(at: int, default: float, what: str) -> Check:
    """A number that must not be negative for the operation to be monotone."""

    def check(node: Node) -> str:
        value = argument(node, at, default)
        return (
            "" if value is None or (isinstance(value, (int, float)) and value >= 0) else f"{what} = {value} is negative"
        )

    return check


def _plain(*names: str) -> Check:
    """Scalars given by keyword that bounds know only as 1 (beta, alpha of addmm)."""

    def check(node: Node) -> str:
        return next((f"{name} = {node.kwargs[name]}" for name in names if node.kwargs.get(name, 1) != 1), "")

    return check


def _step(node: Node) -> str:
    alpha = argument(node, 2, node.kwargs.get("alpha", 1))
    if len(node.args) > 2 and alpha != 1:  # add.Scalar takes it by place, which no rule reads
        return f"alpha = {alpha} is given by place"
    return "" if isinstance(alpha, (int, float)) and alpha >= 0 else f"alpha = {alpha} is not a number >= 0"


def _last(node: Node) -> str:
    return "it rounds to another type" if argument(node, 2, False) else ""


def _wide(node: Node) -> str:
    kind = node.kwargs.get("dtype")
    if kind is not None and kind.is_complex:
        return "it makes complex numbers, as a Fourier transform does"
    return "" if kind in (None, torch.float32, torch.float64) else f"rounding to {kind} inside the model is not bounded"


def _number(at: int, default: float, what: str, positive: bool = False) -> Check:
    """An argument that must be a plain number, and possibly > 0."""

    def check(node: Node) -> str:
        value = argument(node, at, default)
        fine = isinstance(value, (int, float)) and (value > 0 or not positive)
        return "" if fine else f"{what} = {value} is not a number{' > 0' if positive else ''}"

    return check


_CHECKS = {
    "softplus.default": (_number(1, 1, "beta", positive=True),),
    "celu.default": (_number(1, 1, "alpha"),),
    "pow.Tensor_Scalar": (_number(1, 1, "the exponent"),),
}
"""What functions of one varying argument (elementwise.py) ask of their constants."""


# ---------------------------------------------------------------------------------------------------------- registry
UPSAMPLING = " ".join(
    f"upsample_{kind}.vec" for kind in ["nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "trilinear3d"]
)
"""Interpolations by weights that are not negative."""


def _table() -> dict[str, Operation]:
    along = Operation(rules.monotone, (_rows(1),))
    affine = (_only(0),)
    average = Operation(rules.monotone, (*affine, _rises(6, 1, "divisor_override")), backward=back.transposed)
    table = dict.fromkeys(RESHAPES, Operation(rules.reshape, backward=back.reshaped))
    for names, operation in (
        ("expand.default", Operation(rules.monotone, backward=back.transposed)),
        (
            "relu.default",
            Operation(rules.monotone, affine, relax=lines.relu, undecided=lines.crosses_zero, start=lines.adaptive),
        ),
        ("alias.default", Operation(rules.same, affine, backward=back.passed)),
        (
            "constant_pad_nd.default _adaptive_avg_pool2d.default _adaptive_avg_pool3d.default " + UPSAMPLING,
            Operation(rules.monotone, affine, backward=back.transposed),
        ),
        ("clone.default detach.default", Operation(rules.same, backward=back.passed)),
        ("_to_copy.default", Operation(rules.same, (_wide,), backward=back.passed)),
        ("neg.default", Operation(rules.negative, backward=back.negated)),
        ("add.Tensor add.Scalar", Operation(rules.monotone, (_step,), backward=back.added)),
        ("sub.Tensor sub.Scalar", Operation(rules.subtract, (_step,), backward=back.added)),
        ("mul.Tensor mul.Scalar", Operation(rules.multiply, backward=back.scaled)),
        ("div.Tensor div.Scalar", Operation(rules.divide, affine, backward=back.scaled)),
        ("mm.default", Operation(rules.matrix, affine, backward=back.layer)),
        ("addmm.default", Operation(rules.affine, (_only(1), _plain("beta", "alpha")), backward=back.layer)),
        ("convolution.default", Operation(rules.convolve, affine, backward=back.convolved)),
        ("_native_batch_norm_legit_no_training.default", Operation(rules.normalise, affine, backward=back.normalised)),
        ("avg_pool1d.default avg_pool2d.default avg_pool3d.default", average),
        (
            "sum.dim_IntList mean.dim select.int flip.default cat.default index_select.default cumsum.default",
            replace(along, backward=back.transposed),
        ),
        ("split_with_sizes.default", Operation(rules.monotone, (_rows(2),), backward=back.transposed)),
        ("slice.Tensor", Operation(rules.monotone, (_slices,), backward=back.transposed)),
        ("index.Tensor", Operation(rules.monotone, (_indexes,), backward=back.transposed)),
        ("repeat.default", Operation(rules.monotone, (_repeats,), backward=back.transposed)),
        ("permute.default", Operation(rules.monotone, (_permutes,), backward=back.permuted)),
        ("getitem", Operation(rules.piece, backward=back.piece)),
    ):
        table |= dict.fromkeys(names.split(), operation)
    for name, function in FUNCTIONS.items():
        known = {part: getattr(function, part, None) for part in ("relax", "undecided", "start", "family", "choose")}
        table[name] = Operation(function.interval, (_only(0), *_CHECKS.get(name, ())), **known)
    return table


def _of_several() -> dict[str, Operation]:
    """Operations whose linear bounds are planes in several values: products, shares, maxima."""

    def planes(interval: Rule, backward: Rule, *checks: Check, reads: Any = varying, **more: Any) -> Operation:
        return Operation(interval, checks, backward=backward, reads=reads, **more)

    largest = partial(planes, rules.monotone, pooling.maximum, undecided=pooling.contested)
    table: dict[str, Operation] = {}
    for names, operation in (
        ("product", planes(rules.multiply, products.multiplied)),
        ("bmm.default baddbmm.default", planes(products.matrices, products.multiplied_matrices,
                                               _plain("beta", "alpha"), reads=products.factors)),
        ("scaled_by_rms", planes(products.scaled_by_rms, products.multiplied, reads=lambda node: [node.args[0]])),
        ("centred", Operation(products.centred, backward=products.from_mean)),
        ("larger", Operation(products.larger, backward=products.of_two)),
        ("smaller", Operation(products.smaller, backward=products.of_two)),
        ("where.self", Operation(rules.monotone, (_only(1, 2),), backward=products.where)),
        ("_softmax.default", planes(rules.softmax, attention.softmax, _rows(1), _last)),
        ("_log_softmax.default", planes(rules.log_softmax, attention.log_shares, _rows(1), _last)),
        ("amax.default amin.default max.dim min.dim", largest(_rows(1))),
        ("max_pool2d_with_indices.default max_pool3d_with_indices.default adaptive_max_pool2d.default "
         "adaptive_max_pool3d.default", largest(_only(0))),
    ):  # fmt: skip
        table |= dict.fromkeys(names.split(), operation)
    return table


OPERATIONS: dict[str, Operation] = _table() | _of_several()
