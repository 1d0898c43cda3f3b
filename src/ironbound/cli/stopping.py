"""What becomes of Ctrl-C."""

from __future__ import annotations

from pathlib import Path


class Interrupted(Exception):
    """Ctrl-C, with the folder in which things can be gone on with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder
