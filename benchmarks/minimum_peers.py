"""Minimum-norm and sparse attacks of other libraries: adv-lib, Foolbox, torchattacks and ART, where they are installed.

Each is a function (net, x, y) -> (adversarial inputs, what the library itself calls a success, or None where it says nothing).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import peers
import torch
from torch import Tensor, nn

Found = tuple[Tensor, Tensor | None]
STAND_INS = ("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.datasets", "visdom")
PACKAGES = {"adv-lib": "adv_lib", "Foolbox": "foolbox", "torchattacks": "torchattacks", "ART": "art"}
SLOW = 25
"""Samples for what runs one image at a time,"""
FEW = 8
"""and for what takes seconds for each."""


@dataclass(frozen=True)
class Rival:
    """An attack of a library at some settings."""

    library: str
    words: str
    """Name and settings as the library has them."""
    run: Callable[[nn.Module, Tensor, Tensor], Found]
    samples: int | None = None
    """How many it is run on; None: all."""


def adv_lib(name: str, **settings: Any) -> Rival:
    def run(net: nn.Module, x: Tensor, y: Tensor) -> Found:
        with peers._stand_ins(*STAND_INS):
            import adv_lib.attacks

        return getattr(adv_lib.attacks, name)(net, x, y, **settings).detach(), None

    return Rival("adv-lib", _words(name, settings), run)


def foolbox(name: str, **settings: Any) -> Rival:
    def run(net: nn.Module, x: Tensor, y: Tensor) -> Found:
        import foolbox

        _, made, said = getattr(foolbox.attacks, name)(**settings)(
            foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilons=None
        )
        return made.detach(), said

    return Rival("Foolbox", _words(name, settings), run)


def torchattacks(name: str, samples: int | None = None, **settings: Any) -> Rival:
    def run(net: nn.Module, x: Tensor, y: Tensor) -> Found:
        import torchattacks

        attack = getattr(torchattacks, name)(net, **settings)
        return attack(x, y).detach(), None

    return Rival("torchattacks", _words(name, settings), run, samples)


def art(name: str, samples: int = SLOW, **settings: Any) -> Rival:
    def run(net: nn.Module, x: Tensor, y: Tensor) -> Found:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        classes = 10
        model = PyTorchClassifier(
            net, nn.CrossEntropyLoss(), x.shape[1:], classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = getattr(evasion, name)(model, batch_size=len(x), verbose=False, **settings)
        return torch.from_numpy(attack.generate(x.numpy(), np.eye(classes)[y.numpy()])).float(), None

    return Rival("ART", _words(name, settings), run, samples)


def _words(name: str, settings: dict[str, Any]) -> str:
    said = ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items()
    )
    return f"{name}({said})"


def _fmn(p: float, name: str, steps: int) -> list[Rival]:
    return [adv_lib("fmn", norm=p, steps=steps), foolbox(name, steps=steps)]


inf = float("inf")
RIVALS: dict[tuple[str, str], list[Rival]] = {
    ("deepfool", "l2"): [
        adv_lib("df", steps=50), foolbox("L2DeepFoolAttack", steps=50), torchattacks("DeepFool", SLOW, steps=50),
        art("DeepFool", max_iter=50),
    ],
    ("deepfool", "linf"): [adv_lib("df", steps=50, norm=inf), foolbox("LinfDeepFoolAttack", steps=50)],
    ("superdeepfool", "l2"): [adv_lib("sdf", steps=50)],
    ("cw", "l2"): [
        adv_lib("carlini_wagner_l2", binary_search_steps=9, max_iterations=100),
        foolbox("L2CarliniWagnerAttack", binary_search_steps=9, steps=100), torchattacks("CW", steps=900),
        art("CarliniL2Method", FEW, binary_search_steps=9, max_iter=100),
    ],
    ("cw", "linf"): [adv_lib("carlini_wagner_linf", max_iterations=100)],
    ("ead", "l1"): [
        foolbox("EADAttack", binary_search_steps=9, steps=100, decision_rule="L1"),
        torchattacks("EADL1", binary_search_steps=9, max_iterations=100),
        art("ElasticNet", FEW, binary_search_steps=9, max_iter=100, decision_rule="L1"),
    ],
    ("ddn", "l2"): [adv_lib("ddn", steps=100), foolbox("DDNAttack", steps=100)],
    ("fmn", "l2"): _fmn(2, "L2FMNAttack", 100),
    ("fmn", "linf"): _fmn(inf, "LInfFMNAttack", 100),
    ("fmn", "l1"): _fmn(1, "L1FMNAttack", 100),
    ("fmn", "l0"): _fmn(0, "L0FMNAttack", 100),
    ("alma", "l2"): [adv_lib("alma", num_steps=300)],
    ("alma", "l1"): [adv_lib("alma", num_steps=300, distance="l1")],
    ("pdpgd", "l2"): [adv_lib("pdpgd", norm=2, num_steps=300)],
    ("pdpgd", "linf"): [adv_lib("pdpgd", norm=inf, num_steps=300)],
    ("pdpgd", "l1"): [adv_lib("pdpgd", norm=1, num_steps=300)],
    ("trust_region", "l2"): [adv_lib("tr", iter=100, p=2)],
    ("trust_region", "linf"): [adv_lib("tr", iter=100, p=inf)],
    ("fab", "l2"): [adv_lib("fab", norm=2, n_iter=50)],
    ("fab", "linf"): [adv_lib("fab", norm=inf, n_iter=50)],
    ("fab", "l1"): [adv_lib("fab", norm=1, n_iter=50)],
    ("sigma_zero", "l0"): [adv_lib("sigma_zero", num_steps=300)],
    ("vfga", "l0"): [adv_lib("vfga", targeted=False)],
    ("jsma", "l0"): [torchattacks("JSMA", SLOW, theta=1.0, gamma=0.1), art("SaliencyMapMethod", theta=1.0, gamma=0.1)],
    ("sparsefool", "l0"): [torchattacks("SparseFool", SLOW, steps=20, lam=3)],
}  # fmt: skip
"""For each attack of ours, in each norm, those that have it; passes are equal where an attack counts them."""


def installed(rival: Rival) -> bool:
    return find_spec(PACKAGES[rival.library]) is not None


def quiet(rival: Rival, net: nn.Module, x: Tensor, y: Tensor) -> Found:
    """Run it without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rival.run(net, x, y)


def bound(rival: Rival, x: Tensor, y: Tensor) -> Callable[[nn.Module], Found]:
    """The attack on these inputs, as a function of the net."""
    return partial(_on, rival, x, y)


def _on(rival: Rival, x: Tensor, y: Tensor, net: nn.Module) -> Found:
    return quiet(rival, net, x, y)
