"""Which of several processes this is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """Which of several processes this is, as torchrun says in the environment."""

    rank: int = 0
    world: int = 1
    """Processes on all nodes."""
    local: int = 0
    """Its number on this node, which is that of its GPU."""
    beside: int = 1
    """Processes on this node."""

    @staticmethod
    def of(environment: Mapping[str, str] = os.environ) -> Rank:
        """One process, except under torchrun."""
        if "TORCHELASTIC_RUN_ID" not in environment:
            return Rank()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Rank(*(int(environment[name]) for name in names))
