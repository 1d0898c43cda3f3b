"""Golden files of the attacks that linearise: DeepFool, SuperDeepFool, the trust region attack and SparseFool of the peers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import torch
import torchattacks
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import foolbox

STEPS = 50


def deepfool(kind: str, net: nn.Module, x: Tensor, y: Tensor, extra: float) -> Tensor:
    """Foolbox's DeepFool, with `extra` in input units beyond each plane where it has 1e-4."""
    attack = getattr(foolbox.attacks, kind)(steps=STEPS)
    step = attack.get_perturbations
    attack.get_perturbations = lambda distances, grads: step(distances + (extra - 1e-4), grads)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    found: Tensor = attack.run(model, x, foolbox.criteria.Misclassification(y))
    return found


def of(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What each peer ends at."""
    from adv_lib.attacks.deepfool import df
    from adv_lib.attacks.superdeepfool import sdf
    from adv_lib.attacks.trust_region import tr

    single = copy.deepcopy(net).to(torch.float32)
    return {
        "x": x, "y": y,
        "bare_l2": deepfool("L2DeepFoolAttack", net, x, y, 0.0), "bare_linf": deepfool("LinfDeepFoolAttack", net, x, y, 0.0),
        "foolbox_l2": deepfool("L2DeepFoolAttack", net, x, y, 1e-4),
        "foolbox_linf": deepfool("LinfDeepFoolAttack", net, x, y, 1e-4),
        "adv_lib_l2": df(net, x, y, steps=STEPS), "adv_lib_linf": df(net, x, y, steps=STEPS, norm=float("inf")),
        "torchattacks_l2": torchattacks.DeepFool(net, steps=STEPS)(x, y),
        "superdeepfool_l2": sdf(net, x, y, steps=10, df_steps=STEPS).detach(),
        "trust_region_l2": tr(single, x.to(torch.float32), y, adaptive=True).double(),  # whose radii are float32
        "trust_region_linf": tr(single, x.to(torch.float32), y, adaptive=True, p=float("inf")).double(),
        "sparsefool": torchattacks.SparseFool(net, steps=20, lam=3)(x, y),
    }  # fmt: skip


def make(write: Callable[..., None], net: nn.Module, grey: nn.Module, x: Tensor, inner: Tensor, y: Tensor) -> None:
    write("deepfool", of(net, x, y), net)
    write("deepfool_inside", of(grey, inner, y), grey)
