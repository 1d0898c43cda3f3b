"""Verification holds on what a run says, and fails loudly where anything of it was changed."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ironbound as ib
from audit_samples import Drawing, data_of, digits, digits_net, drawn, edited, flipped, labelled, mlp, reseal, rewritten
from ironbound.auditing import verify as verifying
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.verify import Verification
from ironbound.certification.ibp import Ibp
from ironbound.core.errors import DataError, FingerprintMismatch, InputError, RunError, UsageError
from ironbound.core.store import read_tensors, write_tensors

SAMPLES = 30
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all four verdicts in two pools."""
    folder = tmp_path_factory.mktemp("verify") / "run"
    report = ib.audit(digits_net(), digits(SAMPLES), threat="linf:0.05", method="quick", out=folder, pool=20)
    assert set(report.verdicts) == {"wrong", "broken", "certified", "undecided"}
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def verified(folder: Path, net: nn.Module | None = None, data: Any = None) -> Verification:
    return ib.verify(folder, net or digits_net(), digits(SAMPLES) if data is None else data)


def must_fail(folder: Path, said: str) -> None:
    found = verified(folder)
    assert not found.holds
    assert any(said in failure for failure in found.failures), found.failures
    assert re.search(r"NOT hold.* First: ", str(found))


def test_a_good_run_holds(finished: Path) -> None:
    found = verified(finished)
    assert found.holds
    assert (found.failures, found.warnings) == ([], [])
    assert str(found).endswith("all hold.")
    verdicts = ib.auditing.audit.Audit.load(finished).facts["verdicts"]
    assert (found.witnesses, found.certificates, found.clean) == (verdicts["broken"], verdicts["certified"], SAMPLES)


def test_arrays_and_another_order_of_progress_hold_too(finished: Path) -> None:
    events: list[Any] = []
    data = digits(SAMPLES)
    found = ib.verify(finished, ib.Model(digits_net()), data, progress=events.append)
    assert found.holds
    assert [(e.stage, e.done, e.total) for e in events] == [("verify", SAMPLES, SAMPLES)]


# -------------------------------------------------------------------------------------- one altered bit, whatever file
def _files(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in ("report.html", "lock")]


