"""PGD-40 over the passes alone, beside loops by hand and other libraries, in float32 and with bfloat16 gradients."""

from __future__ import annotations

import statistics
from typing import Any

import bare
import by_hand
import peers
from cases import Case, Chosen, for_pgd
from timing import alternated, ratio

from ironbound.core.result import Result
from ironbound.models.model import Model
from ironbound.recipes import pgd
from ironbound.sets import Linf

STEPS = 40


def run(chosen: Chosen) -> list[dict[str, Any]]:
    told, lines = False, []
    for case in for_pgd(chosen):
        if not told:
            print("".join(f"{line}\n" for line in peers.missing(case)), end="")
            told = True
        lines.append(_compare(case, chosen.rounds))
    return lines


def _compare(case: Case, rounds: int) -> dict[str, Any]:
    net, x, y, eps, step = case.net, case.x, case.y, case.eps, case.step
    exact = pgd(STEPS, step, random_start=False).replace(set=Linf(eps))
    model, cheap, half = Model(net), exact.replace(cheap=True), bare.in_bfloat16(net, x, y)
    found, cheaply = exact(model, x, y), cheap(model, x, y)
    passes = bare.Passes().of(net, lambda: cheap(model, x, y))
    spent = alternated(
        {
            "floor": lambda: by_hand.floor(net, x, y, STEPS),
            "floor, bf16": lambda: bare.gradients(half, x, y, STEPS),
            "by hand": lambda: by_hand.pgd(net, x, y, eps, step, STEPS),
            "by hand, dropping": lambda: by_hand.dropping_pgd(net, x, y, eps, step, STEPS),
            "ironbound": lambda: exact(model, x, y),
            "ironbound, bf16": lambda: cheap(model, x, y),
            "its passes, bf16": lambda: passes.replayed(net, half, x, y),
            **peers.installed(case, STEPS),
        },
        rounds,
    )
    line = {
        "case": case.name, "inputs": len(x), "seconds": spent, "floor": {name: ratio(spent, name, "floor") for name in spent},
        "float32": _outcome(found), "bfloat16": _outcome(cheaply),
        "row": ratio(spent, "floor, bf16", "floor"),
    }  # fmt: skip
    line["product"] = line["bfloat16"]["backward"] / (len(x) * STEPS) * line["row"]
    _tell(
        line,
        {"by hand": (STEPS + 1) * len(x), "by hand, dropping": by_hand.dropping_pgd(net, x, y, eps, step, STEPS)[1]},
    )
    return line


def _outcome(found: Result) -> dict[str, Any]:
    return {
        "broken": int(found.success.sum()), "robust": float((~found.success).double().mean()),
        "forward": int(found.forward.sum()), "backward": int(found.backward.sum()),
    }  # fmt: skip


def _tell(line: dict[str, Any], rows: dict[str, int]) -> None:
    whole, half, floor = line["float32"], line["bfloat16"], line["floor"]
    rows |= {"ironbound": whole["forward"], "ironbound, bf16": half["forward"]}
    print(
        f"\n{line['case']}: {whole['broken']} of {line['inputs']} broken in float32, {half['broken']} with bf16 gradients"
    )
    print(f"  robust accuracy {100 * whole['robust']:.1f} % and {100 * half['robust']:.1f} %")
    for name, seconds in line["seconds"].items():
        ran = f"{rows[name]:6} rows" if name in rows else ""
        print(f"  {name:18} {statistics.median(seconds):7.3f} s  {floor[name]:6.3f} x floor  {ran}")
    share, measured = half["backward"] / (line["inputs"] * STEPS), floor["ironbound, bf16"]
    print(
        f"  bf16: {share:.3f} of the gradient rows left x {line['row']:.3f} (a bf16 row over a float32 row) = "
        f"{line['product']:.3f}; measured {measured:.3f}, {measured / line['product']:.2f} of it; "
        f"its passes alone {floor['its passes, bf16']:.3f}",
        flush=True,
    )
