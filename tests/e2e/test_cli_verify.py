"""`ironbound verify`: nothing altered goes unnoticed, and no code runs that the user or the digest does not vouch for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from audit_samples import edited, reseal, rewritten
from cli_samples import EPS, environment, harmless, model_of, write_zoo
from ironbound.auditing.folder import RunFolder
from ironbound.cli import run
from ironbound.core.store import read_tensors, write_tensors
from ironbound.models.weights import weights_digest

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


def test_what_the_model_imports_from_its_folder_is_vouched_for_too(tmp_path, monkeypatch, capsys):
    zoo = write_zoo(tmp_path / "zoo")
    (zoo / "layers").mkdir()
    (zoo / "layers" / "__init__.py").write_text("from .dense import linear\n")
    (zoo / "layers" / "dense.py").write_text("from torch.nn import Linear as linear\n")
    text = (zoo / "zoo.py").read_text()
    (zoo / "zoo.py").write_text("from layers import linear\n" + text.replace("nn.Linear", "linear"))
    monkeypatch.chdir(tmp_path)
    flags = [*model_of(zoo), "--data", "digits", "--threat", EPS, "--samples", "6", "--method", "fgsm", "--quiet"]
    assert run(["attack", *flags, "--out", "x"]) == 0
    assert run(["verify", "x"]) == 0
    (zoo / "unused.py").write_text("1")
    (zoo / "layers" / "dense.py").write_text(
        "from torch.nn import Linear as linear\n" + CREEP.format(place=str(tmp_path / "ran"))
    )
    capsys.readouterr()
    assert run(["verify", "x"]) == 2
    assert "or what it imports from its folder, is not what it was" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


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


# --------------------------------------------------------------- what a forger does who makes the digests true again
def truncated(folder, name="results/part-00001.parquet"):
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])
    reseal(folder)


def truncated_witnesses(folder):
    truncated(folder, "witnesses/part-00000.safetensors")


def moved_witnesses(folder):
    """By as little as 1e-6, away from the clean input."""
    for path in (folder / "witnesses").iterdir():
        tables, notes = read_tensors(path)
        write_tensors(path, {**tables, "adversarial": tables["adversarial"] + 1e-6}, notes)
    reseal(folder)


def exchanged_witnesses(folder):
    """Each sample has that of the next."""
    for path in (folder / "witnesses").iterdir():
        tables, notes = read_tensors(path)
        write_tensors(path, {**tables, "adversarial": tables["adversarial"].roll(1, 0)}, notes)
    reseal(folder)


def hidden(folder):
    """What was broken is said to have held."""
    for number in (0, 1):
        rewritten(
            folder,
            lambda rows: [{**row, "verdict": row["verdict"].replace("broken", "undecided")} for row in rows],
            number,
        )


def claimed(folder):
    """A sample that bounds left open is said to be certified by them."""

    def change(rows):
        target = next(row["index"] for row in rows if row["stage"] == "ibp" and row["verdict"] == "undecided")
        kept = [row for row in rows if row["index"] != target or row["stage"] in ("clean", "ibp")]
        return [
            {**row, "verdict": "certified", "margin": 1.0} if (row["index"], row["stage"]) == (target, "ibp") else row
            for row in kept
        ]

    rewritten(folder, change)


def better(folder):
    edited(folder / "audit.json", lambda facts: facts["attacked"].update(count=24, fraction=1.0))


def renamed(folder):
    edited(folder / "manifest.json", lambda manifest: manifest["fingerprints"].update(model="0" * 16))


def other_pools(folder):
    edited(folder / "manifest.json", lambda manifest: manifest.update(pool=8))


def no_pools(folder):
    edited(folder / "manifest.json", lambda manifest: manifest.update(pool=0))


def one_part_less(folder):
    (folder / "results" / "part-00001.parquet").unlink()
    reseal(folder)


def unsealed_again(folder):
    (folder / "digests.json").unlink()


@pytest.mark.parametrize(("forge", "said"), [
    (truncated, "results/part-00001.parquet cannot be read as results .* altered or damaged"),
    (truncated_witnesses, "witnesses/part-00000.safetensors cannot be read as tables of rows .* altered, damaged"),
    (moved_witnesses, r"sample \d+: its witness lies outside the threat"),
    (exchanged_witnesses, r"sample \d+: its witness lies outside the threat"),
    (hidden, r"sample \d+: it was left undecided after 'pgd'"),
    (claimed, r"sample \d+: its certificate by ibp cannot be confirmed"),
    (better, "audit.json: 'attacked' does not follow from the results"),
    (renamed, r"was made with something else: the model .* was 0000000000000000 \(net\) and is [0-9a-f]{16}"),
    (other_pools, "was finished, and has results of 24 of 24 samples, in 2 of 3 parts. It was altered"),
    (no_pools, "the folder cannot be read .*; it was altered"),
    (one_part_less, "was finished, and has results of 12 of 24 samples, in 1 of 2 parts. It was altered"),
    (unsealed_again, "digests.json is missing, so that no change could be noticed; --resume makes it anew"),
])  # fmt: skip
def test_every_forgery_is_refused_in_one_sentence(copy, capsys, forge, said):
    forge(copy)
    assert run(["verify", str(copy)]) == 1
    shown = capsys.readouterr()
    first, *findings = shown.out.splitlines()
    assert "NOT hold" in first
    assert re.search(said, findings[0] if forge is not hidden else shown.out)
    assert "Traceback" not in shown.out + shown.err
    assert "not expected" not in shown.err
    if forge not in (moved_witnesses, exchanged_witnesses, hidden, claimed):
        assert len(findings) == 1


def test_the_manifest_of_another_model(copy, done, tmp_path, capsys):
    write_zoo(tmp_path / "zoo")
    weights = {name: tensor * 1.01 for name, tensor in load_file(done / "zoo" / "net.safetensors").items()}
    save_file(weights, tmp_path / "zoo" / "net.safetensors")
    flags = [*model_of(tmp_path / "zoo"), "--data", "digits", "--threat", EPS, "--samples", "24", "--pool", "12"]
    assert run(["audit", *flags, "--method", "quick", "--out", str(tmp_path / "y"), "--quiet", "--json"]) == 0
    capsys.readouterr()
    shutil.copy(tmp_path / "y" / "manifest.json", copy / "manifest.json")
    assert run(["verify", str(copy)]) == 1
    assert "manifest.json was altered or taken away since the run finished" in capsys.readouterr().out
    reseal(copy)
    assert run(["verify", str(copy)]) == 1  # the other model, which its manifest leads to, has other answers
    assert "audit.json: 'model' does not follow from the results" in capsys.readouterr().out
    assert run(["verify", str(copy), *model_of(done / "zoo")]) == 1
    assert "was made with something else: the model" in capsys.readouterr().out
    resumed = ["audit", *model_of(done / "zoo"), *flags[4:], "--method", "quick", "--out", str(copy), "--resume"]
    assert run([*resumed, "--quiet"]) == 2
    assert "was made with something else: the model" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- a run folder is data alone
def plant(folder):
    """Files that Python would import from where it is started, and such as a model's code is read from."""
    names = ("sitecustomize", "usercustomize", "torch", "numpy", "pyarrow", "safetensors", "zoo", "model", "typer")
    for name in names:
        (folder / f"{name}.py").write_text(CREEP.format(place=str(folder / f"{name} ran")))
    (folder / "conftest.py").write_text(CREEP.format(place=str(folder / "conftest ran")))


