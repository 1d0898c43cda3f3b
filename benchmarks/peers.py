"""The same PGD, and AutoAttack, in other libraries, where they are installed."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec

import numpy as np
from cases import Case
from torch import Tensor, nn


def torchattacks_pgd(case: Case, steps: int) -> Callable[[], Tensor]:
    """torchattacks.PGD without a random start."""
    import torchattacks

    attack = torchattacks.PGD(case.net, eps=case.eps, alpha=case.step, steps=steps, random_start=False)
    return lambda: attack(case.x, case.y)


def foolbox_pgd(case: Case, steps: int) -> Callable[[], Tensor]:
    """foolbox.attacks.LinfPGD without a random start."""
    import foolbox

    model = foolbox.PyTorchModel(case.net, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=case.step, steps=steps, random_start=False)
    return lambda: attack(model, case.x, case.y, epsilons=case.eps)[1]


def art_pgd(case: Case, steps: int) -> Callable[[], np.ndarray]:
    """ProjectedGradientDescentPyTorch of the adversarial-robustness-toolbox, one batch, no random start."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    shape, classes = case.x.shape[1:], case.net(case.x[:1]).shape[1]
    model = PyTorchClassifier(
        case.net, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        model, norm=np.inf, eps=case.eps, eps_step=case.step, max_iter=steps, num_random_init=0, batch_size=len(case.x),
        verbose=False,
    )  # fmt: skip
    x, y = case.x.numpy(), case.y.numpy()
    return lambda: attack.generate(x, y)


def adv_lib_pgd(case: Case, steps: int) -> Callable[[], Tensor]:
    """adv_lib.attacks.pgd_linf without a random start."""
    with _stand_ins("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.datasets", "visdom"):
        from adv_lib.attacks import pgd_linf

    options = {"steps": steps, "random_init": False, "absolute_step_size": case.step}
    return lambda: pgd_linf(case.net, case.x, case.y, case.eps, **options)


PEERS = {"torchattacks": torchattacks_pgd, "Foolbox": foolbox_pgd, "ART": art_pgd, "adv-lib": adv_lib_pgd}


def installed(case: Case, steps: int) -> dict[str, Callable[[], object]]:
    """Those that can be imported; the others are named once by `missing`."""
    found: dict[str, Callable[[], object]] = {}
    for name, build in PEERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = build(case, steps)
        except ImportError:
            continue
    return found


def missing(case: Case) -> list[str]:
    """Those that cannot be imported, each with the reason."""
    absent = []
    for name, build in PEERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                build(case, 1)
        except ImportError as error:
            absent.append(f"{name}: skipped ({error})")
    return absent


@contextmanager
def _stand_ins(*names: str) -> Iterator[None]:
    """adv-lib imports torchvision and visdom, which its attacks do not use: empty modules where they are not installed."""
    made = []
    for name in names:
        try:
            __import__(name)
        except ImportError:
            module = types.ModuleType(name)
            module.__getattr__ = _empty  # type: ignore[method-assign]
            module.__path__, module.__spec__ = [], ModuleSpec(name, None, is_package=True)
            sys.modules[name] = module
            made.append(name)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def _empty(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
