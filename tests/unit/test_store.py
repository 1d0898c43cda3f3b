"""Results and tables on disk: whole or absent, without pickle, the same when read again."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from ironbound.core.errors import DataError, RunError
from ironbound.core.result import Result
from ironbound.core.store import read_json, read_tensors, write_bytes, write_json, write_tensors
from ironbound.testing import tables as checked
from probes.cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_result_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    result = CASES[name].run()
    result.save(tmp_path / "found.safetensors")
    again = Result.load(tmp_path / "found.safetensors")
    checked.assert_same(result, again)
    assert again.config == result.config
    assert repr(again) == repr(result)
    assert again.status_names == result.status_names


TABLES: dict[str, Any] = {
    "tensor": torch.arange(6).view(3, 2),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "texts": ["a", "ä\n", ""],
    "words": [("a", "b"), (), ("c",)],
    "ragged": [torch.arange(3.0), torch.zeros(0), torch.ones(2, 2)],
    "tree": {"x": torch.ones(2), "deep": {"y": (torch.zeros(2, 1), ["u", "v"])}},
    "nothing": [],
    "numbers": [1, 2.5, None],
}


def test_tables_of_all_kinds_come_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", TABLES, {"note": "é"})
    tables, notes = read_tensors(tmp_path / "t")
    assert notes == {"note": "é"}
    assert tables.keys() == TABLES.keys()
    for name in TABLES:
        if name != "tree":
            assert checked.same(tables[name], TABLES[name]), name
    assert torch.equal(tables["tree"]["deep"]["y"][0], torch.zeros(2, 1))
    assert tables["tree"]["deep"]["y"][1] == ["u", "v"]
    assert tables["half"].dtype == torch.bfloat16


def test_views_and_shared_tensors_are_written_by_value(tmp_path: Path) -> None:
    x = torch.arange(12.0).view(3, 4)
    write_tensors(tmp_path / "t", {"a": x, "same": x, "row": x[1], "turned": x.T, "wide": x[:1].expand(5, 4)})
    tables, _ = read_tensors(tmp_path / "t")
    assert torch.equal(tables["same"], x)
    assert torch.equal(tables["row"], x[1])
    assert torch.equal(tables["turned"], x.T)
    assert tables["wide"].shape == (5, 4)


@pytest.mark.parametrize("content", [b"", b"not a file", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"\xff" * 64])
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(DataError, match="bad"):
        read_tensors(tmp_path / "bad")
    with pytest.raises(DataError, match="missing"):
        read_tensors(tmp_path / "absent")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"a": torch.arange(1000)})
    whole = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        read_tensors(tmp_path / "t")


def test_tables_that_are_no_result_are_told_apart(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"a": torch.ones(2)}, {"config": "{}"})
    with pytest.raises(DataError, match="not a result"):
        Result.load(tmp_path / "t")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")

    def broken(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(RunError, match=r"disk is full.*resume"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("code", "said"), [(errno.EACCES, "cannot be written"), (errno.EROFS, "may write"), (errno.EIO, "could not")]
)
def test_why_a_file_cannot_be_written_is_said(
    code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Path, *args: Any, **kinds: Any) -> Any:
        raise OSError(code, "no")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(RunError, match=said):
        write_bytes(tmp_path / "file", b"new")


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="stands in its place"):
        write_bytes(tmp_path / "file" / "inner", b"new")


def test_json_is_readable_and_checked(tmp_path: Path) -> None:
    write_json(tmp_path / "j", {"name": "ä", "list": [1, None]})
    assert read_json(tmp_path / "j") == {"name": "ä", "list": [1, None]}
    assert "ä" in (tmp_path / "j").read_text(encoding="utf-8")
    (tmp_path / "j").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="altered or damaged"):
        read_json(tmp_path / "j")
    with pytest.raises(RunError, match="is missing"):
        read_json(tmp_path / "absent")


def test_rows_of_a_result_can_be_taken_and_moved() -> None:
    result = CASES["pgd_linf"].run()
    some = result.take(torch.tensor([3, 0]))
    assert len(some) == 2
    assert torch.equal(some.points, result.points[[3, 0]])
    assert some.config == result.config
    assert torch.equal(result.to("cpu").size, result.size)
