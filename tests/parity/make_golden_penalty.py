"""Golden files of the penalty attacks: Carlini and Wagner in Foolbox, adv-lib, ART and torchattacks, EAD, SciPy's L-BFGS-B."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torchattacks
from adv_lib.attacks.carlini_wagner import carlini_wagner_linf
from scipy import optimize
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import foolbox
    from art.attacks.evasion import CarliniL0Method
    from art.estimators.classification import PyTorchClassifier

STEPS, SEARCHES, FEW = 100, 9, 4


def by_foolbox(name: str, net: nn.Module, x: Tensor, y: Tensor, **settings: object) -> tuple[Tensor, Tensor]:
    """What it returns, and what it calls a success."""
    attack = getattr(foolbox.attacks, name)(**settings)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, found, said = attack(model, x, foolbox.criteria.Misclassification(y), epsilons=None)
    return found, said


def by_art(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Carlini and Wagner's L0 attack."""
    for name in [name for name in sys.modules if name.startswith("art.")]:
        if hasattr(sys.modules[name], "ART_NUMPY_DTYPE"):
            sys.modules[name].ART_NUMPY_DTYPE = np.float64  # type: ignore[attr-defined]
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0.0, 1.0), device_type="cpu")
    attack = CarliniL0Method(model, binary_search_steps=5, max_iter=20, batch_size=1, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), np.eye(10)[y.numpy()]))


def by_scipy(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The smallest witness of |p - x|^2 - c cross-entropy: L-BFGS-B for one c after the other, by the same bisection."""
    best = x.clone()
    for i in range(len(x)):
        c, low, high, size = 1e-2, 0.0, float("inf"), float("inf")
        for _ in range(SEARCHES):

            def both(p: np.ndarray, i: int = i, c: float = c) -> tuple[float, np.ndarray]:
                leaf = torch.from_numpy(p).reshape(1, *x.shape[1:]).requires_grad_()
                value = (leaf - x[i]).square().sum() - c * nn.functional.cross_entropy(net(leaf), y[i : i + 1])
                return float(value), torch.autograd.grad(value, leaf)[0].numpy().ravel()

            end = optimize.minimize(both, x[i].numpy().ravel(), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * x[i].numel(),
                                    options={"maxfun": 50})  # fmt: skip
            point = torch.from_numpy(end.x).reshape(x[i].shape)
            won = int(net(point[None]).argmax()) != int(y[i])
            if won and float((point - x[i]).norm()) < size:
                best[i], size = point, float((point - x[i]).norm())
            low, high = (low, min(high, c)) if won else (c, high)
            c = c * 10 if high == float("inf") else (low + high) / 2
    return best


def make(write: Callable[..., None], net: nn.Module, x: Tensor, y: Tensor) -> None:
    single = copy.deepcopy(net).to(torch.float32)  # adv-lib keeps its tables in single precision
    own = {"binary_search_steps": SEARCHES, "steps": STEPS}
    cw, _ = by_foolbox("L2CarliniWagnerAttack", net, x, y, **own, abort_early=False)
    black, said = by_foolbox("L2CarliniWagnerAttack", net, x, y, binary_search_steps=1, steps=10)
    ead, _ = by_foolbox("EADAttack", net, x, y, **own, decision_rule="L1")
    write("penalty", {
        "x": x, "y": y, "cw_l2": cw, "black": black, "black_said": said, "ead": ead,
        "cw_linf": carlini_wagner_linf(single, x.to(torch.float32), y, max_iterations=STEPS).detach().double(),
        "torchattacks_cw": torchattacks.CW(net, steps=SEARCHES * STEPS)(x, y),
        "cw_l0": by_art(net, x[:FEW], y[:FEW]), "lbfgs": by_scipy(net, x, y),
    }, net)  # fmt: skip
