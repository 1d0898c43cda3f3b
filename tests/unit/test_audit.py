"""An audit end to end on small nets: fractions, verdicts and the folder that a run leaves behind."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import ironbound as ib
from audit_samples import data_of, digits, digits_net, drawn, flipped, labelled, mlp
from ironbound.auditing import folder as folders
from ironbound.auditing import manifest as manifests
from ironbound.auditing.audit import Audit, finish
from ironbound.auditing.folder import SEAL, RunFolder, locked
from ironbound.auditing.plan import Attacking, Bounds, Plan, of_attacks
from ironbound.auditing.plans import quick
from ironbound.auditing.run import run
from ironbound.auditing.table import COLUMNS
from ironbound.certification.ibp import Ibp
from ironbound.core import store
from ironbound.core.errors import (
    CompositionError,
    DataError,
    FingerprintMismatch,
    InputError,
    ModelError,
    RunError,
    UsageError,
)
from ironbound.data import Data
from ironbound.models.model import Model

PGD = Plan("small", (Attacking("pgd", ib.recipes.pgd(steps=5)), Attacking("fgsm", ib.recipes.fgsm(), witness=True)))
"""Without bounds, which take a second to trace."""


def audited(out: Path, data: Any = None, net: nn.Module | None = None, **options: Any) -> Audit:
    chosen = {"threat": "linf:0.05", "method": PGD, **options}
    return ib.audit(net or digits_net(), digits(24) if data is None else data, out=out, **chosen)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """One audit with all four verdicts."""
    return audited(tmp_path_factory.mktemp("whole") / "run", digits(40), method="quick", pool=16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two pools, 24 samples."""
    return audited(tmp_path_factory.mktemp("finished") / "run", pool=16).folder


