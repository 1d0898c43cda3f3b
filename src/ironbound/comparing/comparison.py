"""`compare`: the models of several runs side by side, as far as their figures belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.report import wording
from ironbound.comparing.cost import baseline_of, must_be_among
from ironbound.comparing.figures import figures, front
from ironbound.comparing.found import OUTCOME, Found, found_in
from ironbound.comparing.further import Audits, further
from ironbound.comparing.transfer import transfer as transfer_of
from ironbound.core.errors import RunError
from ironbound.core.progress import Listener, silent
from ironbound.core.store import write_json, write_text
from ironbound.core.temporary import temporary_folder
from ironbound.core.text import json_text
from ironbound.core.version import __version__

PAGE = "compare.html"
SCHEMA = 1
"""Of compare.json, counted up where what stands in it changes its form."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found. Figures stand side by side only in a scope: the same samples, the same threat, the same plan."""

    facts: dict[str, Any]
    """All of it as plain data: what `to_json` writes and docs/defenses.md lists."""
    folder: Path | None
    """Where compare.json, compare.html and the further audits are; None where nothing was written."""
    audits: tuple[tuple[dict[str, Any], ...], ...] = field(default=(), repr=False)
    """What each audit says, scope by scope and model by model, in the order of the facts."""

    @property
    def scopes(self) -> list[dict[str, Any]]:
        """Each scope with its models, the one with most models first."""
        return list(self.facts["scopes"])

    def to_json(self) -> str:
        """The facts as JSON."""
        return json_text(self.facts)

    def to_html(self) -> str:
        """One self-contained page: brackets, clean cost, training, held-out attacks, transfer, a table for each scope."""
        from ironbound.comparing.page import render_comparison

        return render_comparison(self.facts, self.audits)

    def __str__(self) -> str:
        return "\n".join(scope["text"] for scope in self.scopes)

    def __repr__(self) -> str:
        return f"Comparison({self})"


def compare(
    runs: Sequence[str | Path],
    *,
    threats: Sequence[Any] = (),
    methods: Sequence[str] = (),
    audit: Any = "standard",
    transfer: bool = False,
    baseline: str | None = None,
    models: Mapping[str, Any] | None = None,
    data: Any = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Listener | None = None,
) -> Comparison:
    """Put hardened and audited models side by side: clean, attacked, certified, worst class, attacks not trained on, cost.

    Parameters
    ----------
    runs: folders that were `out` of `harden` or `audit`, or folders of these. Of a hardening come the model as it became
        and, once for several that begin with the same one, the model as it was.
    threats: further threats under which every model is audited by the plan `audit`: norms that were not trained on.
    methods: names of attacks by each of which every model is audited alone, under the threat of its run.
    transfer: whether the witnesses of each model are tried on all others of its scope.
    baseline: the name of the model that the clean accuracy of all others is held against; by default each hardened model is
        held against the one that its training began with.
    models, data: what the runs were made with, where they do not say themselves where both are: models by the names that
        the comparison has for them, "pgd" and "pgd (start)" for the folder pgd, and their data (or the samples audited).
    out: folder for compare.json, compare.html and the further audits; `resume` goes on there. Without it nothing is
        written, and further audits go to a temporary folder, which goes when the process ends.

    Models of other data, samples, threats or plans are told apart as scopes. Folders that hold nothing to compare are left
    out, and `facts["skipped"]` says why. Raises RunError where no folder holds a finished audit, UsageError where a model is
    to be opened and cannot be.

    >>> both = compare(["runs/pgd", "runs/trades"])  # doctest: +SKIP
    """
    folder = None if out is None else Path(out).expanduser()
    if folder is not None and folder.exists() and not resume and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is no empty folder. Go on with a comparison by --resume, or give another --out.")
    tell, opened = progress or silent, Opened(models, data)
    found, skipped = found_in(runs)
    must_be_among(baseline, found)
    if threats or methods:
        place = folder or temporary_folder()
        found += further(found, Audits(tuple(threats), tuple(methods), audit), opened, place / "audits", tell)
    scopes = sorted(_scopes(found), key=lambda scope: -len(scope))
    facts = {
        "schema": SCHEMA,
        "ironbound": __version__,
        "scopes": [_scope(scope, opened if transfer else None, tell, baseline) for scope in scopes],
        "skipped": [{"folder": one.folder, "why": one.why} for one in skipped],
    }
    told = tuple(tuple(one.audit.facts for one in scope) for scope in scopes)
    compared = Comparison(facts, folder, told)
    if folder is not None:
        write_json(folder / OUTCOME, facts)
        write_text(folder / PAGE, compared.to_html())
    return compared


