"""Where in a repository an audited model stands, so that findings can be shown beside its source."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from ironbound.auditing.folder import RunFolder
from ironbound.core.errors import UsageError


def place_of(folder: Path, source: str | Path | None = None) -> tuple[str | None, int]:
    """A file relative to its repository, with slashes, and the line of it at which the model is defined.

    source: a file within the repository. None: the one that the run loaded its model from; (None, 1) where it was handed a
    model, or where that file is in no repository and not below the working folder either.

    Raises UsageError for a `source` that is outside the repository.
    """
    if source is not None:
        path = within(Path(source))
        if path is None:
            raise UsageError(
                f"{source} is in no repository, and not below the working folder. Name a file of the repository."
            )
        return path, 1
    architecture = str(_origin(folder).get("architecture", ""))
    file, _, name = architecture.rpartition(":")
    if not file.endswith(".py"):  # an importable name
        return None, 1
    path = within(Path(file))
    return (None, 1) if path is None else (path, line_of(Path(file), name))


def within(path: Path) -> str | None:
    """The path relative to the repository around it (the folder that holds .git), else to the working folder; else None."""
    whole = path.expanduser().resolve()
    for folder in whole.parents:
        if (folder / ".git").exists():
            return whole.relative_to(folder).as_posix()
    here = Path.cwd().resolve()
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else None


def line_of(file: Path, name: str) -> int:
    """The line where a Python file defines a name, counted from 1; 1 where it cannot be told. Nothing is executed."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return 1
    return next((node.lineno for node in tree.body if name in _defined(node)), 1)


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement gives something to."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _origin(folder: Path) -> dict[str, Any]:
    found = RunFolder.open(folder).manifest.get("origin")
    return found if isinstance(found, dict) else {}
