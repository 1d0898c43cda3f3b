"""Golden files of the minimum-norm attacks by steps of fixed cost: DDN, FMN, ALMA and PDPGD in adv-lib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from adv_lib.attacks.augmented_lagrangian import alma
from adv_lib.attacks.decoupled_direction_norm import ddn
from adv_lib.attacks.fast_minimum_norm import fmn
from adv_lib.attacks.primal_dual_gradient_descent import pdpgd
from torch import Tensor, nn

STEPS = 60
ORDERS = {"l0": 0, "l1": 1, "l2": 2, "linf": float("inf")}


def make(write: Callable[..., None], net: nn.Module, x: Tensor, y: Tensor) -> None:
    single, torch.float = torch.float, torch.float64  # which adv-lib asks for by that name
    try:
        write("minimum", tables_of(net, x, y), net)
    finally:
        torch.float = single


def tables_of(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    tables: dict[str, Any] = {"x": x, "y": y, "ddn_l2": ddn(net, x, y, steps=STEPS, levels=None)}
    for norm, order in ORDERS.items():
        tables[f"fmn_{norm}"] = fmn(net, x, y, norm=order, steps=STEPS)
        sparse = 23 if norm == "l0" else None  # of L0 itself the operator keeps or drops values by their size alone
        tables[f"pdpgd_{norm}"] = pdpgd(net, x, y, norm=order, num_steps=STEPS, proximal_operator=sparse)
    for norm in ("l1", "l2"):
        tables[f"alma_{norm}"] = alma(net, x, y, num_steps=STEPS, distance=norm, logit_tolerance=0.0)
    return tables
