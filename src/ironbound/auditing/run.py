"""Runs: a data set through a plan, pool by pool, into a run folder; killed and resumed, the verdicts are the same."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ironbound.auditing.folder import RunFolder
from ironbound.auditing.manifest import manifest_of
from ironbound.auditing.plan import Bounds, Plan
from ironbound.auditing.pools import Evaluation, Pool, audit_pool
from ironbound.auditing.table import table_of
from ironbound.certification.graph import Graph, trace
from ironbound.core import rows as rows_
from ironbound.core.errors import ModelError, UnsupportedOperation, UsageError
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.data.dataset import Data
from ironbound.models.model import Model

POOL = 128
"""Samples a pool on a CPU: what a crash may cost, and enough to fill a pass."""
GPU_POOL = 1024


def run(
    model: Model,
    data: Data,
    threat: PerturbationSet,
    plan: Plan,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    rows: int | None = None,
    pool: int | None = None,
    resume: bool = False,
    origin: dict[str, Any] | None = None,
    progress: Listener | None = None,
) -> RunFolder:
    """Run the plan on all samples and leave every result in the folder `out` (a new temporary one by default).

    rows: model rows per pass; pool: samples per part; resume: go on with the run that is in `out`. None of them changes
    a verdict. Raises InputError for bad data before anything is written, RunError for the folder.
    """
    tell, data = progress or silent, storable(data)
    admitted(model, data)
    plan = plan.against(threat)
    threat.at(model.admit(data.take([0]).x)[0], model.box)  # a set that does not fit the inputs says so now
    size = pool or (GPU_POOL if model.device.type == "cuda" else POOL)
    manifest = manifest_of(model, data, threat, plan, seed, size, origin or {})
    graph, note = traced(model, data, plan)
    manifest["notes"] = [note] if note else []
    folder = RunFolder.begin(Path(out or tempfile.mkdtemp(prefix="ironbound-")), manifest, resume)
    size = int(folder.manifest["pool"])
    with folder.locked():
        done = set(folder.finished())
        evaluation = Evaluation(model, threat, plan, seed, rows, graph, tell)
        for number, start in enumerate(range(0, len(data), size)):
            samples = data.take(torch.arange(start, min(start + size, len(data))))
            if number not in done:
                finished = audit_pool(evaluation, samples)
                folder.write(number, _table(finished, data), {"costs": finished.costs}, _witnesses(finished, samples))
            tell(Event("samples", start + len(samples), len(data)))
    return folder


def admitted(model: Model, data: Data, at_once: int = 4096) -> None:
    """Check all inputs and labels before the first pass, in portions. Raises InputError."""
    for start in range(0, len(data), at_once):
        at = slice(start, min(len(data), start + at_once))
        model.admit(rows_.part(data.x, at), data.y[at])
    if data.classes and model.classes and len(data.classes) > model.classes:
        raise UsageError(
            f"{data.name} has {len(data.classes)} classes ({', '.join(data.classes[:3])}, ...), but the model has "
            f"{model.classes} outputs. Use the data that the model was made for."
        )


def traced(model: Model, data: Data, plan: Plan) -> tuple[Graph | None, str]:
    """The model's graph where a stage wants one; None and the reason where it cannot be had, and attacks go on alone."""
    if not any(isinstance(stage, Bounds) for stage in plan.stages):
        return None, ""
    if model.random or not isinstance(data.x, torch.Tensor) or model.outputs == "decisions":
        return None, "Bounds were left out: they are for models that answer tensors with logits and do not draw."
    try:
        return trace(model.module, model.admit(data.take([0]).x)[0]), ""
    except (UnsupportedOperation, ModelError) as error:
        return None, f"Bounds were left out: {error}"


def storable(data: Data) -> Data:
    """The data with further columns that a table can hold: what has no common type becomes text."""
    import pyarrow as pa

    def plain(values: list[Any]) -> list[Any]:
        try:
            pa.array(values)
        except (pa.ArrowException, TypeError):
            return [None if value is None else str(value) for value in values]
        return values

    return replace(data, columns={name: plain(values) for name, values in data.columns.items()})


def _table(pool: Pool, data: Data) -> Any:
    import pyarrow as pa

    return table_of(pool.records, {name: pa.array(values).type for name, values in data.columns.items()})


def _witnesses(pool: Pool, data: Data) -> dict[str, Any]:
    if not pool.witnesses:
        return {}
    places = sorted(pool.witnesses)
    numbers = data.index[torch.tensor(places)]
    return {"index": numbers, "adversarial": rows_.to(rows_.join([pool.witnesses[i] for i in places]), "cpu")}
