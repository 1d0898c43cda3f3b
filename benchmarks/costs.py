"""What each attack finds, and at what cost: every one of the catalogue on one net, by norm. For docs/choose-an-attack.md.

`python benchmarks/run.py costs --page docs/choose-an-attack.md`; `--only "L2 "` or `--only pgd` for some.
"""

from __future__ import annotations

import time
from typing import Any

from cases import Chosen
from pages import into

import ironbound as ib
from ironbound.core.errors import IronboundError
from ironbound.data import load
from ironbound.defenses.train import train, training_named
from ironbound.models.zoo import digits_cnn
from ironbound.names import fits
from ironbound.recipes import ENTRIES

THREATS = {
    "L-inf 0.15": ib.Linf(0.15), "L2 0.8": ib.L2(0.8), "L1 2": ib.L1(2.0), "L0, 2 pixels": ib.L0(2),
    "rotation 30": ib.Rotation(30), "translation 1": ib.Translation(1), "flow 0.4": ib.Flow(0.4),
    "brightness 0.4": ib.Brightness(0.4), "blur 0.7": ib.Blur(0.7),
}  # fmt: skip
SAMPLES = 100
BALLS = 4
"""The first of the threats. On the others runs what was made for them, and the usual gradient attacks."""
USUAL = ("noise", "fgsm", "pgd", "apgd")
ONCE = (
    "adam_pgd", "i_fgsm", "mi_fgsm", "ni_fgsm", "r_fgsm", "pgd_kl", "convex_surrogate", "lbfgs", "fab_targeted", "hopskipjump",
)  # fmt: skip
"""Measured on the first threat alone: there to compare with, or dear."""


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """One line an attack and threat; prints the tables and, where asked, writes them into a page."""
    data = load("digits:test", samples=SAMPLES)
    net = train(
        ib.Model(digits_cnn()),
        load("digits:train"),
        ib.Linf(0.15),
        training_named("pgd", epochs=6, rate=5e-3, batch=128),
    ).model
    right = net.net(data.x).argmax(1) == data.y
    x, y = data.x[right], data.y[right]
    lines = []
    for number, (name, threat) in enumerate(THREATS.items()):
        for entry in ENTRIES:
            method = entry.make()
            if chosen.keeps(f"{name} {entry.name}") and fits(method, threat) and _belongs(entry.name, method, number):
                lines += _line(net, x, y, name, threat, entry.name)
    print(_tables(lines, len(y)))
    if chosen.page is not None:
        into(chosen.page, "costs", _tables(lines, len(y)))
    return lines


def _belongs(name: str, method: Any, number: int) -> bool:
    if number == 0 or name in USUAL:
        return True
    return name not in ONCE if number < BALLS else not fits(method, THREATS["L-inf 0.15"])


def _line(net: Any, x: Any, y: Any, name: str, threat: Any, method: str) -> list[dict[str, Any]]:
    start = time.process_time()
    try:
        found = ib.attack(net, x, y, threat=threat, method=method)
    except IronboundError as error:
        print(f"{method} on {name}: {error}", flush=True)
        return []
    cpu, held = time.process_time() - start, ~found.success
    line = {
        "threat": name, "attack": method, "broken": int(found.success.sum()), "cpu": cpu,
        "forward": found.forward.double().mean().item(), "backward": found.backward.double().mean().item(),
        "held": float((found.forward + found.backward)[held].double().mean()) if bool(held.any()) else None,
    }  # fmt: skip
    print(line, flush=True)
    return [line]


def _tables(lines: list[dict[str, Any]], samples: int) -> str:
    parts = {name: [line for line in lines if line["threat"] == name] for name in THREATS}
    return "\n".join(_table(name, part, samples) for name, part in parts.items() if part)


def _table(name: str, lines: list[dict[str, Any]], samples: int) -> str:
    """The strongest first; of equally strong ones, the cheapest."""
    rows = [
        (f"`{line['attack']}`", f"{line['broken']} of {samples}", f"{line['forward']:,.0f} + {line['backward']:,.0f}",
         "-" if line["held"] is None else f"{line['held']:,.0f}", f"{line['cpu']:.1f}")
        for line in sorted(lines, key=lambda line: (-line["broken"], line["forward"] + line["backward"]))
    ]  # fmt: skip
    head = (name, "broken", "passes a sample, forward + backward", "passes a sample that held", "CPU s, all samples")
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---", *("---:",) * 4), *rows))
