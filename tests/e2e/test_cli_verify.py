"""`ironbound verify`: nothing altered goes unnoticed, and no code runs that the user or the digest does not vouch for."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest

from cli_samples import EPS, harmless, model_of, write_zoo
from ironbound.auditing.folder import RunFolder
from ironbound.cli import run

CREEP = "\n\n__import__('pathlib').Path({place!r}).write_text('I ran')\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run with its zoo beside it."""
    home = tmp_path_factory.mktemp("done")
    write_zoo(home / "zoo")
    flags = [*model_of(home / "zoo"), "--data", "digits", "--threat", EPS, "--samples", "24", "--pool", "12"]
    assert run(["audit", *flags, "--method", "quick", "--out", str(home / "x"), "--quiet", "--json"]) == 0
    return home


@pytest.fixture
def copy(done, tmp_path):
    """The run in another place; the zoo is where it was."""
    return shutil.copytree(done / "x", tmp_path / "x")


@pytest.fixture
def moved(done, tmp_path, monkeypatch):
    """Run and zoo in another place, with a manifest that says so: what a hostile bundle can do as well."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    rewrite(tmp_path / "x", str(done), str(tmp_path))
    return tmp_path


def rewrite(folder, old, new):
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace(old, new))
    RunFolder.open(folder).seal()


def unsealed(folder):
    """Seal again what was altered, so that not only the digests notice."""
    RunFolder.open(folder).seal()


def flip(path, back=1):
    content = bytearray(path.read_bytes())
    content[-back] ^= 0x40
    path.write_bytes(content)


def test_a_run_holds_where_it_is(copy, capsys):
    assert run(["verify", str(copy)]) == 0
    out = capsys.readouterr().out
    assert "24 clean answers re-checked: all hold" in out
    assert harmless(out)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_byte_of_a_witness(copy, capsys, sealed):
    (path, *_) = sorted((copy / "witnesses").iterdir())
    flip(path)  # in the exponent of the last number
    if not sealed:
        unsealed(copy)
    assert run(["verify", str(copy)]) == 1
    assert "NOT hold" in capsys.readouterr().out


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("column", ["verdict", "label"])
def test_a_verdict_or_a_label(copy, capsys, column, sealed):
    (path, *_) = sorted((copy / "results").iterdir())
    table = pq.read_table(path, partitioning=None)
    values = table[column].to_pylist()
    values[-1] = {"verdict": "certified" if values[-1] != "certified" else "undecided", "label": 3}[column]
    values[-1] = 4 if values[-1] == 3 and table[column].to_pylist()[-1] == 3 else values[-1]
    at = table.column_names.index(column)
    import pyarrow as pa

    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), path)
    if not sealed:
        unsealed(copy)
    assert run(["verify", str(copy)]) == 1
    assert "NOT hold" in capsys.readouterr().out


def test_a_byte_of_the_results(copy, capsys):
    (path, *_) = sorted((copy / "results").iterdir())
    flip(path, back=len(path.read_bytes()) // 2)
    assert run(["verify", str(copy), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["holds"]
    assert "altered" in found["failures"][0]


@pytest.mark.parametrize("content", ["{}", '{"schema": 1', "[]"])
def test_a_manifest_that_is_none(copy, capsys, content):
    (copy / "manifest.json").write_text(content)
    assert run(["verify", str(copy)]) == 1
    assert run(["verify", str(copy.parent)]) == 1
    assert "manifest.json" in capsys.readouterr().out
    (copy / "manifest.json").unlink()
    assert run(["verify", str(copy)]) == 2
    assert run(["verify", str(copy.parent)]) == 2
    assert run(["verify", str(copy.parent / "nowhere")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_makes_no_sense(copy, capsys):
    manifest = json.loads((copy / "manifest.json").read_text())
    for change in (
        {"threat": {"norm": "linf"}},
        {"seed": "x"},
        {"origin": {**manifest["origin"], "data": {"source": 3}}},
    ):
        (copy / "manifest.json").write_text(json.dumps({**manifest, **change}))
        unsealed(copy)
        assert run(["verify", str(copy)]) in (1, 2)
        said = capsys.readouterr()
        assert "not expected" not in said.err, said.err


def test_the_data_may_be_named(copy, capsys):
    assert run(["verify", str(copy), "--data", "digits:test"]) == 0
    assert run(["verify", str(copy), "--data", "digits:train"]) == 1
    assert "the data set" in capsys.readouterr().out
    assert run(["verify", str(copy), "--data", "nowhere"]) == 2


def test_code_that_changed_is_not_run(moved, capsys):
    assert run(["verify", "x"]) == 0
    zoo = moved / "zoo" / "zoo.py"
    zoo.write_text(zoo.read_text() + CREEP.format(place=str(moved / "ran")))
    assert run(["verify", "x"]) == 2
    assert "not what it was" in capsys.readouterr().err
    assert not (moved / "ran").exists()
    assert run(["verify", "x", "--model", "zoo/zoo.py:net"]) == 0  # the user vouches for it
    assert (moved / "ran").exists()


def test_code_or_weights_that_are_gone(moved, capsys):
    (moved / "zoo" / "net.safetensors").rename(moved / "other.safetensors")
    assert run(["verify", "x"]) == 2
    assert "--weights FILE" in capsys.readouterr().err
    assert run(["verify", "x", "--weights", "other.safetensors"]) == 0
    flip(moved / "other.safetensors")
    assert run(["verify", "x", "--weights", "other.safetensors"]) == 1
    (moved / "other.safetensors").rename(moved / "zoo" / "net.safetensors")
    assert run(["verify", "x"]) == 2
    assert "not what they were" in capsys.readouterr().err
    (moved / "zoo" / "zoo.py").unlink()
    assert run(["verify", "x"]) == 2
    assert "--model file.py:function" in capsys.readouterr().err


def test_code_in_the_run_folder_is_not_run(moved, capsys):
    shutil.move(moved / "zoo", moved / "x" / "zoo")
    rewrite(moved / "x", str(moved / "zoo"), str(moved / "x" / "zoo"))
    assert run(["verify", "x"]) == 2
    assert "lies in the run folder itself" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["creeps:net", "creeps.inner:net", "ironbound.cli:main", "antigravity:net"])
def test_packages_are_not_imported_unasked(moved, capsys, spec, monkeypatch):
    import sys

    (moved / "creeps.py").write_text(CREEP.format(place=str(moved / "ran")))
    monkeypatch.syspath_prepend(str(moved))
    manifest = json.loads((moved / "x" / "manifest.json").read_text())
    manifest["origin"]["architecture"] = spec
    (moved / "x" / "manifest.json").write_text(json.dumps(manifest))
    unsealed(moved / "x")
    assert run(["verify", "x"]) == 2
    assert "not imported unasked" in capsys.readouterr().err
    assert not (moved / "ran").exists()
    assert "creeps" not in sys.modules


def test_a_run_that_says_nothing_of_its_origin(copy, done, capsys):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "origin": {}}))
    unsealed(copy)
    assert run(["verify", str(copy)]) == 2
    assert "does not say where its model came from" in capsys.readouterr().err
    assert run(["verify", str(copy), *model_of(done / "zoo")]) == 2
    assert "does not say where its data came from" in capsys.readouterr().err
    assert run(["verify", str(copy), *model_of(done / "zoo"), "--data", "digits", "--samples", "24"]) == 0
    assert (
        run(["verify", str(copy), *model_of(done / "zoo"), "--data", "digits", "--samples", "24", "--range", "0,2"])
        == 1
    )
