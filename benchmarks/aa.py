"""The recipe `autoattack` beside pyautoattack: outcome by sample, CPU seconds by stage, rows."""

from __future__ import annotations

import importlib.metadata
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from cases import Case, Chosen, for_autoattack
from torch import Tensor, nn

import ironbound as ib

STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")


def run(chosen: Chosen) -> list[dict[str, Any]]:
    try:
        print(f"pyautoattack {importlib.metadata.version('pyautoattack')}, version 'standard'")
    except importlib.metadata.PackageNotFoundError:
        print("pyautoattack: skipped, not installed")
    return [_compare(case, seed) for case in for_autoattack(chosen) for seed in range(chosen.seeds)]


def _compare(case: Case, seed: int) -> dict[str, Any]:
    print(f"\n{case.name}, {len(case.x)} inputs, seed {seed}")
    ours, rows, spent = _ours(case, seed)
    line: dict[str, Any] = {
        "case": case.name,
        "seed": seed,
        "ours": {"robust": int((~ours).sum()), "seconds": spent, "rows": rows},
    }
    print(f"  ironbound     robust {int((~ours).sum()):4}  {spent:8.2f} CPU s  {rows}", flush=True)
    try:
        theirs, stages, total = _theirs(case, seed)
    except ImportError:
        return line
    both = {"only ours broke": int((ours & ~theirs).sum()), "only theirs broke": int((theirs & ~ours).sum())}
    print(
        f"  pyautoattack  robust {int((~theirs).sum()):4}  {total:8.2f} CPU s  "
        + ", ".join(f"{k} {v:.2f}" for k, v in stages.items())
    )
    share = sum(both.values()) / len(case.x)
    print(f"  {both}: {100 * share:.1f} % differ; CPU time {spent / total:.3f} of pyautoattack's", flush=True)
    return line | {
        "theirs": {"robust": int((~theirs).sum()), "seconds": total, "stages": stages},
        **both,
        "ratio": spent / total,
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    made = work()
    return made, time.process_time() - start


def _ours(case: Case, seed: int) -> tuple[Tensor, dict[str, int], float]:
    """Which inputs are wrong or broken, the rows, the seconds."""
    threat = ib.Linf(case.eps)
    found, spent = _timed(lambda: ib.attack(case.net, case.x, case.y, threat=threat, method="autoattack", seed=seed))
    for one in found.config.get("stages", ()):
        rows = f"rows {one['forward']}/{one['backward']}"
        print(f"    {one['name']:10} entered by {one['entered']:4}, found {one['found']:4}, {rows}")
    return found.success, {"forward": int(found.forward.sum()), "backward": int(found.backward.sum())}, spent


def _theirs(case: Case, seed: int) -> tuple[Tensor, dict[str, float], float]:
    """The same of pyautoattack, with the seconds of each stage."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(case.net, norm="Linf", eps=case.eps, seed=seed, version="standard")
    stages: Counter[str] = Counter()

    def clocked(perturb: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
        def run(*given: Any, **options: Any) -> Tensor:
            made, spent = _timed(lambda: perturb(*given, **options))
            stages[name] += spent
            return made

        return run

    for part, name in zip((attack.apgd, attack.apgd_targeted, attack.fab, attack.square), STAGES, strict=True):
        part.perturb = clocked(part.perturb, name)
    (adversarial, _), total = _timed(lambda: attack.run_standard_evaluation(case.x, case.y))
    return _wrong(case.net, adversarial, case.y), dict(stages), total


def _wrong(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(1) != y
