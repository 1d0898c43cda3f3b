"""Golden files of AutoAttack's parts, from its authors' code: APGD with its losses, L1-APGD, FAB, and their formulas."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from adv_lib.utils.losses import difference_of_logits_ratio
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

STEPS, SHOWN = 50, 2


class Quiet:
    """A logger that says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *words: None


class Seen(nn.Module):
    """Notes every batch the net is given, and what the routine that calls it keeps at that moment."""

    def __init__(self, net: nn.Module, loss: Callable[[Tensor], Tensor] | None, *kept: str) -> None:
        super().__init__()
        self.net, self.loss, self.kept = net, loss, kept
        self.points: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.tables: dict[str, list[Tensor]] = {name: [] for name in kept}

    def __call__(self, x: Tensor) -> Tensor:
        out = self.net(x)
        self.points.append(x.detach().clone())
        if self.loss is not None:
            self.losses.append(self.loss(out.detach()))
        for name in self.kept:
            value = sys._getframe(1).f_locals.get(name)
            self.tables[name].append(torch.full((len(x),), torch.nan) if value is None else value.flatten().clone())
        return out


def apgd(
    net: nn.Module, norm: str, loss: str, eps: float, x: Tensor, y: Tensor, start: Tensor, target: Tensor | None = None
) -> dict[str, Tensor]:
    """The authors' APGD from this start: each step's loss and step size, the best points, and the path of a few."""
    kind: Any = APGDAttack if target is None else APGDAttack_targeted
    seen = Seen(net, None, "step_size", *(["topk"] if norm == "L1" else []))
    options = {"n_iter": STEPS, "norm": norm, "eps": eps, "logger": Quiet()}
    attack = kind(seen, **options) if target is not None else kind(seen, loss=loss, **options)
    attack.y_target = target
    losses = {
        "ce": lambda out: nn.functional.cross_entropy(out, y, reduction="none"),
        "dlr": lambda out: attack.dlr_loss(out, y),
        "dlr-targeted": lambda out: attack.dlr_loss_targeted(out, y),
    }
    seen.loss = losses[attack.loss]
    attack.init_hyperparam(x)
    best = attack.attack_single_run(x, y, x_init=start)[0]
    tables = {
        "eps": torch.tensor(eps), "x": x, "y": y, "start": start, "best": best,
        "loss": torch.stack(seen.losses), "size": torch.stack(seen.tables["step_size"][1:]),
        "points": torch.stack(seen.points)[:, :SHOWN].to(torch.float32),
    }  # fmt: skip
    if target is not None:
        tables["target"] = target
    if norm == "L1":
        tables["share"] = torch.stack(seen.tables["topk"][1:])
    return tables


def runner_up(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The likeliest class but y: the authors' first target where y is answered."""
    return net(x).detach().scatter(1, y[:, None], -torch.inf).argmax(1)


def fab(net: nn.Module, norm: str, x: Tensor, y: Tensor, target: int | None) -> dict[str, Tensor]:
    """The authors' FAB from the input itself: its smallest witnesses after 10 and 40 steps, and the path of a few.

    `target` is a class by rank: 2 is the likeliest but y. Points where y is not answered are not attacked.
    """
    tables = {}
    for steps in (10, 40):
        seen = Seen(net, None)
        attack = FABAttack_PT(seen, norm=norm, n_iter=steps, eps=0.3, device=torch.device("cpu"))
        attack.target_class = target
        with torch.no_grad():
            found = attack.attack_single_run(x, y, use_rand_start=False, is_targeted=target is not None)
        tables[f"after_{steps}"] = found
        if steps == 10:
            started = 2 if target is None else 3  # two passes a step, after one or two over the inputs
            tables["path"] = torch.stack(seen.points[started - 1 :: 2])[:, :SHOWN]
    return tables


def dlr() -> dict[str, Tensor]:
    """The two losses on random logits of 3, 4, 10 and 1000 classes; every fifth row has ties at the top."""
    draw = torch.Generator().manual_seed(5)
    tables: dict[str, Tensor] = {}
    attack = APGDAttack_targeted(nn.Identity(), eps=1.0, logger=Quiet())
    for classes in (3, 4, 10, 1000):
        rows = 25 if classes < 1000 else 5
        z = 3 * torch.randn(rows, classes, generator=draw)
        z[::5, :2] = z[::5].amax(1, keepdim=True)
        y = torch.randint(classes, (rows,), generator=draw)
        attack.y_target = (y + torch.randint(1, classes, (rows,), generator=draw)) % classes
        some = {"logits": z, "y": y, "target": attack.y_target, "dlr": attack.dlr_loss(z, y)}
        some["adv_lib"] = -difference_of_logits_ratio(z, y)
        if classes > 3:
            some["dlr_targeted"] = attack.dlr_loss_targeted(z, y)
        tables |= {f"{name}.{classes}": value for name, value in some.items()}
    return tables


def schedule() -> dict[str, Tensor]:
    """Square's share of the image by query, for 5000 queries, as published and rescaled to the number of queries."""
    queries = torch.cat(
        [torch.arange(0, 5000, 7), torch.tensor([10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 4001])]
    )
    tables = {"queries": queries}
    for name, scaled in (("share", False), ("share_rescaled", True)):
        attack = SquareAttack(nn.Identity(), n_queries=5000, eps=0.3, p_init=0.8, resc_schedule=scaled)
        tables[name] = torch.tensor([attack.p_selection(int(q)) for q in queries])
    return tables


def make(write: Callable[..., None], net: nn.Module, grey: nn.Module, x: Tensor, inner: Tensor, y: Tensor) -> None:
    torch.manual_seed(1)
    eps = 0.1
    linf = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    write("apgd_linf", apgd(net, "Linf", "ce", eps, x, y, linf), net)
    eps = 0.39
    noise = torch.randn_like(x).flatten(1)
    start = inner + (eps * torch.rand(len(x), 1) * noise / noise.norm(dim=1, keepdim=True)).view_as(x)
    write("apgd_l2", apgd(grey, "L2", "ce", eps, inner, y, start), grey)
    edge = apgd(net, "L2", "ce", 1.0, x, y, x)
    write("apgd_l2_edge", {name: edge[name] for name in ("eps", "x", "y", "start", "best", "loss")}, net)

    write("apgd_dlr", apgd(net, "Linf", "dlr", 0.1, x, y, linf), net)
    targeted = apgd(net, "Linf", "dlr-targeted", 0.1, x, y, linf, runner_up(net, x, y))
    write("apgd_dlr_targeted", targeted, net)
    noise = torch.randn_like(x).flatten(1)
    start = (x + (2.0 * torch.rand(len(x), 1) * noise / noise.abs().sum(1, keepdim=True)).view_as(x)).clamp(0, 1)
    write("apgd_l1", apgd(net, "L1", "ce", 2.0, x, y, start), net)

    for norm in ("Linf", "L2", "L1"):
        tables = {"x": x, "y": y, "target": runner_up(net, x, y)}
        tables |= fab(net, norm, x, y, None) | {f"targeted_{k}": v for k, v in fab(net, norm, x, y, 2).items()}
        write(f"fab_{norm.lower()}", tables, net)
    write("dlr", dlr())
    write("square_schedule", schedule())
