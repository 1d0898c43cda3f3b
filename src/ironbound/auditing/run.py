"""Runs: a data set through a plan, pool by pool, into a run folder; killed and resumed, the verdicts are the same."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ironbound.auditing.folder import RunFolder, locked, usable
from ironbound.auditing.manifest import manifest_of
from ironbound.auditing.passing import Survey, surveyed
from ironbound.auditing.pilot import PILOT, WORTH, guarded, settled
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.pools import Evaluation, Pool, audit_pool, audit_survivors
from ironbound.auditing.shards import Shard, places_of, pools_of, samples_of, size_of
from ironbound.auditing.sizes import usual_size
from ironbound.auditing.survivors import facts_of_last, portions
from ironbound.auditing.table import table_of
from ironbound.auditing.tally import Tally
from ironbound.certification.certificates import Whole, prove
from ironbound.certification.estimates import estimate
from ironbound.certification.graph import Graph, trace
from ironbound.certification.ibp import Ibp
from ironbound.core import rows as rows_
from ironbound.core.describe import fingerprint
from ironbound.core.errors import CompositionError, InputError, ModelError, UnsupportedOperation, UsageError
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import Budget, PerturbationSet
from ironbound.core.temporary import temporary_folder
from ironbound.core.text import encoded
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.recipes.draws import fitted


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
    shard: Shard | None = None,
    resume: bool = False,
    origin: dict[str, Any] | None = None,
    progress: Listener | None = None,
) -> RunFolder:
    """Run the plan on all samples and leave every result in the folder `out` (by default a temporary one, which goes when
    the process ends).

    rows: model rows per pass; pool: samples per part (usually as sizes.py says); resume: go on with the run that is in
    `out`, in pools of its size. None of them changes a verdict. shard: only these pools of it, as a folder for `merge`.
    Raises InputError for bad data before anything is written, RunError for the folder.
    """
    tell, data, wanted, plan = progress or silent, storable(data), plan, plan.against(threat)
    fingerprint(plan)  # what cannot be fingerprinted is refused before anything is written
    survey = admitted(model, data)
    unfit = [
        f"{stage.name} was left out: it does not fit the threat."
        for stage in wanted.stages
        if not plan.has(stage) and not getattr(stage, "norms", None)  # which is for other sets, by its nature
    ]
    plan, refused = tried(model, data, threat, plan)
    if pool is not None and pool < 1:
        raise UsageError(f"pool is the number of samples of a part, at least 1; got {pool}.")
    size = size_of(shard, len(data), pool, usual_size(data, model.device, alone=shard is None))
    graph, unbounded = traced(model, data, threat, plan)
    note = _without_bounds(plan, unbounded)
    plan = plan if note else plan.without(set(unbounded))
    refused += [] if note else [f"{name} was left out: {reason}" for name, reason in unbounded.items()]
    path = temporary_folder() if out is None else Path(out)
    usable(path, resume)
    with locked(path):
        evaluation = Evaluation(model, threat, plan, seed, rows, graph, not note, tell)
        evaluation, pilot = _decided(path, evaluation, data, survey)
        manifest = manifest_of(model, data, threat, evaluation.plan, seed, size, origin or {}, survey)
        manifest["notes"] = [note] if note else []
        manifest["plan"]["last"] = facts_of_last(evaluation.plan)
        _note_pilot(manifest, pilot, unfit + refused)
        if shard is not None:
            manifest["shard"] = shard.facts()
        folder = RunFolder.begin(path, manifest, resume)
        _pools(folder, data, survey, evaluation)
        if shard is None:
            last_stages(folder, data, evaluation)
    return folder


def _decided(path: Path, evaluation: Evaluation, data: Data, survey: Survey) -> tuple[Evaluation, dict[str, Any]]:
    """With a plan that leaves nothing to decide: as the run that is in the folder has it, or by a pilot."""
    plan = evaluation.plan
    if not plan.adaptive and not any(getattr(stage, "most", None) and stage.kind == "bound" for stage in plan.stages):
        return evaluation, {}
    if (path / "manifest.json").exists():
        recorded = RunFolder.open(path).manifest["plan"]
        facts = recorded.get("pilot") or {name: recorded[name] for name in ("left_out",) if name in recorded}
        return replace(evaluation, plan=plan.following(recorded["stages"])), facts
    few = survey.smallest(PILOT)
    if not plan.adaptive or len(data) < WORTH * PILOT:
        left_out = guarded(evaluation, data, few)
        kept = plan.without(set(left_out)).following([stage.name for stage in plan.stages])
        return replace(evaluation, plan=kept), {"left_out": left_out} if left_out else {}
    clock, work = time.perf_counter(), time.process_time()
    plan, facts = settled(evaluation, data, few)
    facts["took"] = {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - work}
    return replace(evaluation, plan=plan), facts


def _note_pilot(manifest: dict[str, Any], pilot: dict[str, Any], refused: list[str]) -> None:
    """What the plan does otherwise than its name says; times stand apart, for shards have times of their own."""
    pilot = dict(pilot)
    if "samples" in pilot:
        manifest["pilot"] = pilot.pop("took", {})
        manifest["plan"]["pilot"] = pilot
    elif pilot:
        manifest["plan"] |= pilot
    notes = [*manifest["plan"].get("notes", []), *refused, *pilot.get("left_out", {}).values()]
    if notes:
        manifest["plan"]["notes"] = notes


def _pools(folder: RunFolder, data: Data, survey: Survey, evaluation: Evaluation) -> None:
    """Every pool that is not finished yet."""
    done, kinds = set(folder.finished()), _kinds(data)
    tally = Tally(evaluation.progress, samples_of(folder.manifest))
    for number in pools_of(folder.manifest):
        places = places_of(folder.manifest, number)
        if number in done:
            tally.count_part(folder, number, len(places))
            continue
        samples = data.take(places)
        if data.streamed:
            survey.unchanged(samples, torch.tensor(places))
        finished = audit_pool(evaluation, samples, torch.arange(places.start, places.stop), tally.hear)
        _write(folder, number, finished, samples, kinds)
        tally.count(finished.verdict)


def last_stages(folder: RunFolder, data: Data, evaluation: Evaluation) -> None:
    """The stages on survivors of the whole data set, as far as they are not finished yet; to be called under the lock."""
    stages, done = {stage.name: stage for stage in evaluation.plan.last}, set(folder.finished())
    for name, number, places in portions(folder):
        if number not in done:
            samples = data.take(places)
            pool = audit_survivors(evaluation, stages[name], samples, places)
            _write(folder, number, pool, samples, _kinds(data))


def _kinds(data: Data) -> dict[str, Any]:
    """The types of the data's further columns: of all rows, for those of one pool may be numbers where others are gaps."""
    import pyarrow as pa

    return {name: pa.array(values).type for name, values in data.columns.items()}


