"""The verb `merge`: shards of an audit, put together and checked as one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.core import rows as rows_
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.describe import fingerprint
from ironbound.core.errors import CompositionError, UnknownName, UsageError
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.models.model import Model
from ironbound.names import plan_named, plan_of, set_of

if TYPE_CHECKING:
    from ironbound.auditing.audit import Audit
    from ironbound.auditing.folder import RunFolder
    from ironbound.auditing.plan import Plan


def merge(
    folders: Sequence[str | Path],
    model: Any = None,
    data: Any = None,
    *,
    out: str | Path,
    threat: PerturbationSet | str | None = None,
    method: str | Path | Attack | Cascade | Plan | None = None,
    samples: int | None = None,
    rows: int | None = None,
    curve: bool | None = None,
    attributions: str | Sequence[str] | None = None,
    resume: bool = False,
    checks: str = "budget",
    progress: Listener | None = None,
) -> Audit:
    """Put all shards of an audit together: verdicts, witnesses and figures are those of the undivided run.

    Parameters
    ----------
    folders: those of all shards, in any order; they stay as they are.
    model, data: what the shards were made with (`data` whole, or with the same `samples`). The checks that end an audit
        need both; without them the run is written all the same, and its report says that the checks are pending.
    threat, method: those of the shards, where they have no name that the folders could say them by.
    checks: "budget" or "full", as for `audit`.
    curve, attributions: as for `audit`; they need the model.
    out: a new folder; `resume` goes on with a merge that was interrupted there, or was made without the model.

    Raises RunError where a shard is missing, named twice, not finished or altered, FingerprintMismatch where two are not of
    one run or the model or the data are others, with the difference; SoundnessAlarm if a certified sample is broken.

    >>> report = merge(["runs/a", "runs/b"], net, (x, y), out="runs/whole")  # doctest: +SKIP
    """
    from ironbound.auditing.attributions import wanted_methods
    from ironbound.auditing.audit import finish, unchecked
    from ironbound.auditing.checks.budget import extent_of
    from ironbound.auditing.folder import locked
    from ironbound.auditing.gather import fitting, gathered
    from ironbound.auditing.manifest import fingerprints
    from ironbound.auditing.pools import Evaluation
    from ironbound.auditing.run import last_stages, storable
    from ironbound.auditing.verify import threat_of
    from ironbound.data import load

    if (model is None) != (data is None):
        raise UsageError("the checks need model and data, both or neither of them; got one.")
    extent, methods, shards = extent_of(checks), wanted_methods(attributions), fitting(folders)
    if model is None:
        return unchecked(gathered(shards, out, resume))
    recorded = shards[0].manifest
    seed = int(recorded["seed"])
    wrapped, loaded = Model.of(model), storable(load(data, samples=samples, seed=seed))
    wrapped.admit(loaded.take([0]).x)
    given = None if threat is None else rows_.of_rows(set_of(threat), loaded.index)
    chosen = threat_of(shards[0], wrapped, given)
    plan = _plan(shards[0], method, chosen)
    ready = plan.against(chosen).following(recorded["plan"]["stages"])
    shards[0].must_match(fingerprints(wrapped, loaded, chosen, ready, seed))
    whole = gathered(shards, out, resume)
    with locked(whole.path):  # what no shard could do alone
        last_stages(whole, loaded, Evaluation(wrapped, chosen, ready, seed, rows, progress=progress or silent))
    return finish(
        whole, wrapped, loaded, chosen, plan, seed=seed, rows=rows, extent=extent, curve=curve, attributions=methods,
        progress=progress,
    )  # fmt: skip


def _plan(run: RunFolder, method: Any, threat: PerturbationSet) -> Plan:
    """The run's plan, by its name or as it is given. Raises UsageError where the name says too little."""
    if method is not None:
        return plan_named(method)
    from ironbound.auditing.manifest import bound_of

    name, wanted = str(run.manifest["plan"]["name"]), run.manifest["fingerprints"]["plan"]
    bounds = {stage: bound_of(run.manifest, stage) for stage in run.manifest.get("bounds", {})}  # as they were set
    for known in plans_called(name):
        plan = known.with_bounds(bounds)
        with suppress(CompositionError):
            if fingerprint(plan.against(threat).following(run.manifest["plan"]["stages"])) == wanted:
                return plan
    raise UsageError(f"{run.path} was made by a plan {name!r} that has no name to find it by. Pass it as the method.")


def plans_called(name: str) -> Iterator[Plan]:
    """The plans that a run of this name may have followed."""
    for verb in ("audit", "attack", "certify"):
        with suppress(UnknownName):
            yield plan_of(verb, [name] if verb == "audit" else name.split("+"))
