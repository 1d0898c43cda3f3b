"""Backward rules of affine operations: a functional of what comes out, as one of what goes in. All are exact.

A rule takes the node, the coefficients of its value and the `Rows` of the pass. Those in `SPARSE` take coefficients as
they are (places, windows); all others whole planes. What has no rule of its own goes through `transposed`, which lets
PyTorch's derivative of the operation find the transpose.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

from ironbound.certification.coefficients import Coefficients, Dense, Patches, Spots, Window
from ironbound.certification.functionals import Back, Rows, varying
from ironbound.certification.graph import Node, Ref

MATRIX = 1 << 18
"""Entries of a matrix that stands for a transposed convolution of small windows."""
FEW = 8
"""Channels for which oneDNN's transposed convolution wastes its vectors."""


def transposed(node: Node, a: Any, rows: Rows) -> Back:
    """Any affine operation: its transpose is its derivative, its constant what it makes of zeros."""
    refs = varying(node)
    zeros = [a_zeros(ref, rows) for ref in refs]

    def run(*inputs: Tensor) -> Any:
        given = {ref.name: value for ref, value in zip(refs, inputs, strict=True)}
        args = [_filled(arg, given, rows) for arg in node.args]
        kwargs = {name: _filled(arg, given, rows) for name, arg in node.kwargs.items()}
        return node.target(*args, **kwargs)

    constant, back, *_ = torch.func.vjp(run, *zeros)
    if isinstance(a, dict):  # of several outputs those that somebody asks about
        given = [a[i].dense() if i in a else torch.zeros_like(part) for i, part in enumerate(constant)]
        each = [rows.summed(mine * part) for mine, part in zip(given, constant, strict=True)]
        return Back(list(zip(refs, back(type(constant)(given)), strict=True)), torch.stack(each).sum(0))
    return Back(list(zip(refs, back(a.expand_as(constant)), strict=True)), rows.summed(a * constant))


def a_zeros(ref: Ref, rows: Rows) -> Tensor:
    """Zeros in the shape of an argument for all rows."""
    assert ref.shape is not None
    return torch.zeros(ref.shape[0] * len(rows), *ref.shape[1:], dtype=rows.known.dtype, device=rows.known.device)


def _filled(argument: Any, given: dict[str, Tensor], rows: Rows) -> Any:
    if isinstance(argument, Ref):
        return given[argument.name] if argument.name in given else rows.value(argument)
    return [_filled(part, given, rows) for part in argument] if isinstance(argument, (list, tuple)) else argument


def reshaped(node: Node, a: Coefficients, rows: Rows) -> Back:
    """Another shape of the same values, row by row: places stay, windows become whole planes."""
    (ref,) = varying(node)
    assert ref.shape is not None
    if isinstance(a, Spots):
        return Back([(ref, Spots(a.place, a.scale, ref.shape))])
    return Back([(ref, a.dense().reshape(len(rows) * ref.shape[0], *ref.shape[1:]))])


def permuted(node: Node, a: Tensor, rows: Rows) -> Back:
    """Dimensions back in their old order."""
    dims = [dim % len(node.args[1]) for dim in node.args[1]]
    return Back([(node.args[0], a.permute([dims.index(i) for i in range(len(dims))]))])


def passed(node: Node, a: Coefficients, rows: Rows) -> Back:
    """Nothing changed."""
    return Back([(node.args[0], a)])


def negated(node: Node, a: Coefficients, rows: Rows) -> Back:
    """-x."""
    return Back([(node.args[0], a.times(-1.0))])


def piece(node: Node, a: Any, rows: Rows) -> Back:
    """One of several outputs: the engine keeps apart which."""
    return Back([(node.args[0], a)])


def added(node: Node, a: Coefficients, rows: Rows) -> Back:
    """x + alpha y, and x - alpha y; of numbers and constants too."""
    sign = (-1.0 if node.op.startswith("sub") else 1.0) * node.kwargs.get("alpha", 1)
    parts: list[tuple[Ref, Coefficients | Tensor]] = []
    bias: Tensor | None = None
    for argument, factor in zip(node.args[:2], (1.0, sign), strict=True):
        if isinstance(argument, Ref) and argument.varies:
            mine = a if factor == 1 else a.times(factor)
            parts.append((argument, _narrowed(mine, argument, node, rows)))
        else:
            constant = torch.as_tensor(rows.value(argument), dtype=rows.known.dtype, device=rows.known.device)
            own = _against(a, constant * factor, node, rows)
            bias = own if bias is None else bias + own
    return Back(parts, bias)


def _narrowed(a: Coefficients, ref: Ref, node: Node, rows: Rows) -> Coefficients | Tensor:
    """Coefficients of an argument that was broadcast to the value's shape."""
    if ref.shape == node.shape:
        return a
    assert ref.shape is not None
    return a.dense().sum_to_size(ref.shape[0] * len(rows), *ref.shape[1:])


