"""Which reader a path or a name is for; what to say of a path that leads nowhere."""

from __future__ import annotations

import os
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ironbound.core.errors import DataError, InputError, UnknownName
from ironbound.data.dataset import Data
from ironbound.data.request import Request

EXPECTED = "a .parquet or .npz file, or a folder with x.npy and y.npy or with one folder of pictures for each class"
CSV = (
    " To make a table of it: python -c 'import sys, pyarrow.csv as c, pyarrow.parquet as p; "
    "p.write_table(c.read_csv(sys.argv[1]), sys.argv[2])' {} {}"
)
SPLITS = ("train", "test", "val", "valid", "validation", "dev")


def from_path(source: str | Path, request: Request) -> Data:
    """Data of a file, a folder or a bundled name. Raises DataError naming the path and what to do."""
    if isinstance(source, str) and source.partition(":")[0] == "digits":
        return _digits(source, request)
    if not str(source).strip():
        raise DataError(f"the path is empty; expected {EXPECTED}, or 'digits'.")
    try:
        path = Path(source).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a user without a home, a null byte
        raise DataError(f"{str(source)[:200]!r} is no path here: {str(error)[:200]}. Expected {EXPECTED}.") from error
    if not there:
        raise DataError(_nowhere(path))
    if path.is_dir():
        return _folder(path, request)
    if not path.is_file():
        raise DataError(f"{path}: neither a file nor a folder; expected {EXPECTED}.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: may not be read by this user; change its permissions.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; expected {EXPECTED}. Fetch or write it again.")
    return _file(path, request)


def of_file(path: Path, **fields: Any) -> Data:
    """The Data with these fields, named after the path; what is wrong with them is a DataError that names the path."""
    whole = path.resolve()
    try:
        return Data(**fields, name=f"{whole.parent.name}/{whole.name}")
    except InputError as error:
        raise DataError(f"{path}: {error}") from error


def _file(path: Path, request: Request) -> Data:
    if path.suffix.lower() == ".parquet":
        from ironbound.data.table import from_parquet

        return from_parquet(path, request)
    if path.suffix.lower() == ".npz":
        from ironbound.data.archive import from_npz

        return from_npz(path, request)
    table = path.suffix.lower() == ".csv"
    to_do = CSV.format(*(shlex.quote(str(name)) for name in (path, path.with_suffix(".parquet")))) if table else ""
    raise DataError(
        f"{path}: files ending in {path.suffix or 'nothing'} are not read as data; expected {EXPECTED}.{to_do}"
    )


def _folder(path: Path, request: Request) -> Data:
    from ironbound.data.folder import from_folder

    table = path / f"{request.split}.parquet"
    if table.is_file():
        return _file(table, request)
    parts = [name for name in SPLITS if (path / f"{name}.parquet").is_file()]
    if parts:
        raise DataError(f"{table}: no such file; the folder has {', '.join(parts)}. Choose one with split=.")
    if any(path.glob("*.npy")):
        from ironbound.data.members import from_npy_folder

        return from_npy_folder(path, request)
    return from_folder(path, request)


def _digits(source: str, request: Request) -> Data:
    from ironbound.data.digits import SPLIT, digits

    split = source.partition(":")[2] or request.split
    if split not in SPLIT:
        raise UnknownName(f"the bundled digits have the parts {', '.join(SPLIT)}; got {split!r}. Write 'digits:test'.")
    return digits(split, request.without_columns("the bundled data set"))


def _nowhere(path: Path) -> str:
    """What is missing of the path, and what is nearly called so."""
    parent = path.parent
    if not parent.is_dir():
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        return f"{path}: no such file; the path is good up to {parent} only. Expected {EXPECTED}."
    try:
        names = sorted(os.listdir(parent))
    except OSError:
        names = []
    near = get_close_matches(path.name, [*names, "digits"], n=3, cutoff=0.5)
    if near:
        return f"{path}: no such file. Did you mean {' or '.join(repr(name) for name in near)}?"
    there = (
        f"there are {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}" if names else "the folder is empty"
    )
    return f"{path}: no such file; {there}. Expected {EXPECTED}, or 'digits'."
