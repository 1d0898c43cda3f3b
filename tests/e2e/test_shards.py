"""Shards, wherever they are made, are together the undivided run: rows, witnesses bit by bit, figures, checks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import ironbound as ib
from audit_samples import digits, digits_net, edited, flipped, mlp, reseal
from cli_samples import EPS, model_of, write_zoo
from ironbound.auditing.audit import Audit
from ironbound.auditing.folder import SEAL
from ironbound.cli import run
from ironbound.core.errors import FingerprintMismatch, RunError, UsageError
from ironbound.models.weights import save_weights

SAMPLES, POOL = 40, 4
KILLED = f"""
import os, signal, sys
import ironbound as ib
from audit_samples import digits, mlp
from safetensors.torch import load_file

def kill(event):
    if event.stage == "samples" and event.done >= {2 * POOL}:
        os.kill(os.getpid(), signal.SIGKILL)

net = mlp(64, 24, 10)
net.load_state_dict(load_file(sys.argv[2]))
ib.audit(net, digits({SAMPLES}), threat="linf:0.05", method="quick", out=sys.argv[1], pool={POOL}, shard="2/3", progress=kill)
"""


def audited(out: Path, net: Any = None, samples: int = SAMPLES, **options: Any) -> Audit:
    chosen = {"threat": "linf:0.05", "method": "quick", "pool": POOL, **options}
    return ib.audit(net or digits_net(), digits(samples), out=out, **chosen)


def merged(folders: list[Path], out: Path, **options: Any) -> Audit:
    return ib.merge(folders, digits_net(), digits(SAMPLES), out=out, **options)


def shards_of(place: Path, of: int) -> list[Path]:
    return [audited(place / str(i), shard=f"{i}/{of}").folder for i in range(1, of + 1)]


def rows(folder: Path) -> list[dict[str, Any]]:
    parts = sorted((folder / "results").iterdir())
    return [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]


def figures(facts: dict[str, Any]) -> dict[str, Any]:
    """What audit.json says, without the times."""
    kept = json.loads(json.dumps(facts))
    del kept["created"], kept["cost"]["seconds"], kept["cost"]["cpu"], kept["cost"]["checks"]["cpu"]
    for stage in kept["stages"]:
        del stage["seconds"], stage["cpu"]
    for check in kept["checks"]:
        check.pop("cpu", None)
    return kept


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audited(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return shards_of(tmp_path_factory.mktemp("three"), 3)


@pytest.fixture
def copies(three: list[Path], tmp_path: Path) -> list[Path]:
    """The three shards, to be spoilt."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in three]


def same(audit: Audit, whole: Audit) -> None:
    assert {"wrong", "broken", "certified", "undecided"} == set(whole.verdicts)
    assert audit.verdicts == whole.verdicts
    assert rows(audit.folder) == rows(whole.folder)
    assert figures(audit.facts) == figures(whole.facts)
    assert files(audit.folder, "witnesses/*") == files(whole.folder, "witnesses/*") != {}
    assert files(audit.folder, "gallery.safetensors") == files(whole.folder, "gallery.safetensors") != {}
    assert (audit.folder / SEAL).exists()


# --------------------------------------------------------------------------------------------------------- identical
@pytest.mark.parametrize("of", [1, 3, 7])
def test_shards_are_together_the_undivided_run(of: int, whole: Audit, three: list[Path], tmp_path: Path) -> None:
    folders = three if of == 3 else shards_of(tmp_path, of)
    same(merged(folders[::-1], tmp_path / "whole"), whole)
    found = ib.verify(tmp_path / "whole", digits_net(), digits(SAMPLES))
    assert found.holds, found
    assert (found.clean, found.warnings) == (SAMPLES, [])


def test_a_merged_run_can_be_gone_on_with_as_any_other(whole: Audit, three: list[Path], tmp_path: Path) -> None:
    pending = ib.merge(three, out=tmp_path / "m")
    assert pending.verdicts == whole.verdicts
    assert pending.checks == []
    assert "checks are pending" in pending.facts["confidence"]["text"]
    assert "attacked so far" in str(pending)
    assert ib.verify(pending.folder, digits_net(), digits(SAMPLES)).holds
    with pytest.raises(RunError, match="already holds a run"):
        merged(three, tmp_path / "m")
    same(merged(three, tmp_path / "m", resume=True), whole)
    ib.merge(three, out=tmp_path / "n")
    same(audited(tmp_path / "n", resume=True), whole)


