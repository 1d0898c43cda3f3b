"""CPU seconds in alternation, and the facts of the machine that belong to them."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def alternated(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of this process, one number a round and contestant; a first round warms up and is thrown away."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            start = time.process_time()
            work()
            if turn:
                spent[name].append(time.process_time() - start)
    return spent


def ratio(spent: dict[str, list[float]], one: str, other: str) -> float:
    """The median over the rounds of one contestant's time by the other's in the same round."""
    return statistics.median(a / b for a, b in zip(spent[one], spent[other], strict=True))


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to read the numbers."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    return {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "cpu": facts.get("model name", platform.processor()),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{
            name: _version(name)
            for name in (
                "torch",
                "torchattacks",
                "foolbox",
                "adversarial-robustness-toolbox",
                "adv-lib",
                "pyautoattack",
            )
        },
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    changed = _git("status", "--porcelain", "--", "../src")
    return _git("rev-parse", "--short", "HEAD") + (" and changes" if changed else "")


def _git(*words: str) -> str:
    command = ["git", *words]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
