"""auto_LiRPA (Xu et al. 2020, arXiv 2002.12920) on the same stages: live from a checkout, or as it was measured before.

Its setup.py asks for an older torch, so it is never installed: the environment variable AUTO_LIRPA names a checkout of
github.com/Verified-Intelligence/auto_LiRPA, and stand-ins take the place of what it imports and does not use here.
"""

from __future__ import annotations

import os
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peers import _stand_ins
from torch import Tensor, nn

ITERATIONS = 20
RATE = 0.1
BATCH: dict[str, int] = {"ibp": 32, "crown-ibp": 32, "crown": 1, "alpha, last layer": 32, "alpha, all layers": 8}
"""Images a batch at which it is cheapest, of 1, 2, 4, 8, 16 and 32: the backward pass of more leaves the cache."""
BATCH_OF = {("CIFAR cnn_a_adv, 2/255", "alpha, all layers"): 4}
MEASURED = (
    "auto_LiRPA 0.7.1 (May 2026, a050a3d) was run before, on 2026-11-22, on the same machine: its best batch, CPU seconds of one "
    "thread, on an AMD EPYC with torch 2.13.0 and other work beside."
)


def _line(tried: int, certified: int, cpu: float) -> dict[str, Any]:
    return {"tried": tried, "certified": certified, "cpu": cpu}


RECORDED: dict[str, dict[str, dict[str, Any]]] = {
    "CIFAR cnn_a_adv, 2/255": {
        "ibp": _line(140, 0, 0.034), "crown-ibp": _line(140, 0, 0.333), "crown": _line(140, 71, 5.38),
        "alpha, last layer": _line(30, 1, 2.40), "alpha, all layers": _line(30, 2, 57.5),
    },
    "MNIST cnn_a_adv, 0.3": {
        "ibp": _line(195, 0, 0.036), "crown-ibp": _line(195, 0, 0.323), "crown": _line(195, 2, 7.57),
        "alpha, last layer": _line(155, 5, 10.1), "alpha, all layers": _line(155, 29, 198.9),
    },
}  # fmt: skip


def words() -> str:
    """Where the peer's figures are from."""
    return "auto_LiRPA ran in alternation with ours." if "AUTO_LIRPA" in os.environ else MEASURED


def found(net: nn.Module, x: Tensor) -> Peer | None:
    """The peer wrapped around the net; None where no checkout is named."""
    place = os.environ.get("AUTO_LIRPA")
    if place is None:
        return None
    if place not in sys.path:
        sys.path.append(place)
    with _stand_ins("graphviz", "appdirs"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        appdirs: Any = sys.modules.get("appdirs")
        if isinstance(appdirs, types.ModuleType) and getattr(appdirs, "__file__", None) is None:
            appdirs.user_data_dir = lambda *_: place
        return Peer(net, x)


class Peer:
    """auto_LiRPA around a net. A normalisation is taken off, and its boxes are those of normalised inputs: less to do for it."""

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        from auto_LiRPA import BoundedModule

        self.mean, self.std = getattr(net, "mean", torch.zeros(())), getattr(net, "std", torch.ones(()))
        inner = getattr(net, "net", net)
        self.module = BoundedModule(inner, self._normal(x[:2]), bound_opts={"conv_mode": "patches"}, device="cpu")

    def _normal(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def prepared(self, stage: str, net: Any, index: Tensor) -> Callable[[], Tensor]:
        """Which of the inputs it proves, as a call without arguments; what earlier stages found is found here and not timed."""
        step = {
            "ibp": partial(self._plain, "IBP"), "crown-ibp": partial(self._plain, "CROWN-IBP"),
            "crown": partial(self._plain, "CROWN"), "alpha, last layer": partial(self._alpha, True),
            "alpha, all layers": partial(self._alpha, False),
        }[stage]  # fmt: skip
        inputs = [self._box(net, part) for part in index.split(BATCH_OF.get((net.name, stage), BATCH[stage]))]
        last = stage == "alpha, last layer"
        known = [self._intermediate(*one) if last else None for one in inputs]
        return lambda: torch.cat([step(*one, bounds) for one, bounds in zip(inputs, known, strict=True)])

    def _box(self, net: Any, index: Tensor) -> tuple[Any, Tensor]:
        """The perturbed inputs and the margins' matrix (n, classes - 1, classes)."""
        from auto_LiRPA import BoundedTensor, PerturbationLpNorm

        x, y = net.x[index], net.y[index]
        ends = {side: self._normal((x + sign * net.eps).clamp(0, 1)) for side, sign in (("x_L", -1), ("x_U", 1))}
        with torch.no_grad():
            classes = net.net(x[:1]).shape[1]
        eye = torch.eye(classes)
        others = torch.arange(classes)[None] != y[:, None]
        against = (eye[y][:, None] - eye[None])[others].view(len(y), classes - 1, classes)
        return BoundedTensor(self._normal(x), PerturbationLpNorm(norm=float("inf"), **ends)), against

    def _plain(self, method: str, x: Any, against: Tensor, _: Any = None) -> Tensor:
        with torch.no_grad():
            least, _ = self.module.compute_bounds(x=(x,), C=against, method=method, bound_upper=False)
        return (least > 0).all(1)

    def _intermediate(self, x: Any, against: Tensor) -> dict[str, list[Tensor]]:
        """CROWN's bounds of what goes into the ReLUs."""
        self._plain("CROWN", x, against)
        before = [part.inputs[0] for part in self.module.get_enabled_opt_act()]
        return {part.name: [part.lower.detach().clone(), part.upper.detach().clone()] for part in before}

    def _alpha(self, last: bool, x: Any, against: Tensor, given: Any) -> Tensor:
        from auto_LiRPA.utils import stop_criterion_min

        settings = {
            "iteration": ITERATIONS, "lr_alpha": RATE, "fix_interm_bounds": last, "init_alpha": False,
            "stop_criterion_func": stop_criterion_min(0),
        }  # fmt: skip
        self.module.set_bound_opts({"optimize_bound_args": settings})
        _, _, first = self.module.init_alpha(
            (x,), share_alphas=False, c=against, bound_upper=False, interm_bounds=given
        )
        bounds = {"interm_bounds": given} if last else {"reference_bounds": first}
        least, _ = self.module.compute_bounds(x=(x,), C=against, method="CROWN-Optimized", bound_upper=False, **bounds)
        return (least.detach() > 0).all(1)
