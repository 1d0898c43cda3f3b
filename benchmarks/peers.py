"""The same PGD in other libraries, where they are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from cases import Case
from torch import Tensor


def torchattacks_pgd(case: Case, steps: int) -> Callable[[], Tensor]:
    """torchattacks.PGD without a random start."""
    import torchattacks

    attack = torchattacks.PGD(case.net, eps=case.eps, alpha=case.step, steps=steps, random_start=False)
    return lambda: attack(case.x, case.y)


def foolbox_pgd(case: Case, steps: int) -> Callable[[], Tensor]:
    """foolbox.attacks.LinfPGD without a random start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox

    model = foolbox.PyTorchModel(case.net, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=case.step, steps=steps, random_start=False)
    return lambda: attack(model, case.x, case.y, epsilons=case.eps)[1]


PEERS = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd}


def installed(case: Case, steps: int) -> dict[str, Callable[[], Tensor]]:
    """Those that can be imported; the others are named once by `missing`."""
    found = {}
    for name, build in PEERS.items():
        try:
            found[name] = build(case, steps)
        except ImportError:
            continue
    return found


def missing() -> list[str]:
    """Those that cannot be imported, each with the reason."""
    absent = []
    for name in PEERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                __import__(name)
        except ImportError as error:
            absent.append(f"{name}: skipped ({error})")
    return absent
