"""What the engine itself costs: milliseconds of Python an ask on a net so small that its passes cost next to nothing."""

from __future__ import annotations

import statistics
from typing import Any

import by_hand
import torch
from cases import Chosen
from timing import alternated
from torch import nn

from ironbound.core.protocols import Want
from ironbound.models.model import Model
from ironbound.recipes import apgd, pgd
from ironbound.sets import Linf

STEPS = 400


def run(chosen: Chosen) -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5)).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(std=0.25, generator=draw)
    x = torch.empty(32, 20).uniform_(generator=draw)
    y, model, threat = net(x).argmax(1), Model(net), Linf(1e-7)
    first, adaptive = pgd(STEPS, 1e-8, random_start=False).replace(set=threat), apgd(STEPS).replace(set=threat)
    strongest = first.replace(want=Want.STRONGEST)
    spent = alternated(
        {
            "floor": lambda: by_hand.floor(net, x, y, STEPS),
            "by hand": lambda: by_hand.pgd(net, x, y, 1e-7, 1e-8, STEPS),
            "by hand, dropping": lambda: by_hand.dropping_pgd(net, x, y, 1e-7, 1e-8, STEPS),
            "pgd": lambda: first(model, x, y),
            "pgd, strongest": lambda: strongest(model, x, y),
            "apgd": lambda: adaptive(model, x, y),
        },
        chosen.rounds,
    )
    cost = {name: statistics.median(seconds) * 1e3 / (STEPS + 1) for name, seconds in spent.items()}
    print(f"\nMilliseconds an ask ({STEPS + 1} asks of {len(x)} rows, tiny MLP), and over the passes alone")
    for name, each in cost.items():
        print(f"  {name:18} {each:6.3f} ms  {each - cost['floor']:+7.3f} ms")
    return [{"case": name, "milliseconds": each, "over_floor": each - cost["floor"]} for name, each in cost.items()]
