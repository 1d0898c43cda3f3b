"""Folders for results that nobody gave a place: they go with the last object that refers to them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path


class Temporary:
    """A new folder among the temporary files, removed when this is no longer referred to, or when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ironbound-"))
        self._end = weakref.finalize(self, _remove, self.path, os.getpid())

    def keep(self) -> None:
        """Leave the folder where it is, for good."""
        self._end.detach()


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a process that was forked ends without taking its parent's results along
        shutil.rmtree(path, ignore_errors=True)