def _write(folder: RunFolder, number: int, pool: Pool, samples: Data, kinds: dict[str, Any]) -> None:
    folder.write(number, table_of(pool.records, kinds), {"costs": pool.costs}, _witnesses(pool, samples))


def admitted(model: Model, data: Data) -> Survey:
    """Check all inputs and labels before the first pass, and find out about them what a run wants to know.

    The data are read once. Raises InputError, DataError.
    """
    survey = surveyed(data, model)
    if data.classes and model.classes and len(data.classes) > model.classes:
        raise UsageError(
            f"{data.name} has {len(data.classes)} classes ({', '.join(data.classes[:3])}, ...), but the model has "
            f"{model.classes} outputs. Use the data that the model was made for."
        )

    if len(data.index.unique()) != len(data):
        raise InputError(
            f"{data.name} numbers several rows alike; verdicts are told apart by Data.index. Number them anew."
        )
    return survey


def tried(model: Model, data: Data, threat: PerturbationSet, plan: Plan) -> tuple[Plan, list[str]]:
    """Every attack of the plan for a few passes of the first sample, so that what does not fit says so at once.

    Returns the plan without optional stages that do not fit, with a sentence for each. Raises CompositionError where set,
    model and another attack do not fit each other, ModelError where there are no gradients.
    """
    x, y, at = *model.admit(data.take([0]).x, data.y[:1]), torch.zeros(1, dtype=torch.long)
    rows_.of_rows(threat, at).at(x, model.box)
    last = data.index.argmax()[None]  # where radii or masks are too few, it lacks one
    rows_.of_rows(threat, last).at(model.admit(data.take(last).x)[0], model.box)
    refused = {}
    for stage in (stage for stage in plan.stages if isinstance(stage, Attacking)):
        attack = fitted(stage.single, model)
        cost, votes = attack.oracle.cost, attack.votes
        few = Budget(forward=3 * cost + votes, backward=cost)
        try:
            attack.replace(set=rows_.of_rows(attack.set, at), budget=few, restarts=1)(model, x, y)
        except CompositionError as error:
            if not stage.optional:
                raise
            refused[stage.name] = f"{stage.name} was left out: {error}"
    return plan.without(set(refused)), list(refused.values())


