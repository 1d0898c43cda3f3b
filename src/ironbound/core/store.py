"""Files that are either whole or absent, and trees of rows in them without pickle."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ironbound.core.errors import DataError, RunError
from ironbound.core.text import encoded, json_text


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name, fsync, rename: a crash leaves the old file or the new one, never half of one.

    Raises RunError where the folder cannot be written or the disk is full; the temporary file is removed.
    """
    write_stream(path, (content,))


def write_stream(path: Path, blocks: Iterable[bytes]) -> None:
    """The same of blocks that are made one after another. What making them raises leaves the old file, too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(explained(path, error)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; halves of characters as escapes."""
    write_bytes(path, encoded(text))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, readable by people."""
    write_text(path, f"{json_text(content)}\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises RunError where there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: {path.parent} is no run folder, or an incomplete one.") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise RunError(f"{path} cannot be read as JSON ({error}). It was altered or damaged.") from None


def file_digest(path: Path) -> str:
    """Thirty-two hexadecimal digits of a file's content. Raises RunError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error}).") from error


def write_tensors(path: Path, tables: dict[str, Any], notes: dict[str, str] | None = None) -> None:
    """Write tables of rows (tensors, lists, trees of them) as one safetensors file with notes."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    shape = {name: _flattened(name, table, tensors) for name, table in tables.items()}
    seen: set[int] = set()
    for name, tensor in tensors.items():  # safetensors takes no memory twice, and a ball's point is the input itself
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    written = save(tensors, {"ironbound.tables": json.dumps(shape), **(notes or {})})
    write_bytes(path, _ordered(written) if notes else written)


def _ordered(written: bytes) -> bytes:
    """A safetensors file with its notes in order: the library hashes them, so that equal files would not be equal bytes."""
    size = int.from_bytes(written[:8], "little")
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    made = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    made += b" " * (-len(made) % 8)
    return b"".join((len(made).to_bytes(8, "little"), made, memoryview(written)[8 + size :]))


def read_tensors(path: Path, only: str | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Read what `write_tensors` wrote, or a single table of it. Raises DataError where the file is damaged or another."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            notes = dict(file.metadata() or {})
            wanted = [name for name in file.keys() if only in (None, name.partition("/")[0])]  # noqa: SIM118 - no mapping
            tensors = {name: file.get_tensor(name) for name in wanted}
        shape = json.loads(notes.pop("ironbound.tables"))
        if only is not None:
            shape = {name: layout for name, layout in shape.items() if name == only}
        return {name: _rebuilt(name, layout, tensors) for name, layout in shape.items()}, notes
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as tables of rows ({error}). It was altered, damaged or is something else."
        ) from None


def _flattened(name: str, table: Any, tensors: dict[str, Tensor]) -> Any:
    """The layout of a table as JSON; its tensors are collected under names with paths."""
    if isinstance(table, Tensor):
        tensors[name] = table.detach().cpu().contiguous()
        return "tensor"
    if isinstance(table, dict):
        return {"dict": {key: _flattened(f"{name}/{key}", branch, tensors) for key, branch in table.items()}}
    if isinstance(table, tuple):
        return {"tuple": [_flattened(f"{name}/{i}", branch, tensors) for i, branch in enumerate(table)]}
    if isinstance(table, list) and table and isinstance(table[0], Tensor):
        return {"list": [_flattened(f"{name}/{i}", row, tensors) for i, row in enumerate(table)]}
    return {"plain": table, "rows": "tuple" if table and isinstance(table[0], tuple) else "object"}


def _rebuilt(name: str, layout: Any, tensors: dict[str, Tensor]) -> Any:
    if layout == "tensor":
        return tensors[name]
    if "dict" in layout:
        return {key: _rebuilt(f"{name}/{key}", branch, tensors) for key, branch in layout["dict"].items()}
    if "tuple" in layout or "list" in layout:
        kind, branches = next(iter(layout.items()))
        parts = [_rebuilt(f"{name}/{i}", branch, tensors) for i, branch in enumerate(branches)]
        return tuple(parts) if kind == "tuple" else parts
    return [tuple(row) for row in layout["plain"]] if layout["rows"] == "tuple" else layout["plain"]


def _sync_folder(folder: Path) -> None:
    """The renaming itself must survive a crash, where the system can promise that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explained(path: Path, error: OSError) -> str:
    """Why a file could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: {path} could not be written. What was finished before is kept; free space and resume."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path.parent} cannot be a folder: a file stands in its place. Give another --out."
    if error.errno == errno.EISDIR:
        return f"{path} cannot be written: a folder stands in its place. Give another --out."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} cannot be written ({error.strerror}). Give an --out where you may write."
    return f"{path} could not be written ({error})."
