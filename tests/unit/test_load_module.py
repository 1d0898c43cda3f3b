"""A user's network from a file or package, weights from a file; hostile and broken ones are refused without running."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from ironbound.core.errors import DataError, ModelError, UsageError
from ironbound.models.load import load_module, source_digest
from ironbound.models.weights import read_weights, weights_digest

ZOO = """
from torch import nn

class Small(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.head = nn.Linear(2, width)

    def forward(self, x):
        return self.head(x)

def small():
    return Small()

def wide(width):
    return Small(width)

def fails():
    raise ValueError("no such disk")

def leaves():
    raise SystemExit(2)

def number():
    return 3

ready = Small(5)
setting = 7
"""


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "zoo.py").write_text(ZOO)
    return tmp_path / "zoo.py"


class Evil:
    """An object whose unpickling creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


# ------------------------------------------------------------------------------------------------------------- specs
@pytest.mark.parametrize(("name", "width"), [("small", 3), ("Small", 3), ("ready", 5)])
def test_functions_classes_and_networks_of_a_file(zoo: Path, name: str, width: int) -> None:
    net = load_module(f"{zoo}:{name}")
    assert isinstance(net, nn.Module)
    assert net(torch.zeros(1, 2)).shape == (1, width)
    assert "self.head = nn.Linear" in inspect.getsource(type(net))


def test_packages_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_module("torch.nn:Identity"), nn.Identity)
    (tmp_path / "pack_of_nets").mkdir()
    (tmp_path / "pack_of_nets" / "__init__.py").touch()
    (tmp_path / "pack_of_nets" / "nets.py").write_text(ZOO)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert type(load_module("pack_of_nets.nets:small")).__module__ == "pack_of_nets.nets"
    assert sys.path == path


def test_a_file_is_read_anew_and_its_neighbours_are_its_own(tmp_path: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    for folder, width in (("a", 2), ("b", 4)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "layers.py").write_text(f"WIDTH = {width}\n")
        text = "from torch import nn\ndef net():\n    from layers import WIDTH\n    return nn.Linear(1, WIDTH)\n"
        (tmp_path / folder / "zoo.py").write_text(text)
    assert [load_module(f"{tmp_path}/{folder}/zoo.py:net").out_features for folder in "aba"] == [2, 4, 2]
    (tmp_path / "a" / "zoo.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(1, 9)\n")
    assert load_module(f"{tmp_path}/a/zoo.py:net").out_features == 9
    assert sys.path == path
    assert all(name.startswith("zoo_") for name in set(sys.modules) - modules)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("smal", UsageError, r"there is no 'smal'. Did you mean 'small'\? It defines Small, small, wide"),
        ("wide", ModelError, r"raised TypeError.*It takes \(width\) and is called without arguments"),
        ("fails", ModelError, "raised ValueError: no such disk"),
        ("leaves", ModelError, "raised SystemExit"),
        ("number", ModelError, "returned int; expected a torch.nn.Module"),
        ("setting", ModelError, "'setting' is of type int; expected a function"),
    ],
)
def test_names_that_give_no_network(zoo: Path, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_module(f"{zoo}:{name}")


def test_specs_that_lead_nowhere(zoo: Path) -> None:
    for spec, words in (
        (str(zoo), r"a model is given as path.*It defines Small, small"),
        (f"{zoo}:", "a model is given as"),
        ("", "a model is given as"),
        (3, "got int"),
        (f"{zoo.parent}/zo.py:small", r"no such file. Did you mean 'zoo.py'\?"),
        ("no_such_package.zoo:net", "there is no module 'no_such_package'"),
        ("torch.no_such_part:net", "there is no module 'torch.no_such_part'"),
        ("torch.nn:Linaer", "Did you mean|there is no 'Linaer'"),
    ):
        with pytest.raises(UsageError, match=words):
            load_module(spec)


@pytest.mark.parametrize("text", ["import no_such_thing", "def", "1/0", "raise SystemExit(1)", "\0"])
def test_files_that_cannot_be_imported_leave_nothing_behind(tmp_path: Path, text: str) -> None:
    modules = set(sys.modules)
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ModelError, match=r"bad.py: importing it raised \w+"):
        load_module(f"{tmp_path}/bad.py:net")
    assert set(sys.modules) == modules


def test_a_package_that_fails_inside_is_no_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_thing")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="importing needs_more raised ModuleNotFoundError"):
        load_module("needs_more:net")


