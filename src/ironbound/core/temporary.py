"""Folders for results that nobody gave a place: they are there until the process ends, and no longer."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_HELD: dict[Path, int] = {}
"""Folders to remove, each with the process that made it: one that was forked leaves its parent's alone."""


def temporary_folder() -> Path:
    """A new folder among the temporary files, removed when the process ends.

    Not sooner: a result may be referred to by nothing but its path.
    """
    if not _HELD:
        atexit.register(remove_temporary)
    path = Path(tempfile.mkdtemp(prefix="ironbound-"))
    _HELD[path] = os.getpid()
    return path


def keep(path: Path) -> None:
    """Leave a folder where it is, for good; nothing for one that stays anyway."""
    _HELD.pop(path, None)


def remove_temporary() -> None:
    """Remove them now: for an end of the process that runs nothing else."""
    for path, owner in _HELD.items():
        if owner == os.getpid():
            shutil.rmtree(path, ignore_errors=True)
