"""Makes the golden files of the parity tests from the peers' own code, run on the same net, inputs and starts.

    PYTHONPATH=tests:PATH_TO_AUTO_ATTACK python tests/parity/make_golden.py

It needs torchattacks 3.5.1 (`pip install --no-deps torchattacks==3.5.1`) and a checkout of fra31/auto-attack at commit
a392200; neither is needed to run the tests. The files were made with torch 2.13.0 on a CPU, everything in float64.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchattacks
from autoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from ironbound.data import load
from parity.small_net import small_net

HERE = Path(__file__).parent / "golden"
COUNT, STEPS, SHOWN = 20, 50, 4


def trained(low: float, high: float) -> nn.Sequential:
    """The small net after a few hundred steps on the training digits, squeezed into [low, high]."""
    data = load("digits:train")
    pictures = low + (high - low) * data.x
    torch.manual_seed(0)
    net = small_net().train()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(300):
        rows = torch.randint(len(data.y), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pictures[rows]), data.y[rows]).backward()
        optimizer.step()
    return net.eval().to(torch.float64)


class Seen(nn.Module):
    """Notes every batch the net is given, the losses, and the step size of the routine that calls it."""

    def __init__(self, net: nn.Module, y: Tensor) -> None:
        super().__init__()
        self.net, self.y = net, y
        self.points: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.sizes: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        out = self.net(x)
        self.points.append(x.detach().clone())
        self.losses.append(nn.functional.cross_entropy(out.detach(), self.y, reduction="none"))
        size = sys._getframe(1).f_locals.get("step_size")
        self.sizes.append(torch.full((len(x),), torch.nan) if size is None else size.flatten().clone())
        return out


def apgd_trace(net: nn.Module, norm: str, eps: float, x: Tensor, y: Tensor, start: Tensor) -> dict[str, Tensor]:
    """The official APGD on the cross-entropy, from this start."""
    seen = Seen(net, y)
    attack = APGDAttack(seen, n_iter=STEPS, norm=norm, eps=eps, loss="ce")
    attack.init_hyperparam(x)
    best = attack.attack_single_run(x, y, x_init=start)[0]
    return {
        "eps": torch.tensor(eps), "x": x, "y": y, "start": start, "best": best,
        "loss": torch.stack(seen.losses), "size": torch.stack(seen.sizes[1:]),
        "points": torch.stack(seen.points)[:, :SHOWN].float(),
    }  # fmt: skip


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {f"net.{name}": value.float() for name, value in net.state_dict().items()}


def write(name: str, tables: dict[str, Tensor]) -> None:
    arrays: dict[str, Any] = {key: np.asarray(value) for key, value in tables.items()}
    np.savez_compressed(HERE / f"{name}.npz", **arrays)


def main() -> None:
    net, grey = trained(0.0, 1.0), trained(0.4, 0.6)
    torch.set_default_dtype(torch.float64)  # the official code keeps losses and step sizes in the default type
    data = load("digits:test")
    x, y = data.x[:COUNT].double(), data.y[:COUNT]
    torch.manual_seed(1)

    eps, step = 0.1, 0.02
    write("fgsm_family", weights(net) | {
        "x": x, "y": y, "eps": torch.tensor(eps), "step": torch.tensor(step),
        "i_fgsm": torchattacks.BIM(net, eps=eps, alpha=step, steps=10)(x, y),
        "mi_fgsm": torchattacks.MIFGSM(net, eps=eps, alpha=step, steps=10, decay=1.0)(x, y),
    })  # fmt: skip

    start = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    write("apgd_linf", weights(net) | apgd_trace(net, "Linf", eps, x, y, start))

    eps, inner = 0.39, 0.4 + 0.2 * x  # so that no ball reaches the box, where the two projections differ
    noise = torch.randn_like(x).flatten(1)
    start = inner + (eps * torch.rand(COUNT, 1) * noise / noise.norm(dim=1, keepdim=True)).view_as(x)
    write("apgd_l2", weights(grey) | apgd_trace(grey, "L2", eps, inner, y, start))
    edge = apgd_trace(net, "L2", 1.0, x, y, x)
    write("apgd_l2_edge", weights(net) | {name: edge[name] for name in ("eps", "x", "y", "start", "best", "loss")})


if __name__ == "__main__":
    main()
