"""What an audit found: the bracket, a verdict per sample, the checks, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ironbound.auditing.attributions import attributed, attributions_of, wanted_methods
from ironbound.auditing.attributions import remove as remove_attributions
from ironbound.auditing.checks.budget import budget_of
from ironbound.auditing.checks.check import Evidence, run_checks
from ironbound.auditing.curve.draw import UNSOUND, curve_of
from ironbound.auditing.curve.parts import remove
from ironbound.auditing.facts import SCHEMA, facts_of
from ironbound.auditing.folder import RunFolder, copied_run, locked
from ironbound.auditing.gallery import keep_gallery, pictures, witness_reader
from ironbound.auditing.plan import Plan
from ironbound.auditing.shards import Shard, samples_of
from ironbound.auditing.survivors import pending
from ironbound.auditing.verdicts import Verdicts
from ironbound.core.errors import RunError, SoundnessAlarm
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.core.store import read_json, write_json, write_text
from ironbound.core.temporary import keep
from ironbound.core.text import json_text
from ironbound.data.dataset import Data
from ironbound.models.model import Model

if TYPE_CHECKING:
    from ironbound.auditing.gate import Gate


@dataclass(frozen=True, eq=False)
class Audit:
    """The outcome of a finished run. Fractions are of all samples; wrong when clean counts as attacked.

    `certified_accuracy` <= true robust accuracy <= `attacked_accuracy`.
    """

    folder: Path
    facts: dict[str, Any]
    """Everything the report says, as plain data: what `to_json` writes."""

    @staticmethod
    def load(folder: str | Path) -> Audit:
        """A finished run from its folder. Raises RunError where it is none or not finished."""
        run = RunFolder.open(folder)
        if not (run.path / "audit.json").exists():
            raise RunError(f"{run.path} is not finished: go on with it by --resume.")
        facts = read_json(run.path / "audit.json")
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
            raise RunError(f"{run.path / 'audit.json'} is not what an audit of this version wrote.")
        return Audit(run.path, facts)

    @property
    def clean_accuracy(self) -> float:
        """The fraction that is right when clean."""
        return float(self.facts["clean"]["fraction"])

    @property
    def attacked_accuracy(self) -> float:
        """The fraction that is right and was not broken: an upper bound."""
        return float(self.facts["attacked"]["fraction"])

    @property
    def certified_accuracy(self) -> float:
        """The fraction that is right and certified: a lower bound."""
        return float(self.facts["certified"]["fraction"])

    @property
    def run(self) -> RunFolder:
        """The folder of the run, with its manifest and its parts."""
        return RunFolder.open(self.folder)

    @cached_property
    def details(self) -> Verdicts:
        """All results, sample by sample and stage by stage."""
        return Verdicts.of(self.run)

    @property
    def verdicts(self) -> list[str]:
        """wrong, broken, certified or undecided for each sample, in the order of the data."""
        return list(self.details.verdict)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """What each check found."""
        return list(self.facts["checks"])

    @property
    def curve(self) -> dict[str, Any] | None:
        """Robust accuracy against radius (see report/schema.py), or why there is none; None where it was not asked for."""
        return self.facts.get("curve")

    @property
    def pictures(self) -> list[Any]:
        """The gallery of the report."""
        return pictures(self.folder, self.facts)

    @property
    def attributed(self) -> list[Any]:
        """The attributions of the report: of a few samples, clean and as witness; none where the run made none."""
        return attributed(self.folder, self.facts)

    def sliced_by(self, *columns: str) -> Audit:
        """The same with slices by these further columns of the data alone; nothing is run, and nothing is written.

        Numbers of many values become bins. Raises UsageError for a column that there is not.
        """
        from ironbound.auditing.reslicing import sliced_by

        return sliced_by(self, columns)

    def witnesses(self) -> tuple[Tensor, Any]:
        """Row numbers of all broken samples in the data source, and their adversarial inputs."""
        from ironbound.core import rows

        run = self.run
        tables = [table for number in run.finished() if (table := run.witnesses(number))]
        if not tables:
            return torch.zeros(0, dtype=torch.long), []
        return torch.cat([t["index"] for t in tables]), rows.join([t["adversarial"] for t in tables])

    def save(self, folder: str | Path) -> Audit:
        """A copy of the run in another folder, to be kept. Raises RunError where something else is there."""
        copied_run(self.folder, Path(folder))
        return Audit.load(folder)

    def gate(self, **asked: Any) -> Gate:
        """Hold the run against figures, and against an earlier run: a yes or no with its reason (see auditing.gate)."""
        from ironbound.auditing.gate import gate

        return gate(self, **asked)

    def to_json(self) -> str:
        """The facts as JSON."""
        return json_text(self.facts)

    def to_html(self) -> str:
        """The report as one self-contained page."""
        from ironbound.auditing.report.render import render

        return render(self.facts, self.pictures, self.attributed)  # type: ignore[arg-type]

    def to_markdown(self, gate: Any = None) -> str:
        """A section for a model card or a pull request. `gate`: what `gate` returned, or its facts."""
        from ironbound.auditing.forms.markdown import markdown

        return markdown(self.facts, _facts(gate))  # type: ignore[arg-type]

    def to_junit(self, gate: Any = None) -> str:
        """JUnit XML, as Jenkins and GitLab read it: the checks, and the conditions of a gate."""
        from ironbound.auditing.forms.junit import junit

        return junit(self.facts, _facts(gate))  # type: ignore[arg-type]

    def to_sarif(self, gate: Any = None, source: str | Path | None = None) -> str:
        """SARIF 2.1.0, as code scanning reads it: failed checks, weak classes, conditions of a gate that were not met.

        source: the file at which findings are shown, within the repository; None: the one that the model was loaded from.
        """
        from ironbound.auditing.forms.sarif import sarif
        from ironbound.auditing.forms.source import place_of

        path, line = place_of(self.folder, source)
        return sarif(self.facts, _facts(gate), source=path, line=line)  # type: ignore[arg-type]

    def to_csv(self, path: str | Path) -> None:
        """Write the verdicts, a row a sample, with the further columns of the data. Raises RunError where that cannot be."""
        from ironbound.auditing.forms.verdicts_csv import write_csv

        write_csv(self.run, Path(path).expanduser())

    def __str__(self) -> str:
        from ironbound.auditing.report.wording import sentence

        return sentence(self.facts)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Audit({str(self.folder)!r}: {self})"


def _facts(gate: Any) -> Any:
    """What a gate said as plain data, however it is given."""
    return getattr(gate, "facts", gate)


def finish(
    folder: RunFolder, model: Model, data: Data, threat: PerturbationSet, plan: Plan,
    *, seed: int = 0, rows: int | None = None, extent: str = "budget", curve: bool | None = None,
    attributions: str | Sequence[str] | None = None, slice_by: Sequence[str] | None = None,
    progress: Listener | None = None,
) -> Audit:  # fmt: skip
    """Check a run whose pools are all there, within a "budget" or in "full", and write audit.json and report.html.

    curve: whether robust accuracy against radius is found too; None: as the plan says.
    attributions: which are made of a few witnesses (see attributions.py); None: the usual ones.
    slice_by: the further columns of the data that become slices; None: all that can.

    A shard is not checked: most checks need all samples, and are made when all shards are merged. Raises SoundnessAlarm,
    after writing, where a certified sample could be broken.
    """
    verdicts, wanted = Verdicts.of(folder), samples_of(folder.manifest)
    if len(verdicts) != wanted:
        raise RunError(f"{folder.path} has {len(verdicts)} of {wanted} samples: go on with it by --resume.")
    if Shard.of_manifest(folder.manifest) is not None:
        return unchecked(folder, slice_by)
    if still := pending(folder):
        raise RunError(f"{folder.path} still lacks {still[0]}: go on with it by --resume.")
    budget = budget_of(verdicts, extent)
    evidence = Evidence(
        model,
        data,
        threat,
        plan.against(threat).following(folder.manifest["plan"]["stages"]),
        verdicts,
        witness_reader(folder, verdicts),
        seed,
        rows,
        folder.manifest,
    )
    with locked(folder.path):
        folder.unseal()
        checks = run_checks(evidence, progress or silent, budget)
        keep_gallery(folder.path, evidence)
        explained = attributions_of(folder.path, evidence, wanted_methods(attributions))
        unsound = any(c["number"] == 28 and c["result"] == "fail" for c in checks)
        against_radius = curve_of(folder, evidence, plan.curve if curve is None else curve, unsound, progress or silent)
        audit = _concluded(folder, verdicts, checks, against_radius, explained, slice_by)
    if unsound or against_radius == UNSOUND:
        keep(folder.path)
        raise SoundnessAlarm(
            f"certified samples were broken: no certificate of {folder.path} can be believed. The run is kept as evidence; "
            "please report it with the folder."
        )
    return audit


def unchecked(folder: RunFolder, slice_by: Sequence[str] | None = None) -> Audit:
    """Write audit.json and report.html of a run whose pools are all there, and leave the checks for later."""
    with locked(folder.path):
        folder.unseal()
        remove(folder)
        remove_attributions(folder.path)
        return _concluded(folder, Verdicts.of(folder), [], slice_by=slice_by)


def _concluded(
    folder: RunFolder, verdicts: Verdicts, checks: Sequence[Any], curve: dict[str, Any] | None = None,
    attributions: dict[str, Any] | None = None, slice_by: Sequence[str] | None = None,
) -> Audit:  # fmt: skip
    audit = Audit(folder.path, facts_of(folder, verdicts, checks, curve, attributions, slice_by))
    write_json(folder.path / "audit.json", audit.facts)
    write_text(folder.path / "report.html", audit.to_html())
    folder.seal()
    return audit
