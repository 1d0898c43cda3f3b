"""Golden files as tensors, and searches overheard: every point that was asked, with what was heard of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.core.attack import Attack
from ironbound.core.protocols import Answer, Ask, Can, Search, Task, Want
from ironbound.models.model import Model
from ironbound.sets import L1, L2, Linf
from parity.small_net import with_weights


def golden(name: str) -> dict[str, Tensor]:
    """The arrays of one file, made by make_golden.py."""
    with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


@dataclass(frozen=True)
class Overheard:
    """A search whose every point is kept, with what it heard of it."""

    search: Search
    points: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    won: list[Tensor] = field(default_factory=list)

    @property
    def needs(self) -> Can:
        return self.search.needs

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        asks, answer = self.search.run(task), None
        while True:
            try:
                ask = asks.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                return
            self.points.append(ask.points.clone())  # type: ignore[union-attr]
            answer = yield ask
            self.values.append(answer.value.clone())
            self.won.append(answer.success.clone())


@dataclass(frozen=True)
class Given:
    """Starts at points that were given, for all problems at once."""

    points: Tensor

    def __call__(self, task: Task) -> Tensor:
        assert task.n == len(self.points)
        return self.points


def overheard(attack: Attack, g: dict[str, Tensor], ball: type[Linf | L2 | L1]) -> tuple[Overheard, Any]:
    """Run the attack so that no problem leaves before the end."""
    search = Overheard(attack.search)
    found = attack.replace(set=ball(float(g["eps"])), search=search, want=Want.STRONGEST)(
        Model(with_weights(g)), g["x"], g["y"]
    )
    return search, found