class Opened:
    """Models and data again: as they are given, or from where their runs say they are. Each is opened once."""

    def __init__(self, models: Mapping[str, Any] | None, data: Any) -> None:
        self.given, self.data = dict(models or {}), data
        self.known: dict[str, Any] = {}

    def __call__(self, one: Found) -> tuple[Any, Any]:
        """Raises UsageError where they cannot be opened, FingerprintMismatch where they are others than the run's."""
        from ironbound.auditing.manifest import model_fingerprint
        from ironbound.auditing.passing import surveyed
        from ironbound.reopening import must_be_as_recorded

        run = one.run
        must_be_as_recorded(run)
        was = run.manifest["fingerprints"]
        if was["data"] not in self.known:
            data = self._data(run)
            run.must_match({**was, "data": surveyed(data).fingerprint})
            self.known[was["data"]] = data
        if was["model"] not in self.known:
            model = self._model(one, run)
            model.admit(self.known[was["data"]].take([0]).x)  # what is "auto" is settled by the first input
            run.must_match({**was, "model": model_fingerprint(model)})
            self.known[was["model"]] = model
        return self.known[was["model"]], self.known[was["data"]]

    def _model(self, one: Found, run: RunFolder) -> Any:
        from ironbound.models.model import Model
        from ironbound.reopening import recorded_model

        return Model.of(self.given[one.name]) if one.name in self.given else recorded_model(run)

    def _data(self, run: RunFolder) -> Any:
        from ironbound.auditing.run import storable
        from ironbound.data import load
        from ironbound.reopening import recorded_data

        if self.data is None:
            return storable(recorded_data(run))
        facts = run.manifest["data"]
        whole = load(self.data)
        return storable(
            whole if len(whole) == facts["rows"] else whole.subset(facts["rows"], int(run.manifest["seed"]))
        )


def _scopes(found: Sequence[Found]) -> list[list[Found]]:
    """Models whose figures may stand side by side."""
    scopes: dict[Any, list[Found]] = {}
    for one in found:
        scopes.setdefault(one.scope, []).append(one)
    return list(scopes.values())


def _scope(found: Sequence[Found], opened: Any, tell: Listener, baseline: str | None) -> dict[str, Any]:
    """All of one scope."""
    facts, rows = found[0].audit.facts, [figures(one, baseline_of(one, found, baseline)) for one in found]
    named: list[Any] = [(one.name, one.audit.facts) for one in found]
    for row, best in zip(rows, front(rows), strict=True):
        row["front"] = best
    several = opened is not None and len(found) > 1
    return {
        "data": facts["data"],
        "threat": facts["threat"],
        "plan": facts["plan"]["name"],
        "text": wording.comparison(named),
        "notes": _notes(found, rows),
        "models": rows,
        "transfer": transfer_of(found, opened, tell) if several else None,
    }


def _notes(found: Sequence[Found], rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader of the table should know before comparing."""
    made = {
        (
            *(row["training"][key] for key in ("device", "processes", "threads")),
            one.training["environment"]["processor"],
        )
        for one, row in zip(found, rows, strict=True)
        if one.training is not None
    }
    notes = []
    if len(made) > 1:
        notes.append(
            "The trainings ran on different processors or devices, or in different numbers of processes or threads: their times "
            "cannot be compared."
        )
    if any(row["front"] for row in rows):
        notes.append(
            "On the front: no other model here is at least as good in clean accuracy, attacked accuracy and training time, "
            "and better in one of them; by the fractions as they are, whose intervals may overlap."
        )
    if unknown := [row["name"] for row in rows if row["front"] is None]:
        notes.append(
            f"No folder says how these were trained, so that they are not on or off the front: {', '.join(unknown)}."
        )
    return notes
