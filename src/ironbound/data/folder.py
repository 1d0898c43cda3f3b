"""Folders of pictures: one folder for each class, perhaps below train/ and test/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ironbound.core.errors import DataError, InputError
from ironbound.data.dataset import Data
from ironbound.data.files import SPLITS, of_file
from ironbound.data.images import SUFFIXES, common_shape, pictures
from ironbound.data.request import Request
from ironbound.data.stored import Files, streams


def from_folder(path: Path, request: Request) -> Data:
    """Pictures with their class folder as label; the path within the folder is the column `path`.

    Classes are numbered by their sorted names. Below train/ and test/ the names of all parts count, so that a part in
    which a class has no pictures numbers the others alike. Hidden files and other suffixes are passed over. Raises
    DataError for anything that is no such folder.
    """
    request.without_columns("a folder of pictures")
    parts = [path / name for name in dict.fromkeys((request.split, *SPLITS)) if _classes(path / name)]
    root = path / request.split if parts else path
    if parts and root not in parts:
        have = ", ".join(part.name for part in parts)
        raise DataError(f"{path}: there is no part {request.split!r}; it has {have}. Choose one with split=.")
    classes = sorted({name for folder in parts or [path] for name in _classes(folder)})
    found = [
        (file.relative_to(root).as_posix(), number)
        for number, name in enumerate(classes)
        for file in _files(root / name)
    ]
    if not found:
        raise DataError(_no_pictures(path, root, classes))
    places = request.rows(len(found))
    chosen = [found[i] for i in places.tolist()]
    names = [name for name, _ in chosen]
    return of_file(
        root,
        x=_inputs(root, names, path, request.stream),
        y=torch.tensor([number for _, number in chosen]),
        columns={"path": names},
        index=places,
        classes=tuple(classes),
    )


def _inputs(root: Path, names: list[str], path: Path, stream: bool | None) -> Any:
    """The pictures in memory, or left in their files; of grey ones all headers are read, since one may be in colour."""
    shape = lambda some: common_shape((str(root / name), root / name) for name in some)
    first = Files(root, names, shape(names[:1]))
    if not streams(stream, first):
        return _decoded([root / name for name in names], path)
    return first if first.shape[1] == 3 else Files(root, names, shape(names))


def _decoded(files: list[Path], path: Path) -> torch.Tensor:
    try:
        return pictures((str(file), file) for file in files)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _classes(folder: Path) -> list[str]:
    """The names of the class folders in it."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _files(folder: Path) -> list[Path]:
    """The pictures in and below a class folder, sorted."""
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def _no_pictures(path: Path, root: Path, classes: list[str]) -> str:
    kinds = " ".join(SUFFIXES)
    if classes:
        return f"{root}: the class folders {', '.join(classes[:5])} hold no pictures ({kinds}). Put pictures in them."
    if _files(path):
        return f"{path}: pictures lie in the folder itself; expected one folder for each class. Sort them into folders."
    have = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    return f"{path}: expected one folder of pictures for each class ({kinds}); the folder holds {have}."
