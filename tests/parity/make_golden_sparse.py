"""Golden files of the sparse attacks: JSMA in torchattacks and ART, sigma-zero and VFGA in adv-lib."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchattacks
from adv_lib.attacks.sigma_zero import sigma_zero
from adv_lib.attacks.stochastic_sparse_attacks import vfga
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from art.attacks.evasion import SaliencyMapMethod
    from art.estimators.classification import PyTorchClassifier

STEPS, DRAWS = 60, 6


def art_jsma(net: nn.Module, x: Tensor, target: Tensor, theta: float) -> Tensor:
    """ART takes the two largest derivatives of the target alone: of probabilities, which sum to 1, that is the paper's rule."""
    for name in [name for name in sys.modules if name.startswith("art.")]:
        if hasattr(sys.modules[name], "ART_NUMPY_DTYPE"):
            sys.modules[name].ART_NUMPY_DTYPE = np.float64  # type: ignore[attr-defined]
    model = nn.Sequential(net, nn.Softmax(1))
    model_ = PyTorchClassifier(model, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0.0, 1.0), device_type="cpu")
    attack = SaliencyMapMethod(model_, theta=theta, gamma=0.5, batch_size=1, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), np.asarray(target)))


def fixed_vfga(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """VFGA with the same draws at every step and side: even numbers from 0.1 to 1.5."""
    drawn, own = torch.linspace(0.1, 1.5, DRAWS, dtype=torch.float64), torch.randn
    torch.randn = lambda rows, *_, **__: drawn.expand(rows, -1).clone()  # type: ignore[assignment]
    try:
        found: Tensor = vfga(net, x, y, targeted=False, n_samples=DRAWS)
    finally:
        torch.randn = own  # type: ignore[assignment]
    return found


def make(write: Callable[..., None], net: nn.Module, x: Tensor, y: Tensor) -> None:
    target = (y + 1) % 10  # which torchattacks takes by itself
    tables: dict[str, Any] = {
        "x": x, "y": y, "target": target,
        "jsma_up": torchattacks.JSMA(net, theta=1.0, gamma=0.5)(x, y),
        "jsma_down": torchattacks.JSMA(net, theta=-1.0, gamma=0.5)(x, y),
        "art_down": art_jsma(net, x, target, -1.0),
        "art_up": art_jsma(net, x, target, 1.0), "art_part": art_jsma(net, x, target, 0.3),
        "sigma_zero": sigma_zero(net, x, y, num_steps=STEPS),
        "vfga": fixed_vfga(net, x, y),
    }  # fmt: skip
    write("sparse", tables, net)
