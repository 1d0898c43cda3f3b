"""The passes of a net, counted from outside whatever runs them, and run again without anything around them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Pass:
    """One forward pass and the backward passes that went through it."""

    rows: int
    backward: int = 0


@dataclass
class Passes:
    """All passes of a piece of work, in order."""

    each: list[Pass] = field(default_factory=list)

    @property
    def forward(self) -> int:
        """Rows forward."""
        return sum(one.rows for one in self.each)

    @property
    def backward(self) -> int:
        """Rows backward: each time a gradient came back through a pass, all its rows."""
        return sum(one.rows * one.backward for one in self.each)

    def replayed(self, net: nn.Module, x: Tensor, limit: int = 15_000) -> float:
        """CPU seconds of the same passes of the net alone, at the same numbers of rows: the floor of what they cost.

        Of more rows than `limit` every k-th pass is run, and what it takes is scaled by its share of the rows.
        """
        rows = self.forward + self.backward
        chosen = self.each[:: max(1, -(-rows // limit))]
        share = sum(one.rows * (1 + one.backward) for one in chosen) / max(rows, 1)
        most = max((one.rows for one in self.each), default=0)
        wide = x.repeat(-(-most // len(x)), *[1] * (x.ndim - 1)).contiguous()
        start = time.process_time()
        for one in chosen:
            if one.backward == 0:
                with torch.no_grad():
                    net(wide[: one.rows])
                continue
            p = wide[: one.rows].detach().requires_grad_()
            total = net(p).sum()
            for k in range(one.backward):
                torch.autograd.grad(total, p, retain_graph=k + 1 < one.backward)
        return (time.process_time() - start) / share if share else 0.0


class Counting(nn.Module):
    """A net that notes its passes in `passes`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.passes = net, Passes()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        noted = Pass(len(x))
        self.passes.each.append(noted)
        if out.requires_grad:

            def came_back(grad: Tensor) -> None:
                noted.backward += 1

            out.register_hook(came_back)
        return out


def measured(net: nn.Module, work: Any) -> tuple[Any, Passes, float]:
    """What work(net) gives, its passes, and its CPU seconds (the counting costs a microsecond a pass)."""
    watched = Counting(net).eval()
    start = time.process_time()
    found = work(watched)
    return found, watched.passes, time.process_time() - start
