"""Where in a repository an audited model stands, so that findings can be shown beside its source."""

from __future__ import annotations

from pathlib import Path


def place_of(folder: Path, source: str | Path | None = None) -> tuple[str | None, int]:
    """The model's source file relative to its repository, in POSIX form, and the line where the model is defined."""
    raise NotImplementedError
