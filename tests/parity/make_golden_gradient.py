"""Golden files of the gradient family: FGSM and what grew out of it, in Foolbox, torchattacks, ART and adv-lib."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchattacks
from adv_lib.attacks.projected_gradient_descent import _pgd_linf
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import foolbox
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier


def foolbox_from(
    kind: str, net: nn.Module, x: Tensor, y: Tensor, eps: float, start: Tensor | None, **options: Any
) -> Tensor:
    """One of Foolbox's attacks; its `get_random_start` hands out the start that is given."""
    attack = getattr(foolbox.attacks, kind)(random_start=start is not None, **options)
    if start is not None:
        import eagerpy

        attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(start)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    found: Tensor = attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=eps)
    return found


def art_pgd(net: nn.Module, x: Tensor, y: Tensor, norm: float, eps: float, step: float, steps: int) -> Tensor:
    """ART's PGD for PyTorch, from the clean input, in float64: each of its modules has its own copy of the type."""
    for name in [name for name in sys.modules if name.startswith("art.")]:
        if hasattr(sys.modules[name], "ART_NUMPY_DTYPE"):
            sys.modules[name].ART_NUMPY_DTYPE = np.float64  # type: ignore[attr-defined]
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0.0, 1.0), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        model, norm=norm, eps=eps, eps_step=step, max_iter=steps, num_random_init=0, batch_size=len(x), verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), np.asarray(y)))


def drawn(seed: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linf(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Everything within L-infinity: 10 steps of a fifth of the radius."""
    eps, step = 0.1, 0.02
    start = (x + eps * (2 * drawn(1, x.shape).sigmoid() - 1)).clamp(0, 1)
    torch.manual_seed(2)
    nudged = (x + eps / 2 * torch.randn_like(x).sign()).clamp(0, 1)  # what R+FGSM starts from, drawn as it draws
    torch.manual_seed(2)
    r_fgsm = torchattacks.RFGSM(net, eps=eps, alpha=eps / 2, steps=1)(x, y)
    adam = {"abs_stepsize": step, "steps": 10}
    reached, best = _pgd_linf(
        net, x, y, torch.full((len(x),), eps), steps=11, random_init=False, absolute_step_size=step
    )
    return {
        "x": x, "y": y, "eps": torch.tensor(eps), "step": torch.tensor(step), "start": start, "nudged": nudged,
        "fgsm": torchattacks.FGSM(net, eps=eps)(x, y),
        "i_fgsm": torchattacks.BIM(net, eps=eps, alpha=step, steps=10)(x, y),
        "mi_fgsm": torchattacks.MIFGSM(net, eps=eps, alpha=step, steps=10, decay=1.0)(x, y),
        "ni_fgsm": torchattacks.NIFGSM(net, eps=eps, alpha=step, steps=10, decay=1.0)(x, y),
        "r_fgsm": r_fgsm,
        "pgd": foolbox_from("LinfPGD", net, x, y, eps, start, abs_stepsize=step, steps=10),
        "art_pgd": art_pgd(net, x, y, np.inf, eps, step, 10),
        "adv_lib_pgd": best, "adv_lib_reached": reached,
        "adam_pgd": foolbox_from("LinfAdamPGD", net, x, y, eps, start, **adam),
    }  # fmt: skip


def inside(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Within L2 and L1, where balls do not reach the box: 10 steps of a fifth of the radius."""
    eps, step = 0.39, 0.078
    noise = drawn(3, x.shape).flatten(1)
    share = drawn(4, torch.Size([len(x), 1])).sigmoid()
    start = x + (eps * share * noise / noise.norm(dim=1, keepdim=True)).view_as(x)
    return {
        "x": x, "y": y, "eps": torch.tensor(eps), "step": torch.tensor(step), "start": start,
        "pgd_l2": foolbox_from("L2PGD", net, x, y, eps, start, abs_stepsize=step, steps=10),
        "pgd_l2_clean": torchattacks.PGDL2(net, eps=eps, alpha=step, steps=10, random_start=False)(x, y),
        "adam_pgd_l2": foolbox_from("L2AdamPGD", net, x, y, eps, start, abs_stepsize=step, steps=10),
        # ten steps that together do not leave the ball: ART would shrink onto it, and Foolbox's projection onto L1 is off
        "pgd_l1": art_pgd(net, x, y, 1, eps, eps / 10, 10), "step_l1": torch.tensor(eps / 10),
        "slide": foolbox_from("SparseL1DescentAttack", net, x, y, eps, None, abs_stepsize=eps / 10, steps=10, quantile=0.9),
    }  # fmt: skip


def make(write: Callable[..., None], net: nn.Module, grey: nn.Module, x: Tensor, inner: Tensor, y: Tensor) -> None:
    write("fgsm_family", linf(net, x, y), net)
    write("pgd_inside", inside(grey, inner, y), grey)