def test_a_killed_shard_is_gone_on_with(whole: Audit, three: list[Path], tmp_path: Path) -> None:
    save_weights(digits_net(), tmp_path / "net.safetensors")
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(ib.__file__).parents[1])])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "2"), str(tmp_path / "net.safetensors")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert sorted(files(tmp_path / "2", "results/*")) == ["part-00001.parquet", "part-00004.parquet"]
    folders = [three[0], tmp_path / "2", three[2]]
    with pytest.raises(RunError, match=r"2 \(shard 2 of 3\) is not finished: go on with it by --resume"):
        merged(folders, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    audited(tmp_path / "2", shard="2/3", resume=True)
    same(merged(folders, tmp_path / "whole"), whole)


def test_an_interrupted_merge_is_gone_on_with(whole: Audit, three: list[Path], tmp_path: Path) -> None:
    ib.merge(three, out=tmp_path / "m")
    for name in (SEAL, "audit.json", "report.html", "results/part-00003.parquet", "witnesses/part-00005.safetensors"):
        (tmp_path / "m" / name).unlink(missing_ok=True)
    (tmp_path / "m" / "results" / "part-00005.parquet").unlink()
    same(merged(three, tmp_path / "m", resume=True), whole)


# ------------------------------------------------------------------------------------------------------- one shard
def test_a_shard_is_a_run_of_its_own_samples(whole: Audit, three: list[Path]) -> None:
    shard = Audit.load(three[1])
    mine = [i for i in range(SAMPLES) if i // POOL % 3 == 1]
    assert shard.verdicts == [whole.verdicts[i] for i in mine]
    assert shard.details.index.tolist() == [whole.details.index[i] for i in mine]
    assert shard.facts["shard"] == {"number": 2, "of": 3}
    assert shard.facts["fingerprints"] == whole.facts["fingerprints"]
    assert "This is shard 2 of 3" in shard.to_html()
    assert "attacked so far" in str(shard)
    found = ib.verify(three[1], digits_net(), digits(SAMPLES))
    assert found.holds, found
    assert found.clean == len(mine)


def test_what_is_held_a_sample_stays_with_its_sample(tmp_path: Path) -> None:
    eps = torch.linspace(0.12, 0.0, 500)
    options: dict[str, Any] = {"samples": 21, "threat": ib.Linf(eps), "method": "pgd"}
    whole = audited(tmp_path / "whole", **options)
    assert 0 < whole.verdicts.count("broken") < 21
    folders = [audited(tmp_path / str(i), shard=f"{i}/2", **options).folder for i in (1, 2)]
    with pytest.raises(UsageError, match="cannot be rebuilt from text"):
        ib.merge(folders, digits_net(), digits(21), out=tmp_path / "m")
    together = ib.merge(folders, digits_net(), digits(21), out=tmp_path / "m", threat=ib.Linf(eps))
    assert rows(together.folder) == rows(whole.folder)
    assert files(together.folder, "witnesses/*") == files(whole.folder, "witnesses/*")
    assert figures(together.facts) == figures(whole.facts)
    for folder in (*folders, together.folder):
        assert ib.verify(folder, digits_net(), digits(21), threat=ib.Linf(eps)).holds


def test_no_folder_holds_two_shards(copies: list[Path], tmp_path: Path) -> None:
    for shard, said in (("3/3", "shard 2 of 3, and not shard 3 of 3"), (None, "shard 2 of 3, and not undivided")):
        with pytest.raises(RunError, match=said):
            audited(copies[1], shard=shard, resume=True)
    with pytest.raises(RunError, match="shard 1 of 3, and not undivided"):
        merged(copies, copies[0], resume=True)


# ------------------------------------------------------------------------------------------------------- refusals
def test_shards_that_are_missing_or_twice(whole: Audit, three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "m"
    with pytest.raises(RunError, match=r"of 3 shards there are missing: 1, 3\. Make them by --shard 1/3"):
        merged(three[1:2], out)
    with pytest.raises(RunError, match="are both shard 2 of 3"):
        merged([*three, three[1]], out)
    with pytest.raises(RunError, match="is an undivided run"):
        merged([three[0], whole.folder], out)
    with pytest.raises(UsageError, match="all shards"):
        merged([], out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "they differ in the seed, 0 and 1"),
        ({"threat": "linf:0.04"}, "they differ in the threat, .*; the plan"),
        ({"method": "pgd"}, "they differ in the plan"),
        ({"samples": 39}, "they differ in the data set"),
        ({"net": mlp(64, 24, 10)}, "they differ in the model"),
        ({"pool": 5}, r"they differ in the size of the pools \(give all the same --pool\), 4 and 5"),
        ({"shard": "2/4"}, "they are shard 1 of 3 and shard 2 of 4"),
    ],
)
def test_shards_of_different_runs(change: dict[str, Any], said: str, three: list[Path], tmp_path: Path) -> None:
    other = audited(tmp_path / "2", **{"shard": "2/3", **change})
    with pytest.raises(FingerprintMismatch, match=f"are not of one run: {said}"):
        merged([three[0], other.folder, three[2]], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_another_version_and_another_machine(copies: list[Path], tmp_path: Path) -> None:
    def older(manifest: Any) -> None:
        manifest["fingerprints"]["code"] = "0" * 16

    def elsewhere(manifest: Any) -> None:
        manifest["fingerprints"]["code"] = now
        manifest["probes"][0][0] += 1.0

    now = json.loads((copies[1] / "manifest.json").read_text())["fingerprints"]["code"]
    edited(copies[1] / "manifest.json", older)
    with pytest.raises(FingerprintMismatch, match="they differ in Ironbound itself"):
        merged(copies, tmp_path / "m")
    edited(copies[1] / "manifest.json", elsewhere)
    with pytest.raises(FingerprintMismatch, match=r"by up to 1, as if the machines computed otherwise"):
        merged(copies, tmp_path / "m")


def test_a_shard_that_was_altered(copies: list[Path], tmp_path: Path) -> None:
    part = copies[2] / "results" / "part-00002.parquet"
    content = part.read_bytes()
    flipped(part, 801)
    with pytest.raises(RunError, match=r"3 \(shard 3 of 3\) was altered since .*part-00002\.parquet"):
        merged(copies, tmp_path / "m")
    part.write_bytes(content[:-100])
    reseal(copies[2])
    with pytest.raises(RunError, match=r"part-00002\.parquet cannot be read as results .* altered or damaged"):
        merged(copies, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    part.write_bytes(content)
    reseal(copies[2])
    shutil.copy(copies[1] / "results" / "part-00001.parquet", copies[2] / "results" / "part-00001.parquet")
    with pytest.raises(RunError, match=r"was altered since .*part-00001\.parquet"):
        merged(copies, tmp_path / "m")


def test_another_model_than_that_of_the_shards(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatch, match="the model"):
        ib.merge(three, mlp(64, 24, 10), digits(SAMPLES), out=tmp_path / "m")
    with pytest.raises(FingerprintMismatch, match="the data set"):
        ib.merge(three, digits_net(), digits(SAMPLES - 1), out=tmp_path / "m")
    with pytest.raises(UsageError, match="both or neither"):
        ib.merge(three, digits_net(), out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


# ------------------------------------------------------------------------------------------------------ at the prompt
def test_shards_at_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    zoo = write_zoo(tmp_path / "zoo")
    monkeypatch.chdir(tmp_path)
    flags = [*model_of(zoo), "--data", "digits", "--threat", EPS, "--samples", "30", "--quiet"]
    attack = ["attack", *flags, "--method", "fgsm,pgd"]
    assert run([*attack, "--pool", "15", "--out", "undivided"]) == 0
    for i in (1, 2):
        assert run([*attack, "--shard", f"{i}/2", "--out", f"s/{i}"]) == 0
    assert run(["merge", "s/1", "--out", "m"]) == 2
    assert "of 2 shards there are missing: 2" in capsys.readouterr().err
    assert run(["merge", "s/1", "s/2", "--out", "m", "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    facts = json.loads(said.out)
    assert facts.pop("folder") == "m"
    assert figures(facts) == figures(Audit.load("undivided").facts)
    assert rows(Path("m")) == rows(Path("undivided"))
    assert run(["verify", "m", "s"]) == 0
    assert capsys.readouterr().out.count("all hold") == 3
    assert run(["report", "m"]) == 0
    (zoo / "zoo.py").rename(zoo / "zoo2.py")
    assert run(["merge", "s", "--out", "s/n"]) == 0
    said = capsys.readouterr()
    assert "Without the model no checks are made. s/1: the recorded model is gone" in said.err
    assert "checks are pending" in said.out
    assert run(["merge", "s", "--out", "s/n", "--resume", "--model", f"{zoo / 'zoo2.py'}:net", "--json"]) == 0
    assert figures(json.loads(capsys.readouterr().out))["checks"] == figures(facts)["checks"]
