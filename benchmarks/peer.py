"""pyautoattack on the nets of the audit's comparison, once per net: the result is kept in the cache and used from then on.

`python benchmarks/peer.py NAME ...` in an environment with pyautoattack; one thread, CPU seconds of the process.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads shall not count as work

import numpy as np
import torch
import torch.nn.functional as F
from nets import NAMES, cache, case, slug
from timing import machine
from torch import Tensor, nn

from ironbound.core.describe import fingerprint, state_digest

STAGES = ("clean", "apgd-ce", "apgd-t", "fab-t", "square")
ROBUST = -1


@dataclass(frozen=True)
class Peer:
    """What AutoAttack made of a case."""

    facts: dict[str, Any]
    """Versions, seed, digests, machine, CPU seconds in all and by stage."""
    stage: np.ndarray
    """int (n,): the place in STAGES of what broke each sample; ROBUST where nothing did."""

    @property
    def broken(self) -> np.ndarray:
        """Which samples are wrong or broken."""
        return self.stage != ROBUST


def path_of(name: str) -> Path:
    """The result's arrays; the facts are beside them as JSON."""
    return cache() / f"{slug(name)}.peer.npz"


def digests(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, str]:
    """What a result belongs to."""
    return {"weights": state_digest(net), "inputs": fingerprint(x), "labels": fingerprint(y)}


def cached(name: str) -> Peer | None:
    """The kept result; None where there is none for these weights and this data."""
    path = path_of(name)
    if not path.exists():
        return None
    facts = json.loads(path.with_suffix(".json").read_text())
    net, x, y, eps = case(name)
    if facts["digests"] != digests(net, x, y) or facts["eps"] != eps:
        print(f"{name}: the peer's result is of other weights or data, and is left out")
        return None
    return Peer(facts, np.load(path)["stage"])


def keep(name: str, stage: np.ndarray, facts: dict[str, Any]) -> None:
    """Write a result into the cache."""
    path = path_of(name)
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1))
    np.savez(
        path, stage=stage, broken=stage != ROBUST, cpu=[facts["cpu"].get(s, 0.0) for s in STAGES], total=facts["total"]
    )


def measured(name: str, seed: int = 0) -> Peer:
    """Run AutoAttack's version "standard" with its own defaults, and keep the result."""
    from pyautoattack import AutoAttack

    net, x, y, eps = case(name)
    attack = AutoAttack(net, norm="Linf", eps=eps, seed=seed, version="standard")
    with torch.no_grad():
        stage = torch.where(net(x).argmax(1) == y, ROBUST, 0)
    cpu: dict[str, float] = {}
    entered: dict[str, int] = {}
    parts = (attack.apgd, attack.apgd_targeted, attack.fab, attack.square)
    for place, part in enumerate(parts, start=1):
        part.perturb = _watched(part.perturb, place, net, x, stage, cpu, entered)
    before = row_costs(net, x, y)
    start = time.process_time()
    adversarial, _ = attack.run_standard_evaluation(x, y)
    total = time.process_time() - start
    with torch.no_grad():
        wrong = net(adversarial).argmax(1) != y
    if not bool((wrong == (stage != ROBUST)).all()):
        raise SystemExit(f"{name}: what AutoAttack returns is not what its stages broke")
    facts = {
        "case": name, "peer": f"pyautoattack {importlib.metadata.version('pyautoattack')}", "version": "standard",
        "seed": seed, "eps": eps, "robust": int((~wrong).sum()), "samples": len(y), "batch": 250, "total": total,
        "cpu": cpu, "entered": entered, "row": {"before": before, "after": row_costs(net, x, y)},
        "digests": digests(net, x, y), "machine": machine(),
    }  # fmt: skip
    keep(name, stage.numpy(), facts)
    return Peer(facts, stage.numpy())


def _watched(
    perturb: Callable[..., Tensor], place: int, net: nn.Module, x: Tensor, stage: Tensor,
    cpu: dict[str, float], entered: dict[str, int],
) -> Callable[..., Tensor]:  # fmt: skip
    """The attack with its CPU seconds, and with a note of which samples it broke.

    It is called on one batch after another of those that were robust when it was first called.
    """
    name, state = STAGES[place], {"rows": torch.zeros(0, dtype=torch.long), "next": 0}

    def run(inputs: Tensor, labels: Tensor, *given: Any, **options: Any) -> Tensor:
        if name not in cpu:
            cpu[name], state["rows"] = 0.0, (stage == ROBUST).nonzero()[:, 0]
            entered[name] = len(state["rows"])
        at = state["rows"][state["next"] : state["next"] + len(inputs)]
        state["next"] += len(inputs)
        if not torch.equal(x[at], inputs):
            raise SystemExit("AutoAttack's batches are not those expected")
        start = time.process_time()
        made = perturb(inputs, labels, *given, **options)
        cpu[name] += time.process_time() - start
        with torch.no_grad():
            stage[at[net(made).argmax(1) != labels]] = place
        print(f"  {name}: {state['next']} of {entered[name]}, {cpu[name]:.1f} CPU s", flush=True)
        return made

    return run


def row_costs(net: nn.Module, x: Tensor, y: Tensor, times: int = 5) -> dict[str, float]:
    """Microseconds of a row forward and of one with a gradient, 200 rows a pass: how fast the machine is just now."""
    x, y, spent = x[:200], y[:200], {}

    def gradient() -> None:
        p = x.clone().requires_grad_()
        torch.autograd.grad(F.cross_entropy(net(p), y, reduction="sum"), p)

    for name, work in {"forward": lambda: net(x), "gradient": gradient}.items():
        work()
        start = time.process_time()
        for _ in range(times):
            work()
        spent[name] = (time.process_time() - start) / times / len(x) * 1e6
    return spent


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or NAMES:
        print(name, flush=True)
        facts = (cached(name) or measured(name)).facts
        print(f"{name}: {facts['robust']} of {facts['samples']} robust, {facts['total']:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
