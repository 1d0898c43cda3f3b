"""Every file that `load` reads, what it keeps of it, and that no more than the subset is decoded."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from data_samples import grey, made, parquet, png
from ironbound.core.errors import DataError, InputError, UnknownName
from ironbound.data import load

SHARED = Path(__file__).parents[3] / "shared" / "data"


# ---------------------------------------------------------------------------------------------------------- Parquet
def embedded(contents: list[bytes | None]) -> list[dict[str, object]]:
    return [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)]


def test_pictures_of_a_table_are_floats_with_names_and_columns(tmp_path: Path) -> None:
    pictures = embedded([png(grey(51 * i)) for i in range(5)])
    columns = {
        "image": pictures,
        "label": [2, 1, 0, 2, 1],
        "site": list("abcde"),
        "age": [1.5, None, 3.0, 4.0, 5.0],
        "tags": [[1]] * 5,
    }
    data = load(parquet(tmp_path / "test.parquet", columns, names=["x", "y", "z"]))
    assert (data.x.shape, data.x.dtype, data.y.tolist()) == ((5, 1, 4, 4), torch.float32, [2, 1, 0, 2, 1])
    assert data.x[:, 0, 0, 0].equal(torch.tensor([0.0, 51, 102, 153, 204]) / 255)
    assert data.columns == {"site": list("abcde"), "age": [1.5, None, 3.0, 4.0, 5.0]}
    assert (data.classes, data.name) == (("x", "y", "z"), f"{tmp_path.name}/test.parquet")


def test_no_more_rows_of_a_table_are_decoded_than_are_asked_for(tmp_path: Path) -> None:
    wanted = made(10).subset(3, 4).index.tolist()
    contents = [png(grey(i)) if i in wanted else b"broken" for i in range(10)]
    path = parquet(
        tmp_path / "a.parquet", {"image": embedded(contents), "label": list(range(10)), "n": list(range(10))}
    )
    data = load(path, samples=3, seed=4)
    assert data.index.tolist() == data.y.tolist() == data.columns["n"] == wanted
    assert (data.x[:, 0, 0, 0] * 255).round().tolist() == [float(i) for i in wanted]
    with pytest.raises(DataError, match=r"a.parquet, row \d+: not a picture"):
        load(path)


def test_a_subset_of_a_file_is_that_of_the_whole(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": [f"t{i}" for i in range(20)], "label": [i % 2 for i in range(20)]})
    part, whole = load(path, samples=7, seed=3), load(path).subset(7, 3)
    assert (part.x, part.y.tolist(), part.index.tolist()) == (whole.x, whole.y.tolist(), whole.index.tolist())


def test_text_lists_and_numbers_of_a_table(tmp_path: Path) -> None:
    text = load(parquet(tmp_path / "t.parquet", {"y": ["ham", "spam"], "text": ["a", "b"], "n": [1, 2]}))
    assert (text.x, text.y.tolist(), text.classes, text.columns) == (["a", "b"], [0, 1], ("ham", "spam"), {"n": [1, 2]})
    numbers = parquet(
        tmp_path / "n.parquet", {"a": [1, 2], "class": [0, 1], "b": [True, False], "c": [0.5, 4e9], "d": ["p", "q"]}
    )
    assert load(numbers).x.tolist() == [[1.0, 1.0, 0.5], [2.0, 0.0, 4e9]]
    assert load(numbers).columns == {"d": ["p", "q"]}
    assert load(numbers, input=("c", "a"), label="b").x.tolist() == [[0.5, 1.0], [4e9, 2.0]]
    assert load(numbers, input="d", label="a").x == ["p", "q"]
    lists = parquet(tmp_path / "l.parquet", {"x": [[[1, 2]], [[3, 4]]], "y": [0, 1], "e": [[1.0], [1.0, 2.0]]})
    assert load(lists).x.tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert [len(row) for row in load(lists, input="e").x] == [1, 2]


def test_names_of_a_table_number_its_text_labels(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", {"label": ["b", "a"], "text": ["u", "v"]}, names=["b", "a"])
    assert (load(path).y.tolist(), load(path).classes) == ([0, 1], ("b", "a"))
    other = parquet(tmp_path / "u.parquet", {"label": ["b", "c"], "text": ["u", "v"]}, names=["b", "a"])
    with pytest.raises(InputError, match=r"\['c'\] are not among"):
        load(other)


def test_a_description_that_is_none_is_passed_over(tmp_path: Path) -> None:
    for content in (b"{", b"[]", b'{"info": {"features": {"label": {"names": "ab"}}}}', b"\xff"):
        table = pa.table({"label": [0, 1], "f": [1, 2]}).replace_schema_metadata({b"huggingface": content})
        pq.write_table(table, tmp_path / "t.parquet")
        assert load(tmp_path / "t.parquet").classes is None


def test_a_folder_may_hold_tables_by_split(tmp_path: Path) -> None:
    for split, label in (("train", 0), ("test", 1)):
        parquet(tmp_path / f"{split}.parquet", {"f": [1.0], "label": [label]})
    assert load(tmp_path).y.tolist() == [1]
    assert load(str(tmp_path), split="train").y.tolist() == [0]
    with pytest.raises(DataError, match="the folder has train, test"):
        load(tmp_path, split="val")


# --------------------------------------------------------------------------------------------------------- pictures
@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, [1.0]),
        ("L", 51, [0.2]),
        ("LA", (51, 0), [0.2]),
        ("I;16", 13107, [0.2]),
        ("P", 0, [0.0, 0.0, 0.0]),
        ("RGB", (0, 51, 255), [0.0, 0.2, 1.0]),
        ("RGBA", (0, 51, 255, 0), [0.0, 0.2, 1.0]),
    ],
)
def test_pictures_of_every_kind_become_one_or_three_channels(
    tmp_path: Path, mode: str, value: object, expected: list[float]
) -> None:
    contents = [png(Image.new(mode, (5, 3), value))] * 2
    data = load(parquet(tmp_path / "a.parquet", {"image": contents, "label": [0, 1]}))
    assert data.x.shape == (2, len(expected), 3, 5)
    assert data.x[0, :, 0, 0].equal(torch.tensor(expected))


def test_grey_pictures_among_coloured_ones_get_three_channels(tmp_path: Path) -> None:
    contents = [png(grey(51)), png(Image.new("RGB", (4, 4), (0, 255, 0)))]
    data = load(parquet(tmp_path / "a.parquet", {"image": contents, "label": [0, 1]}))
    assert data.x[:, :, 0, 0].equal(torch.tensor([[0.2, 0.2, 0.2], [0.0, 1.0, 0.0]]))


def test_pictures_of_different_sizes_are_refused_by_name(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"image": [png(grey(0)), png(grey(0, 5))], "label": [0, 1]})
    with pytest.raises(InputError, match=r"different sizes: 4x4 .*row 0\) and 5x5 .*row 1\)"):
        load(path)


# ---------------------------------------------------------------------------------------------------------- folders
def folder(root: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(grey(10 * number + i)).save(root / name / f"{i}.png")
    return root


def test_class_folders_are_numbered_by_sorted_names(tmp_path: Path) -> None:
    folder(tmp_path / "pets", {"dog": 2, "cat": 3})
    (tmp_path / "pets/cat/notes.txt").write_text("no picture")
    (tmp_path / "pets/cat/.hidden.png").write_bytes(b"")
    data = load(tmp_path / "pets")
    assert (data.classes, data.y.tolist()) == (("cat", "dog"), [0, 0, 0, 1, 1])
    assert data.columns["path"] == ["cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png"]
    assert (data.x[:, 0, 0, 0] * 255).round().tolist() == [10.0, 11.0, 12.0, 0.0, 1.0]
    assert load(tmp_path / "pets", samples=2).index.equal(data.subset(2).index)


@pytest.mark.parametrize(
    ("suffix", "kind"), [("jpg", "JPEG"), ("JPEG", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP"), ("png", "PNG")]
)
def test_pictures_of_every_format_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / f"p.{suffix}").write_bytes(png(Image.new("RGB", (8, 8), (255, 255, 255)), kind))
    assert load(tmp_path / "d").x.allclose(torch.ones(1, 3, 8, 8), atol=0.01)


def test_parts_number_their_classes_alike(tmp_path: Path) -> None:
    folder(tmp_path / "train", {"ant": 1, "bee": 1})
    folder(tmp_path / "test", {"bee": 2})
    assert load(tmp_path).y.tolist() == [1, 1]
    assert load(tmp_path).classes == load(tmp_path, split="train").classes == ("ant", "bee")
    with pytest.raises(DataError, match="no part 'val'; it has train, test"):
        load(tmp_path, split="val")


# ------------------------------------------------------------------------------------------------------------ npz
def test_arrays_of_an_archive_and_its_columns(tmp_path: Path) -> None:
    x = np.arange(24, dtype="float64").reshape(4, 6)
    np.savez(
        tmp_path / "a.npz",
        X=x,
        y=np.array([0, 1, 1, 0], "int32"),
        who=np.array(list("abcd")),
        test_index=[9, 8, 7, 6],
        odd=[1],
    )
    data = load(tmp_path / "a.npz")
    assert (data.x.tolist(), data.x.dtype, data.y.tolist()) == (x.tolist(), torch.float64, [0, 1, 1, 0])
    assert data.columns == {"who": list("abcd"), "test_index": [9, 8, 7, 6]}
    part = load(tmp_path / "a.npz", samples=2, input="X", label="y")
    assert part.columns["test_index"] == [9 - i for i in part.index.tolist()]
    assert load(tmp_path / "a.npz", label="who").classes == tuple("abcd")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 4, 5), (2, 1, 4, 5)), ((2, 4, 5, 3), (2, 3, 4, 5)), ((2, 3, 4, 5), (2, 3, 4, 5)), ((2, 7), (2, 7))],
)
def test_bytes_of_an_archive_are_pictures(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    np.savez_compressed(
        tmp_path / "a.npz", x_test=np.full(shape, 51, "uint8"), y_test=[0, 1], x_train=np.zeros(3), y_train=[0] * 3
    )
    data = load(tmp_path / "a.npz")
    assert data.x.equal(torch.full(expected, 0.2))
    assert load(tmp_path / "a.npz", split="train").x.shape == (3,)


# ----------------------------------------------------------------------------------------------------------- digits
def test_digits_are_split_for_good() -> None:
    train, test = load("digits:train"), load("digits")
    assert (len(train), len(test), test.x.shape[1:]) == (1297, 500, (1, 8, 8))
    assert sorted(train.columns["number"] + test.columns["number"]) == list(range(1797))
    assert test.columns["number"][:2] != [0, 1]
    assert (test.classes, test.x.dtype) == (tuple("0123456789"), torch.float32)
    assert set((test.x * 16).unique().tolist()) == set(range(17))
    assert torch.bincount(test.y).tolist() == [55, 53, 57, 39, 58, 53, 51, 41, 42, 51]
    assert load("digits", split="train").index.equal(train.index)
    with pytest.raises(UnknownName, match="train, test"):
        load("digits:validation")


def test_importing_the_package_loads_no_reader() -> None:
    code = "import sys, ironbound.data; print([m for m in ('pyarrow', 'PIL', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------------------- real files
def real(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"the real data set {name} is not beside the checkout, in ../shared/data")
    return path


@pytest.mark.real
def test_real_digits() -> None:
    data = load(real("mnist/test.parquet"), samples=64, seed=5)
    assert (data.x.shape, data.x.dtype, data.name) == ((64, 1, 28, 28), torch.float32, "mnist/test.parquet")
    assert data.classes == tuple("0123456789")
    whole = pq.read_table(SHARED / "mnist/test.parquet").slice(int(data.index[7]), 1).to_pylist()[0]
    pixels = np.asarray(Image.open(io.BytesIO(whole["image"]["bytes"])))
    assert (data.x[7, 0].numpy() == pixels.astype("float32") / 255).all()
    assert data.y[7] == whole["label"]
    assert 0.0 == data.x.min() < data.x.max() == 1.0


@pytest.mark.real
def test_real_text_and_tables() -> None:
    text = load(real("rt_polarity/test.parquet"), samples=10)
    assert all(isinstance(sentence, str) for sentence in text.x)
    assert text.classes == ("negative", "positive")
    table = load(real("clamp/test.parquet"))
    assert table.x.shape == (1042, 68)
    assert list(table.columns) == ["packer_type"]
    assert load(real("clamp/test.parquet"), input=["filesize", "E_file"]).x.equal(
        torch.stack([load(SHARED / "clamp/test.parquet", input=name).x[:, 0] for name in ("filesize", "E_file")], 1)
    )
