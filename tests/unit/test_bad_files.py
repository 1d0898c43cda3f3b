"""Files that are damaged, hostile, empty or not what they should be: each gives a DataError that names it, nothing else."""

from __future__ import annotations

import io
import os
import shlex
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.lib import format as npy
from PIL import Image

from data_samples import grey, parquet, png
from ironbound.core.errors import DataError, InputError
from ironbound.data import archive, images, load


class Evil:
    """An object whose unpickling creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def refused(path: Path, words: str) -> None:
    with pytest.raises((DataError, InputError), match=words) as caught:
        load(path)
    assert type(caught.value) is DataError
    assert str(path.parent) in str(caught.value)


# ----------------------------------------------------------------------------------------------- missing and empty
def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").touch()
    refused(tmp_path / "tran.parquet", r"no such file. Did you mean 'train.parquet'\?")
    refused(tmp_path / "zzz", "there are train.parquet")
    refused(tmp_path / "no" / "where" / "x.npz", "the path is good up to")
    for source, words in (("digit", "'digits'"), ("", "the path is empty"), ("a" * 5000, "is no path here")):
        with pytest.raises(DataError, match=words):
            load(source)


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".PARQUET"])
def test_empty_files_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    refused(tmp_path / f"a{suffix}", "the file is empty; expected")


@pytest.mark.parametrize("suffix", [".csv", ".pkl", ".pt", ".npy", ""])
def test_other_files_are_not_guessed_at(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    refused(tmp_path / f"a{suffix}", r"are not read as data; expected a .parquet or .npz")


def test_a_csv_file_is_said_to_become_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    path.write_text("f,label\n0.5,1\n")
    with pytest.raises(DataError) as caught:
        load(path)
    command = shlex.split(str(caught.value).split("To make a table of it: ")[1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert load(path.with_suffix(".parquet")).y.tolist() == [1]


def test_what_is_no_file_or_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz", "neither a file nor a folder")
    path = parquet(tmp_path / "a.parquet", {"f": [1.0], "label": [0]})
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused(path, "may not be read")


# ---------------------------------------------------------------------------------------------- truncated, scrambled
def sound_parquet(folder: Path) -> Path:
    return parquet(folder / "a.parquet", {"image": [png(grey(i)) for i in range(9)], "label": list(range(9))})


def sound_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", x=np.arange(4000.0).reshape(40, 100), y=np.arange(40))
    return folder / "a.npz"


def sound_folder(folder: Path) -> Path:
    (folder / "pictures" / "class").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    (folder / "pictures/class/a.png").write_bytes(png(noise))
    return folder / "pictures/class/a.png"


@pytest.mark.parametrize("sound", [sound_parquet, sound_npz, sound_folder])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.2, 0.5, 0.8, 0.95, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, sound: Callable[[Path], Path], share: float) -> None:
    path = sound(tmp_path)
    whole = path.read_bytes()
    target = path.parents[1] if path.suffix == ".png" else path
    assert len(load(target)) > 0
    path.write_bytes(whole[: max(1, int(share * len(whole)))])
    with pytest.raises(DataError, match=str(path)):
        load(target)


@pytest.mark.parametrize("sound", [sound_parquet, sound_npz, sound_folder])
def test_scrambled_bytes_are_read_or_refused_but_nothing_else(tmp_path: Path, sound: Callable[[Path], Path]) -> None:
    path, refusals = sound(tmp_path), 0
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:place] + bytes(b ^ 0xFF for b in whole[place : place + 3]) + whole[place + 3 :])
        try:
            load(path.parents[1] if path.suffix == ".png" else path)
        except (DataError, InputError):
            refusals += 1
    assert refusals > 20


@pytest.mark.parametrize("name", ["a.parquet", "a.npz"])
def test_other_bytes_under_a_known_suffix_are_refused(tmp_path: Path, name: str) -> None:
    for content in (b"PAR1" * 10, b"PK\x03\x04" + b"\0" * 50, b"\x93NUMPY" + b"\0" * 90, os.urandom(300), b"\n"):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "It seems damaged|numpy.savez")


# ---------------------------------------------------------------------------------------------------- hostile files
@pytest.mark.parametrize("key", ["x", "y", "further"])
def test_pickled_objects_in_an_archive_are_never_unpickled(tmp_path: Path, key: str) -> None:
    marker = tmp_path / "executed"
    arrays = {"x": np.zeros((2, 2)), "y": np.zeros(2), key: np.array([Evil(marker), 0], dtype=object)}
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", "holds pickled Python objects and is refused: reading them would run code")
    assert not marker.exists()
    with np.load(tmp_path / "a.npz", allow_pickle=True) as content:
        content[key]
    assert marker.exists()  # the file was indeed hostile


def member(shape: tuple[int, ...], payload: bytes, descr: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + payload


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 31, 1 << 31), (3,), (-1,), (0,)])
def test_arrays_that_claim_another_size_than_they_have_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", member(shape, b"\0" * 16))
        file.writestr("y.npy", member((2,), b"\0" * 16))
    refused(tmp_path / "a.npz", "damaged or hostile")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", member((1 << 20,), b"\0" * (1 << 23)))
        file.writestr("y.npy", member((1 << 20,), b"\0" * (1 << 23)))
    assert len(load(tmp_path / "a.npz")) == 1 << 20  # small enough to be let in
    monkeypatch.setattr(archive, "SMALL", 1 << 20)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    refused(tmp_path / "a.npz", "decompression bomb")


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that claims to have so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8200, 10_000, 50_000, 1_000_000])
@pytest.mark.parametrize("strict", [True, False])
def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int, strict: bool) -> None:
    path = parquet(tmp_path / "a.parquet", {"image": [bomb(side, side)], "label": [0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore", Image.DecompressionBombWarning)
        refused(path, "row 0: the picture is refused, it claims .* pixels and at most 67,108,864 are decoded")


def test_the_largest_picture_allowed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 16)
    assert images.decode(png(grey(255)), "a").equal(torch.ones(1, 4, 4))
    with pytest.raises(DataError, match="claims 5x5 pixels"):
        images.decode(png(grey(255, 5)), "a")


def test_other_formats_are_not_tried(tmp_path: Path) -> None:
    for kind in ("GIF", "TIFF", "PPM", "PDF"):
        path = parquet(tmp_path / "a.parquet", {"image": [png(grey(1), kind)], "label": [0]})
        refused(path, "row 0: not a picture in one of the formats PNG, JPEG, BMP, WEBP")


# -------------------------------------------------------------------------------------------- sound but not fitting
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"f": [1.0], "g": [2.0]}, "no label column was found; it has 'f', 'g'.*label="),
        ({"label": [1]}, r"no input column was found; it has 'label' \(int64\).*input="),
        ({"audio": [{"bytes": b"RIFF", "path": "a.wav"}], "label": [1]}, "'audio' .struct.*input="),
        ({"f": pa.array([], pa.float64()), "label": pa.array([], pa.int64())}, "the table has no rows"),
        ({"f": [1.0, 2.0], "label": [0, None]}, r"'label' has no value in 1 rows, first in rows \[1\]"),
        ({"f": [None, 2.0], "label": [0, 1]}, r"'f' has no value in 1 rows, first in rows \[0\]"),
        ({"f": [float("nan"), 2.0], "label": [0, 1]}, r"NaN or infinity in 1 of 2 rows, first in rows \[0\]"),
        ({"f": [1.0, 2.0], "label": [0, -1]}, r"\[-1\] in rows \[1\]"),
        ({"f": [1.0, 2.0], "label": [0.5, 1.0]}, r"\[0.5\] in rows \[0\]"),
        ({"f": [1.0], "label": [[0.0, 1.0]]}, "argmax"),
        ({"text": ["a", None], "label": [0, 1]}, "'text' has no value in row 1"),
        ({"image": pa.array([None], pa.binary()), "label": [0]}, "no value in row 0"),
        (
            {"image": [{"bytes": None, "path": "a.png"}], "label": [0]},
            "row 0: the picture's bytes are not in the table",
        ),
        ({"image": [b""], "label": [0]}, "row 0: not a picture"),
        ({"x": [[1.0, None]], "label": [0]}, "row 0: expected a list of numbers"),
    ],
)
def test_tables_that_do_not_fit_say_what_is_wrong(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    refused(parquet(tmp_path / "a.parquet", columns), words)


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"image": [png(grey(0))], "label": [0], "day": pa.array([0], pa.date32())})
    for arguments, words in (
        ({"input": "imgae"}, "no input column 'imgae'; Did you mean 'image'.*'label', 'day'"),
        ({"label": "lable"}, "Did you mean 'label'"),
        ({"input": ["image", "label"]}, "hold numbers; .'image'. do not"),
        ({"input": "day"}, "'day' holds date32"),
    ):
        with pytest.raises(DataError, match=words):
            load(path, **arguments)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(2), "b": np.zeros(2)}, "no input column was found; it has 'a', 'b'"),
        ({"x": np.zeros(2)}, "no label column was found; it has 'x'"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "'x' has 3 rows but 'y' has 2"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "holds no rows"),
        ({"x": np.array(1.0), "y": np.zeros(1)}, "'x' is a single value"),
        ({"x": np.full((2, 2), np.nan), "y": np.zeros(2)}, "NaN or infinity in 2 of 2 rows"),
        ({"x": np.zeros((2, 2)), "y": np.eye(2)}, "argmax"),
        ({"x": np.zeros(2, "complex64"), "y": np.zeros(2)}, "'x' is of dtype complex64"),
        ({"x": np.zeros(2, "S3"), "y": np.zeros(2)}, "expected numbers or text"),
        ({"x": np.zeros(2, [("a", "f4")]), "y": np.zeros(2)}, "expected numbers or text"),
    ],
)
def test_archives_that_do_not_fit_say_what_is_wrong(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", words)


def test_an_archive_without_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("notes.txt", "x")
    refused(tmp_path / "a.npz", "it has none")


def test_folders_that_do_not_fit_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "expected one folder of pictures for each class .*the folder holds nothing")
    (tmp_path / "empty" / "a.png").write_bytes(png(grey(0)))
    refused(tmp_path / "empty", "pictures lie in the folder itself")
    (tmp_path / "bare" / "class").mkdir(parents=True)
    refused(tmp_path / "bare", "the class folders class hold no pictures")
    for size in (4, 5):
        (tmp_path / "bare" / "class" / f"{size}.png").write_bytes(png(grey(0, size)))
    with pytest.raises(InputError, match=r"different sizes: 4x4 .*4.png\) and 5x5 .*5.png\)"):
        load(tmp_path / "bare")


def test_a_table_with_a_column_of_no_known_kind_keeps_only_single_values(tmp_path: Path) -> None:
    table = pa.table({"f": [1.0], "label": [0], "day": pa.array([0], pa.date32()), "deep": [{"a": 1}], "raw": [b"x"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(load(tmp_path / "a.parquet").columns) == ["day"]
