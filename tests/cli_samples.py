"""A small trained network as a user has it (zoo.py and weights), and ways to run the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ironbound.core.rng import forked
from ironbound.data import load

ZOO = """
from torch import nn


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def fails():
    raise ValueError("no such disk")


class Picky(nn.Module):
    def forward(self, x):
        raise RuntimeError("[red]x[/] \\x1b[31mfailed")


def picky():
    return Picky()
"""
EPS = "linf:0.06"


def write_zoo(folder: Path) -> Path:
    """zoo.py and net.safetensors in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zoo.py").write_text(ZOO)
    with forked(0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
        data = load("digits:train")
        optimiser = torch.optim.Adam(net.parameters(), 5e-3)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(data.x), data.y).backward()
            optimiser.step()
    save_file(net.state_dict(), folder / "net.safetensors")
    return folder


def model_of(folder: Path) -> list[str]:
    return ["--model", f"{folder / 'zoo.py'}:net", "--weights", str(folder / "net.safetensors")]


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "ironbound", *arguments]


def environment() -> dict[str, str]:
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return {**{k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")}, **quiet}


def finished(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        command(arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )


def harmless(text: str) -> bool:
    """Whether nothing in the text steers a terminal."""
    return all(char.isprintable() or char == "\n" for char in text)
