"""Cheap passes: a module in bfloat16 for gradients that only steer, and the layout in which its convolutions are fast.

Its own weights are back in place after every pass, and in their own layout after a training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AvgPoolNd, _MaxPoolNd

POOLS = (_AdaptiveAvgPoolNd, _AvgPoolNd, _MaxPoolNd)


class Cheap:
    """The bfloat16 weights of a module's convolutions and linear layers, swapped in for one pass at a time.

    They are cast once, not at every pass as autocast would, and swapping tables of names costs a tenth of what
    torch.func.functional_call does; both show where few rows are left. Everything else runs under autocast, so that a
    normalisation inside the net stays in float32.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layout = torch.channels_last if _likes_channels_last(module) else torch.contiguous_format
        places = [
            (part._parameters, name, weight)
            for part in module.modules()
            if isinstance(part, (_ConvNd, nn.Linear))
            for name in ("weight", "bias")  # others, as weight_orig, belong to hooks that know no bfloat16
            if (weight := part._parameters.get(name)) is not None
            and weight.dtype is torch.float32  # autocast leaves float64 as it is
        ]
        self._swaps: list[tuple[dict[str, Any], str, Any, Tensor]] = [
            (table, name, weight, self._cast(weight)) for table, name, weight in places
        ]

    def _cast(self, weight: Tensor) -> Tensor:
        layout = self._layout if weight.ndim == 4 else torch.contiguous_format
        return weight.detach().to(torch.bfloat16, memory_format=layout)

    @contextmanager
    def weights(self) -> Iterator[None]:
        """The cheap weights are the module's inside; its own are back outside, whatever happened."""
        try:
            for table, name, _, cheap in self._swaps:
                table[name] = cheap
            yield
        finally:
            for table, name, own, _ in self._swaps:
                table[name] = own


@contextmanager
def fast_layout(module: nn.Module) -> Iterator[None]:
    """Inside, the float32 weights of convolutions lie channels-last on a CPU, where that is faster; outside as before.

    Measured in float32 and bfloat16, forward and backward: 0.63 to 0.9 of the time where most convolutions have stride 1,
    nothing where they do not. Sums are taken in another order, so that last bits differ from those of the plain layout.
    For modules of one's own alone: a weight's memory is another inside, though it is the same parameter.
    """
    moved: list[tuple[nn.Parameter, tuple[int, ...]]] = []
    if _likes_channels_last(module):
        weights = (part._parameters.get("weight") for part in module.modules() if isinstance(part, nn.Conv2d))
        for weight in weights:
            if weight is not None and weight.dtype is torch.float32 and weight.device.type == "cpu":
                moved.append((weight, weight.stride()))
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight, strides in reversed(moved):
            weight.data = torch.empty_strided(weight.shape, strides, dtype=weight.dtype).copy_(weight.data)


@contextmanager
def layout_kept(module: nn.Module) -> Iterator[None]:
    """Inside, a gradient comes into a pool in the layout of the pool's output; also the backward pass may be later.

    Flatten hands back a plain gradient, and the CPU's backward kernel of a channels-last pool takes three times as long
    with one. Values are the same to the last bit.
    """
    hooks = [part.register_forward_hook(_same_layout) for part in module.modules() if isinstance(part, POOLS)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _same_layout(part: nn.Module, inputs: Any, out: Any) -> None:
    last = torch.channels_last
    if isinstance(out, Tensor) and out.ndim == 4 and out.requires_grad and out.is_contiguous(memory_format=last):
        out.register_hook(lambda gradient: gradient.contiguous(memory_format=last))


def _likes_channels_last(module: nn.Module) -> bool:
    """Measured on CPUs: kernels of convolutions with stride 1 (most nets) are faster so, those of strided ones slower."""
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    strided = sum(max(part.stride) > 1 for part in convolutions)
    return 2 * strided <= len(convolutions)
