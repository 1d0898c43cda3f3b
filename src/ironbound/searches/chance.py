"""Chance: random points of the set, as many as asked. What no attack worth its name may lose to."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task


@dataclass(frozen=True)
class Draws:
    """Independent draws from the set, one a problem and step."""

    steps: int

    needs = Can.SAMPLE

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"at least one draw is needed; got steps={self.steps}.")

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Draw, look, draw again."""
        for _ in range(self.steps):
            task.compact()
            yield Ask(task.region.sample(task.fresh.fold("noise")))
