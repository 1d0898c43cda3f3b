"""Golden files of projections: onto L1 balls with and without the box, and FAB's onto a hyperplane within the box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from adv_lib.attacks.auto_pgd import l1_projection
from adv_lib.attacks.fast_adaptive_boundary import projections as adv_lib_fab
from adv_lib.utils.projections import l1_ball_euclidean_projection
from art.utils import projection
from pyautoattack import fab_projections
from pyautoattack.autopgd_base import L1_projection
from torch import Tensor


def l1(draw: torch.Generator) -> dict[str, Tensor]:
    """x in the box with values at its ends, changes of very different sizes, radii from small to larger than the change."""
    tables: dict[str, Tensor] = {}
    for size in (1, 2, 7, 64, 400):
        rows = 20 if size < 100 else 4
        x = torch.rand(rows, size, generator=draw)
        x[:, ::5] = x[:, ::5].round()
        change = torch.randn(rows, size, generator=draw) * 4 ** torch.randn(rows, 1, generator=draw)
        reach = ((x + change).clamp(0, 1) - x).abs().sum(1)  # so that ball and box hold together
        eps = reach * torch.rand(rows, generator=draw) * 1.3
        pulled = torch.stack([L1_projection(x[i : i + 1], change[i : i + 1], float(eps[i]))[0] for i in range(rows)])
        away = {"x": x, "change": change, "eps": eps}
        away |= {"official": x + change + pulled, "adv_lib": x + change + l1_projection(x, change, eps)}
        tables |= {f"box.{size}.{name}": value for name, value in away.items()}
        ball = l1_ball_euclidean_projection(change, eps)
        exact = [projection(change[i : i + 1].numpy(), float(eps[i]), 1, suboptimal=False)[0] for i in range(rows)]
        tables |= {f"ball.{size}.adv_lib": ball, f"ball.{size}.art": torch.from_numpy(np.stack(exact))}
    return tables


def hyperplane(draw: torch.Generator) -> dict[str, Tensor]:
    """The smallest change of x, within the box, that reaches <w, p> = b, in three norms; some planes are out of reach."""
    tables: dict[str, Tensor] = {}
    for size in (5, 48):
        x, w = torch.rand(30, size, generator=draw), torch.randn(30, size, generator=draw)
        x[:, ::4] = x[:, ::4].round()
        w[:, ::6] = 0
        goal = torch.rand(30, size, generator=draw)
        b = (w * goal).sum(1)
        b[::10] += 10  # which no point of the box reaches
        some: dict[str, Any] = {"x": x, "w": w, "b": b}
        for norm in ("l1", "l2", "linf"):
            some[norm] = getattr(fab_projections, f"projection_{norm}")(x, w, b)
            some[f"adv_lib_{norm}"] = getattr(adv_lib_fab, f"projection_{norm}")(x, w, b)
        tables |= {f"{name}.{size}": value for name, value in some.items()}
    return tables


def make(write: Callable[..., None]) -> None:
    draw = torch.Generator().manual_seed(6)
    write("l1_projection", l1(draw))
    write("hyperplane", hyperplane(draw))