def _against(a: Coefficients, constant: Tensor, node: Node, rows: Rows) -> Tensor:
    """a . constant, which broadcasts with the value."""
    assert node.shape is not None
    whole = constant.expand(max(1, len(constant) if constant.ndim == len(node.shape) else 1), *node.shape[1:])
    if len(whole) > 1:
        return rows.summed(a.dense() * constant)
    if isinstance(a, Spots):
        return a.scale * whole.flatten()[a.place % whole.numel()]  # of k rows an input all have this one
    if isinstance(a, Dense) or node.shape[0] > 1:
        return rows.dot(a.dense(), whole) if node.shape[0] == 1 else rows.summed(a.dense() * constant)
    channels = _of_channels(constant)
    if channels is not None:
        return a.values.sum((2, 3)) @ channels.expand(a.window.plane[0])
    return rows.dot(a.values, a.under(whole))


def _of_channels(constant: Tensor) -> Tensor | None:
    """A constant that is the same on the whole of each plane, one number a channel or one for all; else None."""
    wide = constant.reshape((1,) * max(0, 3 - constant.ndim) + tuple(constant.shape))
    return wide[..., 0, 0].reshape(-1) if wide.shape[-1] == wide.shape[-2] == 1 else None


def scaled(node: Node, a: Coefficients, rows: Rows) -> Back:
    """x c and x / c with a constant c."""
    (ref,) = varying(node)
    first, second = node.args[:2]
    constant = rows.value(second if first is ref else first)
    if node.op.startswith("div"):
        constant = 1 / torch.as_tensor(constant, dtype=rows.known.dtype)  # of whole numbers, too, in the pass's type
    return Back([(ref, _narrowed(_times(a, constant, node, rows), ref, node, rows))])


def _times(a: Coefficients, constant: Any, node: Node, rows: Rows) -> Coefficients:
    if not isinstance(constant, Tensor) or constant.ndim == 0:
        return a.times(constant)
    assert node.shape is not None
    many = constant.ndim == len(node.shape) and len(constant) > 1
    if isinstance(a, Dense) or many:
        return Dense(a.dense() * constant)
    whole = constant.expand(1, *node.shape[1:])
    if isinstance(a, Spots):
        return Spots(a.place, a.scale * whole.flatten()[a.place % whole.numel()], a.shape)
    channels = _of_channels(constant)
    if channels is not None:
        return replace(a, values=a.values * channels.view(-1, 1, 1))
    return replace(a, values=a.values * a.under(whole))


def normalised(node: Node, a: Any, rows: Rows) -> Back:
    """Batch normalisation with the module's own statistics: a scale and a shift a channel."""
    a = a[0]
    weight, bias, mean, var = (rows.value(argument) for argument in node.args[1:5])
    factor = torch.rsqrt(var + node.args[6])
    factor = factor if weight is None else factor * weight
    shift = -mean * factor if bias is None else bias - mean * factor
    ref = node.args[0]
    wide = (-1, *[1] * (len(ref.shape) - 2))
    like = replace(node, shape=ref.shape)
    return Back([(ref, _times(a, factor.view(1, *wide), like, rows))], _against(a, shift.view(1, *wide), like, rows))


# ---------------------------------------------------------------------------------------------------- linear layers
def layer(node: Node, a: Coefficients, rows: Rows) -> Back:
    """x W and x W + b; of single places the columns of W are picked."""
    ref, weight = node.args[-2:]
    matrix = rows.value(weight)
    if isinstance(a, Spots) and node.shape is not None and len(node.shape) == 2 and node.shape[0] == 1:
        inside = matrix.t().index_select(0, a.place) * a.scale[:, None]
    else:
        inside = a.dense() @ matrix.t()
    return Back([(ref, inside)], _against(a, rows.value(node.args[0]), node, rows) if len(node.args) > 2 else None)


def convolved(node: Node, a: Coefficients, rows: Rows) -> Back:
    """A convolution: of places and windows the window that they see, of planes the transposed convolution."""
    ref, weight, offset, stride, padding, dilation, across, _, groups = node.args
    assert node.shape is not None
    kernel, constant = rows.value(weight), rows.value(offset) if offset is not None else None
    bias = None if constant is None else _per_channel(a, constant, node, rows)
    if not across and len(ref.shape) == 4 and ref.shape[0] == 1 and not isinstance(a, Dense):
        seen = _seen(a, kernel, node, rows)
        return Back([(ref, seen if seen.window.small else Dense(seen.dense()))], bias)
    if across or len(ref.shape) != 4:
        plain = replace(node, args=(ref, weight, None, *node.args[3:]))
        return Back(transposed(plain, a.dense(), rows).parts, bias)
    sizes = zip(ref.shape[2:], node.shape[2:], stride, padding, dilation, kernel.shape[2:], strict=True)
    missing = [
        size - ((seen - 1) * step - 2 * edge + wide * (taps - 1) + 1) for size, seen, step, edge, wide, taps in sizes
    ]
    values = a.dense()
    if values.device.type == "cpu":  # where transposed convolutions are fastest with the channels last
        if (
            groups == 1
            and kernel.shape[1] < FEW
            and min(stride) > 1
            and max(dilation) == 1
            and values.dtype == torch.float32
        ):
            return Back([(ref, _by_phases(values, kernel, stride, padding, ref.shape[2:]))], bias)
        values = values.contiguous(memory_format=torch.channels_last)
    return Back([(ref, conv_transpose2d(values, kernel, None, stride, padding, missing, groups, dilation))], bias)


