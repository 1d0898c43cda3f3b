"""Universal perturbations and patches: found on 1,000 images, measured on 2,000 others, beside random ones of the kind.

`python benchmarks/run.py collective --page docs/numbers.md`; `--only patch` for those alone.
"""

from __future__ import annotations

import time
from typing import Any

from cases import Chosen
from nets import case, described
from pages import into

import ironbound as ib

FIT = 1000
TURNED = ib.Patch(area=0.1, rotation=(-10.0, 10.0))
MOVED = ib.Patch(area=0.1, rotation=(-20.0, 20.0), scale=(0.9, 1.1), brightness=(-0.1, 0.1), contrast=(0.8, 1.2))
PATCHED = ib.Patch(area=0.1)
PATCHING = ib.recipes.patch(300, batch=192, step=0.1)
WAYS: dict[str, tuple[str, Any, Any, int | None]] = {
    "universal, sgd": ("cifar pooled", ib.Linf(10 / 255), ib.recipes.universal(steps=200, step=0.3), None),
    "patch, target 9": ("cifar vgg", PATCHED, PATCHING, 9),
    "patch, target 1": ("cifar vgg", PATCHED, PATCHING, 1),
    "patch, target 8": ("cifar vgg", PATCHED, PATCHING, 8),
    "patch, target 6": ("cifar vgg", PATCHED, PATCHING, 6),
    "patch turned a little, target 9": ("cifar vgg", TURNED, PATCHING, 9),
    "patch turned, scaled, in other light, target 1": ("cifar vgg", MOVED, PATCHING, 1),
    "universal, sgd, target 3": ("cifar pooled", ib.Linf(10 / 255), ib.recipes.universal(steps=200, step=0.3), 3),
    "universal, deepfool, 50 images, one pass": (
        "cifar pooled", ib.Linf(10 / 255), ib.recipes.universal(by="deepfool", passes=1), None,
    ),
}  # fmt: skip


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """One line a case; prints the table and, where asked, writes it into a page."""
    lines: list[dict[str, Any]] = []
    for name in filter(chosen.keeps, WAYS):
        lines.append(_line(name))
        if chosen.page is not None:  # after each, so that a run that is stopped leaves what it found
            into(chosen.page, "collective", _table(lines))
    print(_table(lines))
    return lines


def _line(name: str) -> dict[str, Any]:
    which, threat, method, target = WAYS[name]
    net, x, y, _ = case(which)
    count = 50 if "50 images" in name else FIT
    labels = y[:count] if target is None else None
    start = time.process_time()
    found = ib.attack(net, x[:count], labels, threat=threat, method=method, target=target)
    cpu = time.process_time() - start
    seen = ib.measure(net, found, x[FIT:], y[FIT:], target=target)
    right = int((net(x[FIT:]).argmax(1) == y[FIT:]).sum()) / len(y[FIT:])
    print(f"{name}: {seen}", flush=True)
    return {
        "case": name, "net": which, "described": described(which, net), "clean": right, "works": seen.works.as_dict(),
        "random": seen.random.as_dict(), "cpu": cpu, "forward": int(found.forward.sum()),
        "backward": int(found.backward.sum()), "fitted": count,
    }  # fmt: skip


def _table(lines: list[dict[str, Any]]) -> str:
    names = ("what", "net, right when clean", "works on unseen images (95% interval)", "a random one",
             "passes, forward and backward", "CPU s")  # fmt: skip
    rows = [
        (line["case"], f"{line['net']}, {line['clean']:.1%}", f"**{_share(line['works'])}** of {line['works']['total']:,}",
         _share(line["random"]), f"{line['forward']:,} + {line['backward']:,}", f"{line['cpu']:.0f}")
        for line in lines
    ]  # fmt: skip
    return "".join(f"| {' | '.join(row)} |\n" for row in (names, ("---",) * len(names), *rows))


def _share(share: dict[str, Any]) -> str:
    return f"{share['fraction']:.1%} ({share['low']:.1%} to {share['high']:.1%})"