@pytest.fixture
def small(finished: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The run that a full disk interrupts elsewhere."""
    return audited(tmp_path_factory.mktemp("undisturbed") / "run", pool=12)


# -------------------------------------------------------------------------------------------------------- fractions
def test_all_fractions_are_of_all_samples(whole: Audit) -> None:
    verdicts = whole.verdicts
    assert set(verdicts) == {"wrong", "broken", "certified", "undecided"}
    share = lambda *which: sum(v in which for v in verdicts) / 40
    assert whole.certified_accuracy == share("certified")
    assert whole.attacked_accuracy == share("certified", "undecided")
    assert whole.clean_accuracy == share("certified", "undecided", "broken")
    assert whole.facts["verdicts"] == {name: verdicts.count(name) for name in whole.facts["verdicts"]}
    assert all(whole.facts[name]["total"] == 40 for name in ("clean", "attacked", "certified"))


def test_the_brackets_interval_spans_both_ends(whole: Audit) -> None:
    facts = whole.facts
    assert facts["bracket"]["low"] == whole.certified_accuracy <= whole.attacked_accuracy == facts["bracket"]["high"]
    assert facts["bracket"]["interval"] == [facts["certified"]["low"], facts["attacked"]["high"]]


def test_wrong_when_clean_is_never_right_under_attack(tmp_path: Path) -> None:
    net, x = digits_net(), digits(12).x
    y = (labelled(net, x) + 1) % 10
    report = audited(tmp_path / "run", (x, y), net, method="quick")
    assert report.verdicts == ["wrong"] * 12
    assert report.clean_accuracy == report.attacked_accuracy == report.certified_accuracy == 0
    assert report.facts["stages"][1]["entered"] == 0
    assert report.witnesses()[0].tolist() == []


def test_everything_certified_and_nothing_broken_at_radius_zero(tmp_path: Path) -> None:
    net, x = digits_net(), digits(12).x
    report = audited(tmp_path / "run", (x, labelled(net, x)), net, threat="linf:0", method="quick")
    assert report.verdicts == ["certified"] * 12
    assert report.facts["bracket"] == {"low": 1.0, "high": 1.0, "interval": [report.facts["certified"]["low"], 1.0]}


def test_a_tie_is_no_right_answer(tmp_path: Path) -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 3) + 0 * x.flatten(1).sum(1, keepdim=True)

    report = audited(tmp_path / "run", (drawn(4, 1, 8, 8), torch.zeros(4)), Constant())
    assert report.verdicts == ["wrong"] * 4


def test_classes_are_counted_by_label(whole: Audit) -> None:
    rows = whole.facts["classes"]
    assert sum(row["total"] for row in rows) == 40
    assert sum(row["attacked"]["count"] for row in rows) == whole.facts["attacked"]["count"]
    assert [row["name"] for row in rows] == list("0123456789")


# ------------------------------------------------------------------------------------------------------- the folder
def test_the_folder_is_complete(whole: Audit) -> None:
    names = {str(p.relative_to(whole.folder)) for p in whole.folder.rglob("*") if p.is_file()}
    assert names == {
        "manifest.json", "audit.json", "report.html", "gallery.safetensors", "attributions.safetensors",
        "digests.json", "lock",
        *(f"results/part-0000{i}.parquet" for i in range(3)),
        *(f"witnesses/part-0000{i}.safetensors" for i in range(3)),
    }  # fmt: skip
    manifest = json.loads((whole.folder / "manifest.json").read_text())
    assert set(manifest["fingerprints"]) == {"model", "data", "threat", "plan", "seed", "code"}
    assert manifest["seed"] == 0
    assert {"python", "torch", "numpy", "pyarrow", "processor", "threads"} <= set(manifest["environment"])
    assert "<html" in (whole.folder / "report.html").read_text()


def test_the_folder_alone_gives_the_audit_again(whole: Audit) -> None:
    again = Audit.load(whole.folder)
    assert again.facts == whole.facts == json.loads(whole.to_json())
    assert again.to_html() == (whole.folder / "report.html").read_text()
    assert again.verdicts == whole.verdicts
    assert [p.index for p in again.pictures] == [p.index for p in whole.pictures]
    assert str(again) in repr(again)


def test_results_have_a_row_per_sample_and_stage(whole: Audit) -> None:
    table = whole.details.table
    assert set(COLUMNS) <= set(table.column_names)
    clean = whole.details.stage_rows("clean")
    assert clean["index"].tolist() == digits(40).index.tolist()
    assert clean["label"].tolist() == digits(40).y.tolist()
    open_ = 40 - whole.verdicts.count("wrong")
    assert len(whole.details.stage_rows("ibp")["index"]) == open_
    assert len(whole.details.stage_rows("pgd")["index"]) == open_ - whole.verdicts.count("certified")


def test_witnesses_are_inside_and_fool_the_model(whole: Audit) -> None:
    index, adversarial = whole.witnesses()
    broken = [i for i, v in zip(whole.details.index.tolist(), whole.verdicts, strict=True) if v == "broken"]
    assert sorted(index.tolist()) == broken
    data = digits(40)
    rows = [data.index.tolist().index(i) for i in index.tolist()]
    assert bool(ib.Linf(0.05).at(data.x[rows], (0, 1)).contains(adversarial).all())
    assert bool((labelled(digits_net(), adversarial) != data.y[rows]).all())


def test_the_gallery_shows_broken_samples_with_what_the_model_says(whole: Audit) -> None:
    first, net = whole.pictures[0], digits_net()
    assert first.verdict == "broken"
    assert first.clean_answer == first.label != first.adversarial_answer
    assert first.adversarial_answer == str(int(labelled(net, first.adversarial[None])))
    assert 0 < first.size <= 0.05


def test_further_columns_of_the_data_are_kept(tmp_path: Path) -> None:
    x, kind = drawn(6, 1, 8, 8), ["a", "b", None, "a", "c", "b"]
    columns = {"kind": kind, "age": [1, 2, 3, 4, 5, 6], "mixed": [1, "x", None, 2.5, {3}, 2**70]}
    net = mlp(64, 3)
    report = audited(tmp_path / "run", data_of(x, labelled(net, x), columns=columns), net, pool=2)
    rows = report.details.stage_rows("clean")
    assert rows["data.kind"].tolist() == kind
    assert rows["data.age"].tolist() == [1, 2, 3, 4, 5, 6]
    assert rows["data.mixed"].tolist() == ["1", "x", None, "2.5", "{3}", str(2**70)]
    assert ib.verify(report.folder, net, data_of(x, labelled(net, x), columns=columns)).holds


def test_equal_images_and_one_image_under_two_labels_stay_apart(tmp_path: Path) -> None:
    net, one = digits_net(), digits(1).x
    right = int(labelled(net, one))
    x, y = one.repeat(4, 1, 1, 1), torch.tensor([right, right, (right + 1) % 10, right])
    report = audited(tmp_path / "run", (x, y), net, threat="linf:0.3", pool=3)
    assert report.verdicts == ["broken", "broken", "wrong", "broken"]
    keys = report.details.key.tolist()
    assert keys[0] == keys[1] == keys[3] != keys[2]
    index, adversarial = report.witnesses()
    assert index.tolist() == [0, 1, 3]
    assert torch.equal(adversarial[0], adversarial[1])  # equal samples draw alike
    assert ib.verify(report.folder, net, (x, y)).holds


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_pools_changes_no_verdict(whole: Audit, tmp_path: Path, size: int) -> None:
    report = audited(tmp_path / "run", digits(40), method="quick", pool=size)
    assert report.verdicts == whole.verdicts
    assert len(list((report.folder / "results").iterdir())) == math.ceil(40 / size)
    assert report.facts["bracket"] == whole.facts["bracket"]


def test_the_order_of_the_data_changes_no_verdict(whole: Audit, tmp_path: Path) -> None:
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    report = audited(tmp_path / "run", digits(40).take(order), method="quick", pool=16)
    assert report.verdicts == [whole.verdicts[i] for i in order.tolist()]
    assert report.details.index.tolist() == digits(40).index[order].tolist()


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    net = digits_net().train()
    net[1].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    report = audited(tmp_path / "run", net=net)
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == [False, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert "training mode" in next(c["evidence"] for c in report.checks if c["number"] == 19)


def test_json_has_no_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    net = mlp(64, 3)
    x = drawn(3, 1, 8, 8)
    options = {"threat": ib.Linf(math.inf), "method": ib.recipes.hopskipjump(queries=60)}
    report = audited(tmp_path / "run", (x, labelled(net, x)), net, **options)
    for name in ("manifest.json", "audit.json", "digests.json"):
        assert json.loads((report.folder / name).read_text(), parse_constant=refuse)
    assert report.facts["threat"]["text"] == "an input may change at will, within [0, 1]"
    assert ib.verify(report.folder, net, (x, labelled(net, x))).holds


def test_a_radius_is_written_as_one_writes_it(tmp_path: Path) -> None:
    for eps, said in ((8 / 255, "linf:8/255"), (0.3, "linf:0.3"), (0.2, "linf:0.2"), (1e-3, "linf:0.001")):
        assert manifests.threat_facts(ib.Linf(eps), (0.0, 1.0))["spec"] == said
        assert ib.parse_threat(said) == ib.Linf(eps)
    assert ib.parse_threat("linf:0.5/255") == ib.Linf(0.5 / 255)  # certified radii are small


# ------------------------------------------------------------------------------------------- a plan must make sense
def test_bounds_are_left_out_with_the_reason_where_there_are_none(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(64, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(self.net(x))

    net, x = Odd(), drawn(4, 1, 8, 8)
    report = audited(tmp_path / "run", (x, labelled(net, x)), net, method="quick")
    assert report.facts["notes"][0].startswith("Bounds were left out: ")
    assert report.certified_accuracy == 0
    assert next(s for s in report.facts["stages"] if s["name"] == "ibp")["entered"] == 0
    assert ib.verify(report.folder, net, (x, labelled(net, x))).holds


def test_a_targeted_attack_is_no_audit() -> None:
    with pytest.raises(UsageError, match=r"the goal of stage 'attack' is Targeted.*ironbound\.attack"):
        ib.audit(digits_net(), digits(4), threat="linf:0.1", method=ib.recipes.pgd().replace(goal=ib.Targeted()))


def test_stages_have_names_of_their_own() -> None:
    with pytest.raises(UsageError, match="different names"):
        of_attacks([("pgd", ib.recipes.pgd()), ("pgd", ib.recipes.fgsm())])
    with pytest.raises(UsageError, match="'clean'"):
        Plan("p", (Bounds("clean", Ibp()),))


def test_what_does_not_fit_says_so_before_a_folder_is_made(tmp_path: Path) -> None:
    class Decides(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.flatten(1).mean(1) > 0.5).long()

    class Detached(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().flatten(1)[:, :3]

    pair = (drawn(4, 1, 8, 8), torch.zeros(4))
    with pytest.raises(CompositionError, match="hopskipjump"):
        audited(tmp_path / "run", pair, Decides())
    with pytest.raises(ModelError, match="detach"):
        audited(tmp_path / "run", pair, Detached())
    with pytest.raises(UsageError, match="pool"):
        audited(tmp_path / "run", pool=-1)
    twice = data_of(drawn(3, 1, 8, 8), torch.zeros(3), index=torch.tensor([4, 5, 4]))
    with pytest.raises(InputError, match="numbers several rows alike"):
        audited(tmp_path / "run", twice)
    assert not (tmp_path / "run").exists()


# --------------------------------------------------------------------------------------- folders that cannot be used
def test_a_second_run_into_one_folder_is_refused(small: Path) -> None:
    before = contents(small)
    with pytest.raises(RunError, match=r"already holds a run\. Add --resume"):
        audited(small)
    assert contents(small) == before


def test_other_things_in_the_folder_or_in_its_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, said in (
        ("full", "holds other things"),
        ("file", "a file stands in its place"),
        ("link", "leads nowhere"),
    ):
        for resume in (False, True):
            with pytest.raises(RunError, match=said):
                audited(tmp_path / name, resume=resume)
    with pytest.raises(RunError, match="a file stands in its place"):
        audited(tmp_path / "file" / "below")
    assert contents(tmp_path) == {"full/thesis.txt": b"mine", "file": b"mine"}


def test_an_empty_folder_a_link_to_one_and_one_without_parents_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for place in ("empty", "link", "a/b/c"):
        assert audited(tmp_path / place, digits(3)).folder == tmp_path / place
        assert (tmp_path / place / "report.html").exists()


def test_leftovers_of_killed_processes_do_not_disturb(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".manifest.json.123.tmp").write_text("{")
    (out / "lock").touch()
    report = audited(out, pool=16)
    for name in (".audit.json.7.tmp", "results/.part-00001.parquet.7.tmp", "witnesses/.part-00001.safetensors.7.tmp"):
        (out / name).write_text("half of it")
    assert ib.verify(out, digits_net(), digits(24)).holds
    again = audited(out, resume=True)
    assert _timeless(again.facts) == _timeless(report.facts)
    assert not list(out.rglob("*.tmp"))


def test_only_one_process_writes_at_a_time(small: Path) -> None:
    with locked(small), pytest.raises(RunError, match="another process is writing"):
        audited(small, resume=True)
    assert audited(small, resume=True).verdicts


def _holding(folder: str, ready: Any, done: Any) -> None:
    with locked(Path(folder)):
        ready.set()
        done.wait(60)


def test_the_lock_holds_between_processes_and_dies_with_its_owner(tmp_path: Path) -> None:
    forked = multiprocessing.get_context("spawn")
    ready, done = forked.Event(), forked.Event()
    other = forked.Process(target=_holding, args=(str(tmp_path / "run"), ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(RunError, match="another process"):
        audited(tmp_path / "run", digits(3))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["lock"]
    other.kill()
    other.join(60)
    assert audited(tmp_path / "run", digits(3)).verdicts


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(folders.os, "open", refused)
    with pytest.raises(RunError, match=r"cannot be written \(Permission denied\)\. Give an --out where you may write"):
        audited(tmp_path / "run")


def test_a_folder_of_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(RunError, match="cannot be written"):
            audited(tmp_path / "run")
    else:
        with pytest.raises(RunError, match=r"could not be written|cannot be written"):
            audited(Path("/proc/ironbound"))


def test_folders_that_are_no_runs(tmp_path: Path, small: Path) -> None:
    with pytest.raises(RunError, match="is no folder"):
        Audit.load(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="is missing"):
        Audit.load(tmp_path / "other")
    for text, said in (("[1]", "not the manifest"), ("{}", "not the manifest"), ("{", "cannot be read as JSON")):
        (tmp_path / "other" / "manifest.json").write_text(text)
        with pytest.raises(RunError, match=said):
            Audit.load(tmp_path / "other")
    (small / "audit.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="not what an audit of this version wrote"):
        Audit.load(small)
    (small / "audit.json").unlink()
    with pytest.raises(RunError, match="not finished: go on with it by --resume"):
        Audit.load(small)


# --------------------------------------------------------------------------------------------------------- resuming
def test_a_finished_run_resumes_to_the_same(small: Path) -> None:
    """Byte by byte, but for what says how long the checks took."""
    timed = {"audit.json", "report.html", SEAL}
    untimed = lambda: {name: content for name, content in contents(small).items() if name not in timed}
    before, first = untimed(), Audit.load(small)
    again = audited(small, resume=True)
    assert untimed() == before
    assert again.facts == Audit.load(small).facts
    assert _timeless(again.facts) == _timeless(first.facts)


def _timeless(facts: dict[str, Any]) -> dict[str, Any]:
    """What an audit says, without the times."""
    checks = [{k: v for k, v in check.items() if k != "cpu"} for check in facts["checks"]]
    return {**{k: v for k, v in facts.items() if k not in ("stages", "cost")}, "checks": checks}


def test_a_part_that_is_gone_is_made_again(small: Path) -> None:
    before, tables = Audit.load(small), contents(small / "witnesses")
    (small / "results" / "part-00001.parquet").unlink()
    again = audited(small, resume=True, pool=3)  # the folder's own pools count
    assert again.verdicts == before.verdicts
    assert contents(small / "witnesses") == tables
    assert _timeless(again.facts) == _timeless(before.facts)
    assert ib.verify(small, digits_net(), digits(24)).holds


def _unfinished(folder: Path) -> None:
    """As if killed before the last pool."""
    for name in ("results/part-00001.parquet", "audit.json", "report.html", "digests.json", "gallery.safetensors"):
        (folder / name).unlink()


@pytest.mark.parametrize("cut", [1, 100, -1])
def test_a_truncated_part_is_refused(small: Path, cut: int) -> None:
    _unfinished(small)
    part = small / "results" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:cut])
    with pytest.raises(RunError, match=r"part-00000\.parquet cannot be read as results .*altered or damaged"):
        audited(small, resume=True)
    assert not (small / "results" / "part-00001.parquet").exists()


def test_a_truncated_file_of_witnesses_is_refused(small: Path) -> None:
    _unfinished(small)
    part = small / "witnesses" / "part-00000.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"part-00000\.safetensors cannot be read as tables of rows"):
        audited(small, resume=True)


def test_a_sealed_run_that_was_altered_is_not_resumed(small: Path) -> None:
    witnesses = small / "witnesses" / "part-00000.safetensors"
    flipped(witnesses, 8 * witnesses.stat().st_size - 9)
    with pytest.raises(RunError, match=r"was altered since the run was finished: witnesses/part-00000\.safetensors"):
        audited(small, resume=True)


def test_a_strange_part_is_refused(small: Path) -> None:
    (small / "results" / "part-x.parquet").write_bytes(b"")
    with pytest.raises(RunError, match=r"part-x\.parquet, which no run writes"):
        audited(small, resume=True)


def test_resuming_with_something_else_is_refused_by_name(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(small)
    changed, other = digits_net(), digits(24)
    with torch.no_grad():
        changed[1].weight[0, 0] += 1e-3
    other.y[0] = (other.y[0] + 1) % 10
    more = Plan("small", (Attacking("pgd", ib.recipes.pgd(steps=6)), PGD.stages[1]))
    cases: list[tuple[str, dict[str, Any]]] = [
        ("the model", {"net": changed}),
        ("the model", {"net": ib.Model(digits_net(), range=(0, 2))}),
        ("the data set", {"data": other}),
        ("the data set", {"data": digits(23)}),
        ("the threat", {"threat": "linf:0.06"}),
        ("the threat", {"threat": "l2:0.05"}),
        ("the plan", {"method": more}),
        ("the plan", {"method": "pgd"} | {"method": ib.recipes.pgd(steps=5)}),
        ("the seed", {"seed": 1, "data": digits(24)}),
    ]
    for said, options in cases:
        with pytest.raises(FingerprintMismatch, match=said):
            audited(small, resume=True, **options)
    monkeypatch.setattr(manifests, "code_digest", lambda: "0" * 16)
    with pytest.raises(FingerprintMismatch, match="Ironbound itself"):
        audited(small, resume=True)
    assert contents(small) == before


def test_resuming_with_settings_that_no_weight_shows_is_refused(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.net, self.factor = digits_net(), factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x) * self.factor

    audited(tmp_path / "run", net=Scaled(1.0))
    with pytest.raises(FingerprintMismatch, match="answers the probe inputs otherwise than in the run"):
        audited(tmp_path / "run", net=Scaled(1.1), resume=True)
    parts = [nn.Flatten(), nn.Linear(64, 16), nn.LeakyReLU(0.1), nn.Dropout(0.5), nn.Linear(16, 10)]
    nets = [nn.Sequential(*parts), nn.Sequential(*parts[:2], nn.ReLU(), *parts[3:])]
    nets += [
        nn.Sequential(*parts[:2], nn.LeakyReLU(0.2), *parts[3:]),
        nn.Sequential(*parts[:3], nn.Dropout(0.1), parts[4]),
    ]
    assert len({manifests.model_fingerprint(Model(net)) for net in nets}) == 4


def test_resume_begins_where_there_is_nothing(tmp_path: Path) -> None:
    assert len(audited(tmp_path / "run", resume=True).verdicts) == 24


# --------------------------------------------------------------------------------------------------------- disk full
class _Disk:
    """Lets so many files through, then is full until it is given room."""

    def __init__(self, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room, self.sync = room, os.fsync
        monkeypatch.setattr(store.os, "fsync", self)

    def __call__(self, handle: int) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.sync(handle)


@pytest.mark.parametrize("room", [0, 3, 6, 9, 12])
def test_a_full_disk_loses_nothing(
    undisturbed: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    disk = _Disk(room, monkeypatch)
    with pytest.raises(RunError, match=r"the disk is full: .* could not be written.*free space and resume"):
        audited(tmp_path / "run", pool=12)
    assert not list((tmp_path / "run").rglob("*.tmp"))
    kept = contents(tmp_path / "run" / "results")
    disk.room = 10**9
    report = audited(tmp_path / "run", pool=12, resume=True)
    assert report.verdicts == undisturbed.verdicts
    assert kept.items() <= contents(tmp_path / "run" / "results").items()
    assert contents(tmp_path / "run" / "witnesses") == contents(undisturbed.folder / "witnesses")
    assert ib.verify(tmp_path / "run", digits_net(), digits(24)).holds


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 kB."""
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(tiny: Path) -> None:
    with pytest.raises(RunError, match="the disk is full"):
        audited(tiny / "run", digits(200), pool=8)
    done = contents(tiny / "run" / "results")
    assert len(done) >= 1
    subprocess.run(["mount", "-o", "remount,size=16m", str(tiny)], check=True)
    report = audited(tiny / "run", digits(200), pool=8, resume=True)
    assert done.items() <= contents(tiny / "run" / "results").items()
    assert len(report.verdicts) == 200
    assert ib.verify(tiny / "run", digits_net(), digits(200)).holds


# -------------------------------------------------------------------------------------------------- run and finish
def test_run_and_finish_are_the_two_halves_of_audit(tmp_path: Path, small: Path) -> None:
    model, threat = Model.of(digits_net()), ib.Linf(0.05)
    half = run(model, digits(24), threat, PGD, tmp_path / "half", pool=16)
    assert isinstance(half, RunFolder)
    with pytest.raises(RunError, match="not finished"):
        Audit.load(half.path)
    assert ib.verify(half.path, digits_net(), digits(24)).warnings == [
        "The run is not finished; what there is was checked."
    ]
    whole = finish(half, model, digits(24), threat, PGD)
    assert whole.verdicts == Audit.load(small).verdicts


def test_finishing_with_parts_missing_is_refused(small: Path) -> None:
    _unfinished(small)
    with pytest.raises(RunError, match="has 16 of 24 samples: go on with it by --resume"):
        finish(RunFolder.open(small), Model.of(digits_net()), digits(24), ib.Linf(0.05), PGD)


def test_a_sample_that_stands_in_two_parts_is_refused(small: Path) -> None:
    part = small / "results" / "part-00000.parquet"
    (small / "results" / "part-00002.parquet").write_bytes(part.read_bytes())
    with pytest.raises(RunError, match="holds a sample twice"):
        _ = Audit.load(small).details
    assert pq.read_table(part).num_rows > 16


def test_quick_and_standard_have_witness_stages() -> None:
    plan = quick().against(ib.L2(0.3))
    assert [s.name for s in plan.stages] == ["ibp", "pgd", "fgsm", "noise"]
    assert all(s.attack.set == ib.L2(0.3) for s in plan.stages if isinstance(s, Attacking))
    assert replace(plan, name="other").name == "other"


def test_data_is_kept_by_number_and_not_by_place(tmp_path: Path) -> None:
    data = digits(24)
    some = data.take([20, 3, 7])
    report = audited(tmp_path / "run", some)
    assert report.details.index.tolist() == data.index[[20, 3, 7]].tolist()
    assert isinstance(some, Data)
