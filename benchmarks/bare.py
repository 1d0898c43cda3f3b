"""Bare passes of a net: what a row costs in float32 and in bfloat16, and what an attack's own passes cost without it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = Callable[[Tensor], Tensor]


def in_bfloat16(net: nn.Module, x: Tensor, y: Tensor) -> Net:
    """Autocast by hand, with the weights in the layout whose gradients are faster here: channels-last or plain."""
    spent: dict[Net, float] = {}
    for layout in (torch.channels_last, torch.contiguous_format):
        twin = _autocast(copy.deepcopy(net).to(memory_format=layout))
        gradients(twin, x, y, 1)
        start = time.process_time()
        gradients(twin, x, y, 3)
        spent[twin] = time.process_time() - start
    return min(spent, key=lambda twin: spent[twin])


def _autocast(net: nn.Module) -> Net:
    def run(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return net(x)

    return run


def gradients(net: Net, x: Tensor, y: Tensor, times: int) -> None:
    """Forward and backward passes with the gradient for the input alone."""
    for _ in range(times):
        p = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(net(p).float(), y, reduction="sum"), p)


@dataclass
class Passes:
    """The rows of every pass that a net was given, and whether it was one with a gradient."""

    sizes: list[tuple[int, bool]] = field(default_factory=list)

    def of(self, net: nn.Module, work: Callable[[], object]) -> Passes:
        """Listen to the net while the work runs."""

        def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            self.sizes.append((len(given[0]), torch.is_grad_enabled() and given[0].requires_grad))

        handle = net.register_forward_pre_hook(note)
        try:
            work()
        finally:
            handle.remove()
        return self

    def replayed(self, exact: Net, cheap: Net, x: Tensor, y: Tensor) -> None:
        """The same passes and nothing else: those with gradients by `cheap`."""
        for rows, graded in self.sizes:
            if graded:
                gradients(cheap, x[:rows], y[:rows], 1)
            else:
                with torch.no_grad():
                    exact(x[:rows])