def test_one_altered_bit_in_any_file_but_the_report_is_seen(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    chance = random.Random(0)
    names = {path.relative_to(copy).as_posix() for path in _files(copy)}
    assert names >= {"manifest.json", "audit.json", "digests.json", "gallery.safetensors", "results/part-00001.parquet"}
    for path in _files(copy):
        content = path.read_bytes()
        for bit in [0, 8 * len(content) - 1, *(chance.randrange(8 * len(content)) for _ in range(6))]:
            flipped(path, bit)
            with suppress(RunError, DataError):  # which is loud enough
                assert not verified(copy).holds, (path, bit)
            path.write_bytes(content)
    assert verified(copy).holds


def test_the_rendered_report_may_change(run: Path) -> None:
    flipped(run / "report.html", 4000)
    assert verified(run).holds
    (run / "report.html").unlink()
    assert verified(run).holds


@pytest.mark.parametrize("name", ["manifest.json", "audit.json", "digests.json", "results/part-00000.parquet",
                                  "witnesses/part-00000.safetensors", "gallery.safetensors"])  # fmt: skip
def test_a_file_that_is_gone_is_seen(run: Path, name: str) -> None:
    (run / name).unlink()
    if name == "manifest.json":
        with pytest.raises(RunError, match="is missing"):
            verified(run)
    else:
        must_fail(run, name)


def test_files_that_came_afterwards(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    found = verified(run)
    assert found.holds
    assert found.warnings == ["notes.txt does not belong to the run; it was not looked at."]
    shutil.copy(run / "witnesses" / "part-00000.safetensors", run / "witnesses" / "part-00007.safetensors")
    must_fail(run, "witnesses/part-00007.safetensors was not written by the run")


# ------------------------------------------------------------------- a forger who makes the digests true again is seen
def _verdict(was: str, is_: str) -> Callable[[Rows], Rows]:
    """The first sample with that last verdict has another one."""

    def change(rows: Rows) -> Rows:
        last = {row["index"]: row for row in rows}
        next(row for row in last.values() if row["verdict"] == was)["verdict"] = is_
        return rows

    return change


@pytest.mark.parametrize(("was", "is_", "said"), [
    ("undecided", "certified", "cannot find that it is certified"),
    ("undecided", "broken", "is broken, but there is no witness"),
    ("undecided", "wrong", "cannot find that it is wrong"),
    ("broken", "undecided", "holds witnesses of samples that are not broken"),
    ("broken", "certified", "cannot find that it is certified"),
    ("wrong", "undecided", "when clean it is wrong, the run says otherwise"),
    ("certified", "undecided", "was left undecided after 'ibp'"),
    ("certified", "broken", "is broken, but there is no witness"),
])  # fmt: skip
def test_a_changed_verdict_is_seen(run: Path, was: str, is_: str, said: str) -> None:
    for number in (0, 1):
        try:
            rewritten(run, _verdict(was, is_), number)
            break
        except StopIteration:
            continue
    must_fail(run, said)


def test_a_certificate_without_a_proof_is_seen(run: Path) -> None:
    """The rows are as if the bounds had certified what they had left open."""

    def change(rows: Rows) -> Rows:
        last = {row["index"]: row["verdict"] for row in rows}
        target = next(index for index, verdict in last.items() if verdict == "undecided")
        kept = [row for row in rows if row["index"] != target or row["stage"] in ("clean", "ibp")]
        for row in kept:
            if row["index"] == target and row["stage"] == "ibp":
                row.update(verdict="certified", radius=0.05, margin=1.0)
        return kept

    rewritten(run, change)
    must_fail(run, "its certificate by ibp cannot be confirmed")


def test_a_right_sample_called_wrong_is_seen(run: Path) -> None:
    def change(rows: Rows) -> Rows:
        target = next(row["index"] for row in rows if row["verdict"] == "certified")
        kept = [row for row in rows if row["index"] != target or row["stage"] == "clean"]
        next(row for row in kept if row["index"] == target)["verdict"] = "wrong"
        return kept

    rewritten(run, change)
    must_fail(run, "when clean it is right, the run says otherwise")


@pytest.mark.parametrize("column", ["label", "key"])
def test_a_changed_label_or_key_is_seen(run: Path, column: str) -> None:
    def everywhere(rows: Rows) -> Rows:
        new = {"label": (rows[0]["label"] + 1) % 10, "key": "0" * 32}[column]
        return [{**row, column: new} if row["index"] == rows[0]["index"] else row for row in rows]

    rewritten(run, everywhere)
    must_fail(run, "its content or label is not that of the results")
    rewritten(run, lambda rows: [*rows[:-1], {**rows[-1], column: {"label": 3, "key": "1" * 32}[column]}], 1)
    must_fail(run, "its rows have different keys or labels")


def test_removed_and_doubled_rows_are_seen(run: Path) -> None:
    whole = (run / "results" / "part-00000.parquet").read_bytes()

    def restored() -> None:
        (run / "results" / "part-00000.parquet").write_bytes(whole)
        reseal(run)

    rewritten(run, lambda rows: rows[1:])
    with pytest.raises(RunError, match="lacks the first row of a sample"):
        verified(run)
    restored()
    rewritten(run, lambda rows: [row for row in rows if row["index"] != rows[0]["index"]])
    with pytest.raises(RunError, match="has results of 29 of 30 samples, in 2 of 2 parts"):
        verified(run)
    restored()
    rewritten(run, lambda rows: [rows[0], *rows])
    with pytest.raises(RunError, match="holds a sample twice"):
        verified(run)
    restored()
    rewritten(run, lambda rows: rows[:-1])
    must_fail(run, "was left undecided after 'fgsm'")
    restored()
    rewritten(run, lambda rows: [*rows, rows[-1]])
    must_fail(run, "it went through the stages")
    restored()
    rewritten(run, lambda rows: [{**row, "verdict": "fine"} for row in rows])
    with pytest.raises(RunError, match=r"holds verdicts \['fine'\] that there are not"):
        verified(run)
    restored()
    assert verified(run).holds


def _witnesses(run: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = run / "witnesses" / "part-00000.safetensors"
    write_tensors(path, change(read_tensors(path)[0]))
    reseal(run)


def test_a_witness_one_step_of_float32_outside_is_seen(run: Path) -> None:
    def outwards(part: dict[str, Any]) -> dict[str, Any]:
        data = digits(SAMPLES)
        at = data.index.tolist().index(int(part["index"][0]))
        hi = ib.Linf(0.05).at(data.x[[at]], (0, 1)).hi[0]
        adversarial = part["adversarial"].clone()
        pixel = tuple(int(i) for i in np.argwhere(hi.numpy() < 1)[0])
        adversarial[0][pixel] = torch.nextafter(hi[pixel], torch.tensor(2.0))
        return {**part, "adversarial": adversarial}

    _witnesses(run, outwards)
    must_fail(run, "its witness lies outside the threat")


def test_a_witness_that_fools_nobody_or_is_not_finite_is_seen(run: Path) -> None:
    data = digits(SAMPLES)
    clean = lambda part: data.x[[data.index.tolist().index(int(i)) for i in part["index"]]]
    _witnesses(run, lambda part: {**part, "adversarial": clean(part)})
    must_fail(run, "its witness does not fool the model")
    _witnesses(run, lambda part: {**part, "adversarial": part["adversarial"] * torch.nan})
    must_fail(run, "its witness lies outside the threat")


def test_witnesses_of_others_and_missing_ones_are_seen(run: Path) -> None:
    original = (run / "witnesses" / "part-00000.safetensors").read_bytes()
    _witnesses(run, lambda part: {**part, "index": part["index"].flip(0)})
    must_fail(run, "its witness")
    (run / "witnesses" / "part-00000.safetensors").write_bytes(original)
    _witnesses(run, lambda part: {name: table[:1].repeat(2, *[1] * (table.ndim - 1)) for name, table in part.items()})
    must_fail(run, "or two of one sample")
    (run / "witnesses" / "part-00000.safetensors").write_bytes(original)
    _witnesses(run, lambda part: {**part, "index": part["index"][:-1]})
    must_fail(run, "does not hold one witness for each of its samples")
    (run / "witnesses" / "part-00000.safetensors").write_bytes(original)
    _witnesses(run, lambda part: {**part, "adversarial": part["adversarial"].flatten(1)})
    must_fail(run, "its witness has another shape than its input")
    (run / "witnesses" / "part-00000.safetensors").unlink()
    reseal(run)
    must_fail(run, "is broken, but there is no witness")


def test_changed_figures_are_seen(run: Path) -> None:
    changes: dict[str, Callable[[Any], None]] = {
        "attacked": lambda facts: facts["attacked"].update(fraction=1.0),
        "stages": lambda facts: facts["stages"][2].update(forward=1),
        "classes": lambda facts: facts["classes"][0]["attacked"].update(low=0.123),
        "slices": lambda facts: facts["slices"].append({"column": "a", "groups": [], "note": ""}),
        "cost": lambda facts: facts["cost"].update(cpu=0.0),
        "confidence": lambda facts: facts["confidence"].update(grade="none"),
        "title": lambda facts: facts.update(title="better"),
    }
    text = (run / "audit.json").read_text()
    for name, change in changes.items():
        edited(run / "audit.json", change)
        must_fail(run, f"audit.json: {name!r} does not follow from the results")
        (run / "audit.json").write_text(text)
    reseal(run)
    assert verified(run).holds


def test_a_changed_threat_is_seen(run: Path) -> None:
    text = (run / "manifest.json").read_text()
    changes = ({"radius": 0.0500001}, {"radius": None}, {"norm": "l2"}, {"norm": "patch"}, {"spec": "linf:0.0500001"})
    for threat in changes:
        edited(run / "manifest.json", lambda m, t=threat: m["threat"].update(t))
        with pytest.raises(RunError, match="the threat is not the one that was fingerprinted"):
            verified(run)
        (run / "manifest.json").write_text(text)
    edited(run / "manifest.json", lambda m: m["threat"].update(spec="patch:5"))
    with pytest.raises(UsageError, match="cannot be rebuilt from text"):
        verified(run)


def test_a_manifest_that_lacks_something_is_refused(run: Path) -> None:
    edited(run / "manifest.json", lambda m: m.pop("probes"))
    with pytest.raises(RunError, match="is not the manifest of a run"):
        verified(run)


# ------------------------------------------------------------------------------------------- another model, other data
def test_another_model_or_data_set_is_refused_by_name(finished: Path) -> None:
    net, data = digits_net(), digits(SAMPLES)
    with torch.no_grad():
        net[1].weight[3, 20] += 1e-3
    with pytest.raises(FingerprintMismatch, match="the model"):
        verified(finished, net)
    with pytest.raises(FingerprintMismatch, match="the model"):
        verified(finished, ib.Model(digits_net(), mean=0.1))
    x = data.x.clone()
    x[7, 0, 4, 4] = 0.123
    with pytest.raises(FingerprintMismatch, match="the data set"):
        verified(finished, data=data_of(x, data.y, index=data.index, columns=data.columns))
    with pytest.raises(FingerprintMismatch, match="the data set"):
        verified(finished, data=data.take(list(range(29))))
    with pytest.raises(InputError):
        verified(finished, data=(data.x * 255, data.y))


def test_a_model_whose_answers_alone_differ_is_refused(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.factor = mlp(64, 3), 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x) * self.factor

    net, x = Scaled(), drawn(6, 1, 8, 8)
    data = (x, labelled(net, x))
    folder = ib.audit(net, data, threat="linf:0.02", method=ib.recipes.fgsm(), out=tmp_path / "run").folder
    assert ib.verify(folder, net, data).holds
    net.factor = 1.01
    assert "answers the probe inputs otherwise" in ib.verify(folder, net, data).failures[0]


def test_another_version_of_the_library_is_worth_a_warning(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "code_digest", lambda: "0" * 16)
    found = verified(run)
    assert found.holds
    assert "another version of Ironbound" in found.warnings[0]


# ----------------------------------------------------------------------------------------------------- unusual runs
def test_a_run_that_is_not_finished_is_checked_as_far_as_it_goes(run: Path) -> None:
    for name in ("audit.json", "digests.json", "results/part-00001.parquet", "witnesses/part-00001.safetensors"):
        (run / name).unlink(missing_ok=True)
    found = verified(run)
    assert found.holds
    assert found.clean == 20
    assert found.warnings == ["The run is not finished; what there is was checked."]


def test_a_run_that_draws_holds(tmp_path: Path) -> None:
    model = ib.Model(Drawing(digits_net(), 1.0), random=True)
    data = digits(20)
    report = ib.audit(model, data, threat="linf:0.1", method=ib.recipes.pgd(steps=4), out=tmp_path / "run")
    assert report.facts["verdicts"]["broken"] >= 2
    assert ib.verify(report.folder, model, data).holds
    clean = lambda part: data.x[[data.index.tolist().index(int(i)) for i in part["index"]]]
    _witnesses(report.folder, lambda part: {**part, "adversarial": clean(part)})
    assert "does not fool the model" in ib.verify(report.folder, model, data).failures[0]


def test_bounds_under_names_of_their_own_are_repeated(tmp_path: Path) -> None:
    plan = Plan("twice", (Bounds("first", Ibp()), Attacking("fgsm", ib.recipes.fgsm()), Bounds("again", Ibp())))
    report = ib.audit(digits_net(), digits(SAMPLES), threat="linf:0.05", method=plan, out=tmp_path / "run")
    found = verified(report.folder)
    assert found.holds, found
    assert found.certificates == report.facts["verdicts"]["certified"] > 0


def test_a_model_of_decisions_holds(tmp_path: Path) -> None:
    class Decides(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.flatten(1).mean(1) > 0.5).long()

    x = drawn(5, 1, 8, 8)
    data = (x, Decides()(x))
    method = ib.recipes.hopskipjump(queries=300)
    report = ib.audit(Decides(), data, threat="linf:0.1", method=method, out=tmp_path / "run")
    assert "broken" in report.verdicts
    assert ib.verify(report.folder, Decides(), data).holds


def test_digests_are_of_every_other_file(finished: Path) -> None:
    run = RunFolder.open(finished)
    assert run.sealed
    assert run.altered() == run.added() == []