def traced(model: Model, data: Data, threat: PerturbationSet, plan: Plan) -> tuple[Graph | None, dict[str, str]]:
    """The model's graph where a stage wants one, and of stages whose bounds cannot be had, by name, why.

    Raises what is the matter where the plan has nothing but bounds: there would be nothing left to run.
    """
    stages = [stage for stage in plan.stages if isinstance(stage, Bounds)]
    if not stages:
        return None, {}
    graph: Graph | None = None
    why: dict[str, str] = {}
    x, y = model.admit(data.take([0]).x, data.y[:1])
    first = rows_.of_rows(threat, torch.zeros(1, dtype=torch.long))
    for stage in stages:
        try:
            if model.random or not isinstance(data.first, torch.Tensor) or model.outputs == "decisions":
                raise UsageError("bounds are for models that answer tensors with logits and do not draw.")
            if graph is None and not isinstance(stage.method, Whole):
                graph = trace(model.module, x)
            dear = hasattr(stage.method, "estimate")
            prove(Ibp() if dear else stage.method, model, x, y, first, radii=False, graph=graph)
            if dear and graph is not None:  # which tells what does not fit, and is no work
                estimate(stage.method, graph, model, x, first)
        except (UnsupportedOperation, ModelError, UsageError) as error:
            if len(stages) == len(plan.stages):
                words = f"nothing could be certified by {stage.name}. {error} Attacks need no bounds: ironbound attack."
                raise type(error)(words) from error
            why[stage.name] = str(error).split(" Supported: ")[0]
    return graph, why


def _without_bounds(plan: Plan, unbounded: dict[str, str]) -> str:
    """A sentence where no bound at all can be had, else ""; then single ones are taken out of the plan."""
    if not unbounded or any(stage.kind == "bound" and stage.name not in unbounded for stage in plan.stages):
        return ""
    return f"Bounds were left out: {next(iter(unbounded.values()))}"


def storable(data: Data) -> Data:
    """The data with further columns that a table can hold: what has no common type becomes text.

    Tables hold UTF-8: halves of characters, from file names that could not be decoded, become their escapes.
    """
    import pyarrow as pa

    def plain(values: list[Any]) -> list[Any]:
        try:
            pa.array(values)
        except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
            return [None if value is None else encoded(str(value)).decode() for value in values]
        return values

    columns = {encoded(name).decode(): plain(values) for name, values in data.columns.items()}
    same = all(
        columns.get(name) is values for name, values in data.columns.items()
    )  # then not all inputs are checked again
    return data if same else replace(data, columns=columns)


def _witnesses(pool: Pool, data: Data) -> dict[str, Any]:
    if not pool.witnesses:
        return {}
    places = sorted(pool.witnesses)
    tables = {"adversarial": pool.witnesses} | ({"points": pool.points} if pool.points else {})
    joined = {name: rows_.to(rows_.join([table[i] for i in places]), "cpu") for name, table in tables.items()}
    return {"index": data.index[torch.tensor(places)], **joined}