@pytest.mark.parametrize("way", [["-m", "ironbound"], ["-c", "from ironbound.cli import main; main()"]])
def test_nothing_is_imported_from_a_run_folder_in_which_one_stands(copy, way):
    plant(copy)
    if way[0] == "-c":  # as the console script does, whose first place on the path is its own folder
        way = ["-P", *way]
    found = subprocess.run(
        [sys.executable, *way, "verify", "."], cwd=copy, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "24 clean answers re-checked: all hold" in found.stdout
    assert [path.name for path in copy.rglob("* ran")] == []


def test_weights_and_data_in_the_run_folder_run_nothing(moved, capsys):
    """They are read as numbers alone: a pickle that would run code is refused."""
    manifest = json.loads((moved / "x" / "manifest.json").read_text())
    evil = moved / "x" / "net.pt"
    evil.write_bytes(b"cposix\nmkdir\n(S'" + str(moved / "ran").encode() + b"'\ntR.")
    for origin in ({"weights": str(evil), "weights_digest": weights_digest(evil)}, {"data": {"source": str(evil)}}):
        whole = {**manifest["origin"], **origin}
        if "data" in origin:
            whole["data"] = {**manifest["origin"]["data"], **origin["data"]}
        (moved / "x" / "manifest.json").write_text(json.dumps({**manifest, "origin": whole}))
        unsealed(moved / "x")
        assert run(["verify", "x"]) == 2
        assert "Traceback" not in capsys.readouterr().err
        assert not (moved / "ran").exists()
