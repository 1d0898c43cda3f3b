"""PGD-40 over the passes alone, beside loops written by hand and other libraries, at no, some and most inputs broken."""

from __future__ import annotations

import statistics
from typing import Any

import by_hand
import peers
from cases import Case, cifar, mnist
from timing import alternated, ratio

from ironbound.models.model import Model
from ironbound.recipes.vision import pgd
from ironbound.sets.lp import Linf

STEPS = 40


def run(rounds: int) -> list[dict[str, Any]]:
    for line in peers.missing():
        print(line)
    return [_compare(case, rounds) for cases in (mnist(), cifar()) for case in cases]


def _compare(case: Case, rounds: int) -> dict[str, Any]:
    net, x, y, eps, step = case.net, case.x, case.y, case.eps, case.step
    attack = pgd(STEPS, step, random_start=False).replace(set=Linf(eps))
    model = Model(net)
    found = attack(model, x, y)
    spent = alternated(
        {
            "floor": lambda: by_hand.floor(net, x, y, STEPS),
            "by hand": lambda: by_hand.pgd(net, x, y, eps, step, STEPS),
            "by hand, dropping": lambda: by_hand.dropping_pgd(net, x, y, eps, step, STEPS),
            "ironbound": lambda: attack(model, x, y),
            **peers.installed(case, STEPS),
        },
        rounds,
    )
    rows = {
        "by hand": by_hand.pgd(net, x, y, eps, step, STEPS)[1],
        "by hand, dropping": by_hand.dropping_pgd(net, x, y, eps, step, STEPS)[1],
        "ironbound": int(found.forward.sum()),
    }
    print(f"\n{case.name}: {int(found.success.sum())} of {len(x)} broken")
    for name, seconds in spent.items():
        ran = f"{rows[name]:6} rows" if name in rows else ""
        print(f"  {name:18} {statistics.median(seconds):7.3f} s  {ratio(spent, name, 'floor'):6.3f} x floor  {ran}")
    over = {other: ratio(spent, "ironbound", other) for other in ("by hand", "by hand, dropping")}
    print("  ironbound / " + ", / ".join(f"{name}: {value:.3f}" for name, value in over.items()), flush=True)
    return {
        "case": case.name, "broken": int(found.success.sum()), "inputs": len(x), "rows": rows,
        "seconds": spent, "over": over, "floor": {name: ratio(spent, name, "floor") for name in spent},
    }  # fmt: skip