def _by_phases(a: Tensor, kernel: Tensor, stride: list[int], padding: list[int], size: tuple[int, ...]) -> Tensor:
    """A strided transposed convolution into few channels as a plain one into one channel for each phase of the stride.

    oneDNN computes the former channel by channel: a third of its time. Output (q s + f) is of phase f, from inputs q - t
    and taps f + s t.
    """
    (down, across), channels = stride, kernel.shape[1]
    taps = [-(-length // step) for length, step in zip(kernel.shape[2:], stride, strict=True)]
    whole = pad(kernel, (0, taps[1] * across - kernel.shape[3], 0, taps[0] * down - kernel.shape[2]))
    phases = whole.view(-1, channels, taps[0], down, taps[1], across).permute(3, 5, 1, 0, 2, 4).flip(-1, -2)
    last = a.contiguous(memory_format=torch.channels_last)
    found = conv2d(last, phases.reshape(-1, len(kernel), *taps), padding=(taps[0] - 1, taps[1] - 1))
    rows, _, high, wide = found.shape
    found = found.view(rows, down, across, channels, high, wide).permute(0, 3, 4, 1, 5, 2)
    found = found.reshape(rows, channels, high * down, wide * across)
    short = [max(0, size[0] + padding[0] - high * down), max(0, size[1] + padding[1] - wide * across)]
    found = pad(found, (0, short[1], 0, short[0]))
    return found[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def _per_channel(a: Coefficients, constant: Tensor, node: Node, rows: Rows) -> Tensor:
    assert node.shape is not None
    if isinstance(a, Spots):
        return a.scale * constant[a.place // prod(node.shape[2:]) % len(constant)]  # of k planes an input all have it
    values = a.values if isinstance(a, Patches) else a.dense()
    return rows.summed((values.flatten(2).sum(2) @ constant)[:, None])


def _seen(a: Spots | Patches, kernel: Tensor, node: Node, rows: Rows) -> Patches:
    """The window of the input that a place or a window of the output is made from."""
    ref, _, _, stride, padding, dilation, _, _, groups = node.args
    assert node.shape is not None
    if isinstance(a, Spots):
        _, channels, height, width = node.shape
        base = torch.stack([a.place // width % height, a.place % width], 1)
        channel = a.place // (height * width)
        start = Window(base, (height, width), (1, 1), (0, 0), (1, 1), (channels, height, width))
        if groups == 1 and all(size == 1 for size in dilation):
            taps = kernel.index_select(0, channel)
            values = taps * a.scale[:, None, None, None]
            return Patches.cut(values, _outer(start, values, stride, padding, ref.shape[1:]))
        values = torch.zeros(len(base), channels, 1, 1, dtype=kernel.dtype, device=kernel.device)
        a = Patches(values.scatter(1, channel[:, None, None, None], a.scale[:, None, None, None]), start)
    values = _windows(a.values, kernel, node, rows)
    return Patches.cut(values, _outer(a.window, values, stride, padding, ref.shape[1:]))


def _windows(values: Tensor, kernel: Tensor, node: Node, rows: Rows) -> Tensor:
    """The transposed convolution of small windows: a product with its matrix where that is small, a fourth of the time."""
    stride, _, dilation, _, _, groups = node.args[3:]
    many, channels, height, width = values.shape
    sizes = zip((height, width), stride, dilation, kernel.shape[2:], strict=True)
    outer = [(size - 1) * step + wide * (taps - 1) + 1 for size, step, wide, taps in sizes]
    inside, outside = channels * height * width, kernel.shape[1] * groups * prod(outer)
    if inside * outside > MATRIX or many < inside:
        return conv_transpose2d(values, kernel, None, stride, 0, 0, groups, dilation)
    key = (node.name, height, width)
    if key not in rows.known.matrices:
        ones = torch.eye(inside, dtype=values.dtype, device=values.device).view(inside, channels, height, width)
        rows.known.matrices[key] = conv_transpose2d(ones, kernel, None, stride, 0, 0, groups, dilation).flatten(1)
    return (values.reshape(many, inside) @ rows.known.matrices[key]).view(many, -1, *outer)


def _outer(
    window: Window, values: Tensor, stride: list[int], padding: list[int], plane: tuple[int, int, int]
) -> Window:
    """Where the windows lie in the plane before a convolution."""
    steps = (window.stride[0] * stride[0], window.stride[1] * stride[1])
    offset = (window.offset[0] * stride[0] - padding[0], window.offset[1] * stride[1] - padding[1])
    return Window(window.base, window.grid, steps, offset, (values.shape[2], values.shape[3]), plane)


SPARSE = frozenset({reshaped, passed, negated, piece, added, scaled, normalised, layer, convolved})
"""Rules that take places and windows as they are."""
