"""What projections cost beside the model: 1,000 of CIFAR's size against one forward pass of a ResNet-18 on that batch.

    python -m benchmarks.projections [rows]

Prints CPU seconds on one thread and the ratio, for points as PGD makes them, with noise on every value, and far away.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ironbound.core.rng import Rng
from ironbound.models.zoo import cifar_resnet18
from ironbound.sets import L1, L2

RADII = {"l1": L1(12.0), "l2": L2(0.5)}


def seconds(call: Callable[[], Any], times: int) -> float:
    """The least CPU time of several calls."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


@torch.no_grad()
def main(rows: int = 1000) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    x = torch.empty(rows, 3, 32, 32).uniform_(generator=random)
    noise = torch.empty_like(x).normal_(generator=random)
    net = cifar_resnet18().eval()
    forward = seconds(lambda: [net(part) for part in x.split(125)], 2)
    print(f"ResNet-18, {rows} inputs of 32x32: {forward:.2f} s; a fortieth is {1000 * forward / 40:.0f} ms")
    for name, threat in RADII.items():
        region = threat.at(x, (0.0, 1.0))
        inside = region.sample(Rng.of(0, torch.arange(rows)))
        step = threat.eps * region.steepest(noise) if name == "l2" else threat.eps * sparse(noise)
        points = {"a step of PGD": inside + step, "noise": x + 0.05 * noise, "far": x + noise}
        for what, p in points.items():
            took = seconds(lambda region=region, p=p: region.project(p), 5)  # type: ignore[misc]
            print(f"{name} {what:14} {1000 * took:6.0f} ms, 1/{forward / took:.0f} of the forward pass")


def sparse(g: Tensor, share: float = 0.05) -> Tensor:
    """The signs of each row's largest values, to length 1 in L1."""
    flat = g.flatten(1)
    count = max(1, int(share * flat.shape[1]))
    at = flat.abs().topk(count, dim=1).indices
    return torch.zeros_like(flat).scatter(1, at, flat.gather(1, at).sign() / count).view_as(g)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
