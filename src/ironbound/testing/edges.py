"""The edge of a set, to the last bit: bisected between neighbouring floats, and measured by formulas that are not the set's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ironbound.core.protocols import Can
from ironbound.core.rows import column, flat
from ironbound.sets.ball import Ball
from ironbound.testing.around import Around
from ironbound.testing.promise import require
from ironbound.testing.regions import CLAMP
from ironbound.testing.tables import same

HALVINGS = 1200
"""More than enough to bring two floats of any type next to each other."""


def edges_are_exact(around: Around) -> None:
    """On the way out of the set, of two neighbouring floats one is contained and one is not, and every part agrees which.

    A projection leaves the one and moves the other; sizes in float64 are at most the radius. Of balls the next float
    outside is outside as float64 measures it, so that nothing of the set is given away.
    """
    if not around.continuous:
        return
    region, start = around.region, around.region.identity()
    for name in ("noise of 0.1 widths", "noise of 30 widths", "one value far away"):
        p = around.points[name]
        out = ~region.contains(p)
        last, beyond = _edge(region, start, p)
        require(region.contains(last), f"the last float before leaving towards {name} is not contained.", CLAMP)
        require(~region.contains(beyond)[out], f"the first float outside towards {name} is contained.", CLAMP)
        if Can.PROJECT in around.can:
            require(same(region.project(last), last), f"project moves the last float inside towards {name}.", CLAMP)
            moved = flat(region.project(beyond) != beyond).any(1)
            require(moved[out], f"project leaves the first float outside towards {name}.", CLAMP)
        if Can.SCALE in around.can:
            size = region.size(last)
            require(
                size <= region.radius, f"size says more than the radius of a contained point towards {name}.", CLAMP
            )
        if isinstance(around.set, Ball):
            _measure(around, name, last, beyond, out)


def _edge(region: Any, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Two neighbours on the way between a contained point and one that is not, row by row."""
    near = torch.nextafter(inside, outside)  # first, for halving takes long to come from 1 to 1e-300
    outside = torch.where(column(region.contains(near), near), outside, near)
    for _ in range(HALVINGS):
        middle = inside + (outside - inside) / 2
        stuck = (middle == inside) | (middle == outside)
        if bool(stuck.all()):
            break
        within = region.contains(middle)
        inside = torch.where(column(within, middle), middle, inside)
        outside = torch.where(column(within, middle), outside, middle)
    return inside, outside


def _measure(around: Around, name: str, last: Tensor, beyond: Tensor, out: Tensor) -> None:
    """The same pair measured by formulas that are not the set's own."""
    free = torch.ones_like(last, dtype=torch.bool) if around.region.mask is None else around.region.mask
    low, high = (-torch.inf, torch.inf) if around.box is None else around.box
    verdicts = []
    for p in (last, beyond):
        change = p.double() - around.x.double()
        legal = flat((p.double() >= low) & (p.double() <= high) & (free | (change == 0))).all(1)
        verdicts.append((legal, own_size(around.set, change)))
    (legal, size), (also, more) = verdicts
    radius = around.region.radius
    require(legal & (size <= radius), f"towards {name} a contained point is outside as float64 measures it.", CLAMP)
    slack = torch.where(torch.isfinite(radius), radius * (1 - 1e-11), radius)
    require(~(also & (more <= slack))[out], f"towards {name} a point of the ball is refused.", CLAMP)


def own_size(ball: Any, change: Tensor) -> Tensor:
    """The size of changes (n, ...) in a ball's own norm, float64, by a formula of this file."""
    wide = flat(change.double())
    match ball.norm:
        case "linf":
            return wide.abs().amax(1)
        case "l2":
            most = wide.abs().amax(1).clamp_min(1e-300)  # squares of less are 0
            return (wide / most[:, None]).square().sum(1).sqrt() * most
        case "l1":
            return wide.abs().sum(1)
        case "l0" if ball.of == "pixels" and change.ndim > 3:
            return (change != 0).any(1).flatten(1).sum(1).double()
        case "l0":
            return (wide != 0).sum(1).double()
    raise NotImplementedError(ball.norm)
