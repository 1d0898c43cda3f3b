"""Audits that are killed at chosen moments. A server that has imported this module forks them, so that no kill waits for
torch to be imported; it has one thread, and has traced a net once."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from safetensors.torch import load_file

import ironbound as ib
from audit_samples import digits, mlp
from ironbound.auditing.checks import blackbox
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.certification.ibp import Ibp
from ironbound.core.progress import Event

SAMPLES, POOL = 48, 6
PLAN = Plan(
    "several",
    (
        Attacking("fgsm", ib.recipes.fgsm()),
        Bounds("ibp", Ibp(), radii=True),
        Attacking("apgd", ib.recipes.apgd(steps=10)),
        Attacking("noise", ib.recipes.noise(5), witness=True),
        Attacking("square", ib.recipes.square(queries=20), witness=True, most=10),
    ),
)


class Killer:
    """Kills this process at the count-th moment of a kind, or tells who listens that it has come.

    Kinds: "write", before and after every fsync and renaming, and "event", every progress event. "later" is an event whose
    moment is told.
    """

    def __init__(self, kind: str, count: int, told: Connection) -> None:
        self.kind, self.count, self.told = kind, count, told
        self.seen = Counter[str]()
        os.fsync = self.watched(os.fsync)  # type: ignore[assignment] # the process is forked for this alone
        os.replace = self.watched(os.replace)  # type: ignore[assignment]

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.moment("write")
            result = function(*arguments)
            self.moment("write")
            return result

        return call

    def moment(self, kind: str) -> None:
        self.seen[kind] += 1
        if self.seen[kind] != self.count or kind != ("event" if self.kind == "later" else self.kind):
            return
        if self.kind == "later":
            self.told.send("now")
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, event: Event) -> None:
        if event.stage == "samples":
            self.told.send(event.done)
        self.moment("event")


def audited(folder: str, weights: str, kind: str, count: int, told: Connection) -> None:
    """Begin the audit or go on with it; `told` hears how many samples are finished."""
    net = mlp(64, 24, 10)
    net.load_state_dict(load_file(weights))
    ib.audit(
        net, digits(SAMPLES), threat="linf:0.05", method=PLAN, out=folder, resume=True, pool=POOL, rows=64,
        progress=Killer(kind, count, told),
    )  # fmt: skip


torch.set_num_threads(1)
blackbox.QUERIES = blackbox.DECISIONS = 20
with tempfile.TemporaryDirectory() as warm:  # what is imported when it is first used
    ib.audit(mlp(64, 24, 10), digits(8), threat="linf:0.05", method=PLAN, out=f"{warm}/run")