def test_digests_are_those_of_the_files(zoo: Path, tmp_path: Path) -> None:
    assert source_digest(f"{zoo}:small") == hashlib.sha256(zoo.read_bytes()).hexdigest()
    assert source_digest("torch.nn:Linear") == hashlib.sha256(Path(nn.__file__).read_bytes()).hexdigest()
    (tmp_path / "w.pt").write_bytes(b"abc")
    assert weights_digest(tmp_path / "w.pt") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(UsageError, match="no source file"):
        source_digest("no_such_package.zoo:net")
    with pytest.raises(DataError, match="no such file"):
        weights_digest(tmp_path / "none.pt")


# ----------------------------------------------------------------------------------------------------------- weights
def state() -> dict[str, torch.Tensor]:
    return {"head.weight": torch.arange(6.0).reshape(3, 2), "head.bias": torch.ones(3)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"state": {}}},
        lambda s: {"module." + name: value for name, value in s.items()},
        lambda s: {"state_dict": {"module._orig_mod." + name: value for name, value in s.items()}},
    ],
)
def test_weights_of_checkpoints_are_found(zoo: Path, tmp_path: Path, wrap: Callable[[object], object]) -> None:
    torch.save(wrap(state()), tmp_path / "w.pth")
    net = load_module(f"{zoo}:small", tmp_path / "w.pth")
    assert net.head.weight.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert net.head.bias.tolist() == [1.0, 1.0, 1.0]


def test_safetensors_are_read_shared_weights_too(zoo: Path, tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.safetensors")
    assert load_module(f"{zoo}:small", str(tmp_path / "w.safetensors")).head.bias.sum() == 3
    (tmp_path / "tied.py").write_text(
        "from torch import nn\n"
        "def net():\n    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))\n"
        "    net[1].weight = net[0].weight\n    return net\n"
    )
    tied = load_module(f"{tmp_path}/tied.py:net")
    save_model(tied, str(tmp_path / "t.safetensors"))
    again = load_module(f"{tmp_path}/tied.py:net", tmp_path / "t.safetensors")
    assert again[1].weight is again[0].weight
    assert again[1].weight.equal(tied[1].weight)


def test_weights_that_do_not_fit_are_listed(zoo: Path, tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(4, 2), **{f"extra{i}": torch.zeros(1) for i in range(7)}}, tmp_path / "w.pt")
    with pytest.raises(ModelError) as caught:
        load_module(f"{zoo}:small", tmp_path / "w.pt")
    said = str(caught.value)
    assert "1 missing in the file: head.bias" in said
    assert "7 unknown to the network: extra0, extra1, extra2, extra3, extra4, ..." in said
    assert "1 of another shape: head.weight (4, 2) in the file, (3, 2) in the network" in said


def test_weights_that_need_code_are_refused_and_run_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    torch.save({"state_dict": state(), "extra": Evil(marker)}, tmp_path / "new.pt")
    torch.save(Evil(marker), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(nn.Linear(1, 1), tmp_path / "module.pt")
    torch.save({"state_dict": state(), "args": Namespace(lr=1)}, tmp_path / "args.pt")
    for name, named in (("new.pt", "mkdir"), ("old.pth", "mkdir"), ("module.pt", "Linear"), ("args.pt", "Namespace")):
        with pytest.raises(DataError, match=rf"refused, .*{named}.*would run code. .*safetensors") as caught:
            read_weights(tmp_path / name)
        assert "weights_only" not in str(caught.value)
    assert not marker.exists()
    torch.load(tmp_path / "new.pt", weights_only=False)
    assert marker.exists()  # the file was indeed hostile


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.9, 0.99])
def test_truncated_weights_are_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if name == "w.pt":
        torch.save(state(), path)
    else:
        save_file(state(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"{name}: .*etch or save it again"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3}, "got a dict of epoch"),
        ([torch.zeros(1)], "got list"),
        (torch.zeros(1), "got Tensor"),
        ({}, "got a dict of nothing"),
        ({"a": torch.zeros(1), "b": 2}, "got a dict of a, b"),
    ],
)
def test_files_without_weights_are_refused(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match=words):
        read_weights(tmp_path / "w.pt")


def test_other_files_of_weights_are_refused(tmp_path: Path) -> None:
    for name in ("w.pkl", "w.h5", "w"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match=r"weights are read from \.safetensors, \.pt and \.pth"):
            read_weights(tmp_path / name)
    for content in (b"hello world", b"\0" * 100, b"\x80\x02."):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(DataError, match=r"w\.pt: (cannot be read|expected tensors)"):
            read_weights(tmp_path / "w.pt")


def test_compiled_programs_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as file:  # as torch.jit.save lays it out
        for name in ("data.pkl", "constants.pkl", "version", "code/__torch__.py"):
            file.writestr(f"w/{name}", b"3\n")
    with pytest.raises(DataError, match=r"refused, .*would run code"):
        read_weights(tmp_path / "w.pt")
