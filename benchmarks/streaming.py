"""What an audit of many rows on disk takes: peak memory and rows a second, at each of some sizes.

    python benchmarks/streaming.py 100000 1000000

Each size runs in a process of its own: an array of 64 float32 features is written, mapped into memory and audited (clean, FGSM,
all checks) with a linear model of 10 classes, then verified. Peak memory is `getrusage`'s, after each step; "in memory" is the
same with the rows loaded. `--profile` prints where the time goes instead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FEATURES, CLASSES = 64, 10
PORTION = 1 << 14


def main() -> None:
    """Run each size in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--memory", action="store_true", help="load the rows into memory instead")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        measure(asked.rows[0], Path(asked.inside), not asked.memory, asked.profile)
        return
    for count in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            write(count, Path(folder))
            flags = ["--memory"] * asked.memory + ["--profile"] * asked.profile
            subprocess.run([sys.executable, __file__, str(count), "--inside", folder, *flags], check=True)


def write(count: int, folder: Path) -> None:
    """Rows in [0, 1], and labels that a linear model gives to nine in ten of them."""
    import numpy as np

    draw = np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype="float32", shape=(count, FEATURES))
    y, weight = np.zeros(count, "int64"), draw.normal(size=(FEATURES, CLASSES)).astype("float32")
    for start in range(0, count, PORTION):
        part = draw.random((min(PORTION, count - start), FEATURES), dtype="float32")
        x[start : start + len(part)] = part
        other = draw.random(len(part)) < 0.1
        y[start : start + len(part)] = np.where(other, draw.integers(0, CLASSES, len(part)), (part @ weight).argmax(1))
    x.flush()
    np.save(folder / "y.npy", y)
    np.savez(folder / "weight.npz", weight=weight)


def measure(count: int, folder: Path, stream: bool, profile: bool) -> None:
    """One size: load, audit, verify."""
    import numpy as np
    import torch

    import ironbound as ib
    from ironbound.auditing.plan import Attacking, Plan
    from ironbound.data import load

    torch.set_num_threads(1)
    net = torch.nn.Linear(FEATURES, CLASSES, bias=False)
    net.weight.data = torch.from_numpy(np.load(folder / "weight.npz")["weight"].T.copy())
    plan = Plan("fgsm", (Attacking("fgsm", ib.recipes.fgsm()),))
    peaks, seconds = {"imports": peak()}, {}

    def step(name: str, job: Any) -> Any:
        start = time.process_time()
        found = job()
        seconds[name], peaks[name] = time.process_time() - start, peak()
        return found

    profiler = cProfile.Profile()
    data = step("load", lambda: load(folder, stream=stream))
    if profile:
        profiler.enable()
    report = step("audit", lambda: ib.audit(net, data, threat="linf:0.02", method=plan, out=folder / "run"))
    profiler.disable()
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        return
    held = step("verify", lambda: ib.verify(folder / "run", net, data)).holds
    facts = {
        "rows": count, "streamed": stream, "inputs_mb": count * FEATURES * 4 // 1000**2, "holds": held,
        "pool": json.loads((folder / "run" / "manifest.json").read_text())["pool"], "attacked": report.attacked_accuracy,
        "peak_mb": peaks, "cpu_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "rows_a_second": {name: round(count / value) for name, value in seconds.items() if name != "load"},
    }  # fmt: skip
    print(json.dumps(facts), flush=True)


def peak() -> int:
    """The largest resident size so far, in MB."""
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1000**2)


if __name__ == "__main__":
    main()
