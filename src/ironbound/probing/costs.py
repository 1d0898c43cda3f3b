"""What the named methods cost, counted: `python -m ironbound.probing.costs` counts again, and a test holds the tables to it.

Counted on a net of two layers that tells ten classes of 3 x 8 x 8 pictures apart, at default settings. Attacks: one picture,
which does not break. Bounds: one picture and the Linf ball, what they do as forward rows. Trainings: one epoch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.catalogue import Entry
from ironbound.core.rng import forked
from ironbound.models.model import Model
from ironbound.probing.access import examples, sets_of

ATTACKS: dict[str, tuple[int, int]] = {
    "noise": (100, 0), "fgsm": (2, 1), "r_fgsm": (2, 1), "i_fgsm": (11, 10), "mi_fgsm": (11, 10),
    "ni_fgsm": (11, 10), "pgd": (41, 40), "pgd_kl": (12, 10), "adam_pgd": (51, 50), "frank_wolfe": (41, 40),
    "gama_pgd": (102, 100), "apgd": (101, 100), "apgd_targeted": (910, 900), "fab": (204, 1000),
    "fab_targeted": (1837, 900), "square": (5000, 0), "hopskipjump": (4999, 0), "autoattack": (7848, 1900),
    "malt": (911, 910), "apgd_narrowed": (389, 385), "pma": (101, 100), "ddn": (79, 70), "fmn": (74, 65),
    "alma": (176, 167), "pdpgd": (181, 167), "cw": (564, 564), "ead": (358, 358), "lbfgs": (450, 450),
    "convex_surrogate": (60, 50), "deepfool": (52, 401), "superdeepfool": (51, 401), "trust_region": (102, 108),
    "sparsefool": (51, 401), "jsma": (15, 28), "sigma_zero": (1001, 1000), "vfga": (420, 20),
    "greedy_l0": (101, 100), "rotation": (31, 0), "translation": (25, 0), "stadv": (201, 200),
    "color_shift": (225, 0), "brightness": (31, 0), "blur": (31, 0),
}  # fmt: skip
"""Forward and backward rows a sample, the judge's included. Those that are missing hang on the set or the data."""
BOUNDS: dict[str, float] = {
    "ibp": 3.0, "crown-ibp": 12.0, "crown": 12.0, "alpha-crown": 116.0,
}  # fmt: skip
"""What they do for a sample, in forward rows; of nets with more undecided values it is more."""
TRAININGS: dict[str, float] = {
    "standard": 1.0, "pgd": 8.0, "ibp": 3.0, "fgsm-rs": 2.0, "n-fgsm": 2.0, "gradalign": 6.0, "free": 4.0,
    "noise": 1.0, "trades": 13.0, "mart": 12.0, "alp": 9.0, "awp": 9.0, "dro": 8.0, "ensemble": 9.0, "augment": 2.0,
    "defensive-distillation": 2.0,
}  # fmt: skip
"""Forward rows a sample and epoch. Those that are missing need further data or networks, or several sets."""
AUDIT = (984, 936)
"""Forward and backward rows a sample of the stages of the plan "standard" that are not left out, where nothing breaks."""
SQUARE = (64, 5000)
"""Of how many survivors the plan asks scores alone, and how often."""
LEADS = {0.0: 1e-5, 30.0: 1.0}
"""By how much the net prefers its class when attacks are counted, and the share of the radii below that they may use: some
walk longest where the boundary is near but out of reach, some where it is far."""
RADII = {"linf": 0.1, "l2": 1.0, "l1": 5.0, "rotation": 5.0, "translation": 1.0, "flow": 0.1, "color": 0.05,
         "brightness": 0.05, "blur": 0.5}  # fmt: skip


def small_net() -> nn.Sequential:
    """The net on which is counted: always the same, not trained."""
    with forked(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 10)).eval()


def pictures(count: int) -> Tensor:
    """Pictures of a pattern, so that nothing is drawn."""
    places = torch.arange(count * 192, dtype=torch.float64).reshape(count, 3, 8, 8)
    return (0.5 + 0.4 * torch.sin(places * places)).float()


def count_attack(attack: Any) -> tuple[int, int]:
    """Forward and backward rows of one sample that does not break, on the first set that the attack goes with."""
    counted = [_rows(attack, lead, share) for lead, share in LEADS.items()]
    return max(forward for forward, _ in counted), max(backward for _, backward in counted)


def count_audit() -> tuple[int, int]:
    """What the plan "standard" asks of a sample that does not break: its attacks that may not be left out, on an Linf ball."""
    from ironbound.auditing.plan import Attacking
    from ironbound.auditing.plans import ENTRIES
    from ironbound.core.errors import IronboundError

    plan = next(entry for entry in ENTRIES if entry.name == "standard").make().against(examples()["linf"])
    total = [1, 0]
    for stage in plan.stages:
        if not isinstance(stage, Attacking) or stage.optional or stage.last:
            continue
        try:
            rows = count_attack(stage.single)
        except IronboundError:  # one that starts where bounds say
            continue
        total = [total[0] + rows[0], total[1] + rows[1]]
    return total[0], total[1]


def _rows(attack: Any, lead: float, share: float) -> tuple[int, int]:
    from ironbound.sets import L0, parse_threat

    net, x, name = small_net(), pictures(1), sets_of(attack)[0]
    with torch.no_grad():
        y = net(x).argmax(1)
        net[-1].bias[y] += lead  # type: ignore[operator,index]
    threat = parse_threat(f"{name}:{share * RADII[name]!r}") if name in RADII else examples()[name]
    found = attack.against(L0(20 if lead else 1) if name == "l0" else threat)(Model(net), x, y)
    return int(found.forward.sum()), int(found.backward.sum())


def count_bound(entry: Entry) -> float:
    """What a bound does for a sample, in forward rows; on the Linf ball, where some values are undecided."""
    from ironbound.certification.certificates import prove
    from ironbound.sets import Linf

    net, x = small_net(), pictures(1)
    model = Model(net)
    with torch.no_grad():
        x, y = model.admit(x, net(x).argmax(1))
    proof = prove(entry.make(), model, x, y, Linf(0.1), radii=False)
    return float(proof.cost.mean()) if proof.cost is not None else float("nan")


def count_training(entry: Entry) -> float:
    """Forward rows a sample and epoch."""
    from ironbound.core.progress import Event
    from ironbound.defenses.train import train

    heard: list[Event] = []
    x = pictures(64)
    with torch.no_grad():
        y = small_net()(x).argmax(1)
    training = entry.make()
    if entry.name != "ibp":  # whose radius rises over its epochs
        training = training.replace(epochs=1)
    train(Model(small_net()), (x, y), examples()["linf"], training, progress=heard.append)
    return heard[-1].rows / len(x) / int(training.epochs)


def main() -> None:
    """Count all of it again."""
    import sys

    from ironbound.certification.catalogue import ENTRIES as PROOFS
    from ironbound.core.errors import IronboundError
    from ironbound.defenses.catalogue import ENTRIES as SCHEMES
    from ironbound.recipes import ENTRIES

    for entries, count in (
        (PROOFS, count_bound),
        (SCHEMES, count_training),
        (ENTRIES, lambda e: count_attack(e.make())),
    ):
        for entry in entries:
            try:
                sys.stdout.write(f'"{entry.name}": {count(entry)},\n')
            except IronboundError as error:
                sys.stdout.write(f"# {entry.name}: {error}\n")
    sys.stdout.write(f"AUDIT = {count_audit()}\n")


if __name__ == "__main__":
    main()
