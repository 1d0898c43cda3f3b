"""Three of the four verbs of one shape: attack, certify, audit; and verify. The fourth is in hardening/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade, merged
from ironbound.core.catalogue import find
from ironbound.core.errors import CompositionError, InputError, UsageError
from ironbound.core.progress import Listener, silent
from ironbound.core.protocols import PerturbationSet
from ironbound.core.result import Result
from ironbound.core.rng import Rng, content_keys
from ironbound.models.model import Model
from ironbound.names import catalogue, collective, composed, plan_must_fit, plan_named, radius_must_fit, set_of
from ironbound.recipes.draws import fitted
from ironbound.recipes.standing import attack_from_clean, own_answers
from ironbound.recipes.targets import NAMES, ranked_targets
from ironbound.showing.seen import Seen

if TYPE_CHECKING:
    from ironbound.auditing.audit import Audit
    from ironbound.auditing.plan import Plan
    from ironbound.auditing.verify import Verification
    from ironbound.certification.certificates import Certificates


def attack(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    threat: PerturbationSet | str,
    method: str | Attack | Cascade = "pgd",
    target: Any = None,
    seed: int = 0,
    rows: int | None = None,
    reproducible: bool = False,
    progress: Listener | None = None,
) -> Result:
    """Search P(x) for an adversarial example of each input; row i of the result belongs to row i of x.

    Parameters
    ----------
    model: a torch.nn.Module (inputs in [0, 1]), or a Model with range, preprocessing and kind of output.
    x, y: inputs (n, ...) in the model's range and labels (n,); without labels, the model's own answers are kept from. Of a
        model whose outputs are "anything", y is what the method's goal reads: maps, boxes, embeddings, a dict of them.
    threat: what may change: Linf(8/255), L2(0.5), L1(12), L0(3), a union of them by |, or a text: "linf:8/255|l2:0.5".
    method: a name of `ironbound list`, an Attack composed of parts, or a Cascade of attacks.
    target: the class to reach instead of any other than y: one for all, one a sample, or "random", "next likely",
        "least likely" by the clean answer; "all" tries each other class in turn until one is reached.
    seed, rows, reproducible: see Attack; rows and progress change no answer.

    A sample that the model gets wrong already has status ALREADY_WRONG, success, and itself as the adversarial input;
    so has one whose target is the model's answer as it is: give targets other than y. One that the model answers with
    NaN has status NON_FINITE. Results are on the device of x, or NumPy arrays where x is one; `show()` makes a page of them.

    >>> found = attack(net, x, y, threat="linf:8/255", method="apgd")  # doctest: +SKIP
    """
    wrapped = Model.of(model)
    inputs, labels = wrapped.admit(x, y)
    chosen = fitted(composed(method, set_of(threat), targeted=target is not None), wrapped)
    radius_must_fit(chosen.set, wrapped, inputs)
    _one_for_all(chosen.set, target)
    keys = content_keys(inputs, labels).to(wrapped.device)
    classes = wrapped.outputs != "anything"
    if labels is None and classes and (target is None or isinstance(target, str)):
        labels = own_answers(wrapped, inputs, Rng.of(seed, keys), rows)
    options: dict[str, Any] = {"seed": seed, "rows": rows, "reproducible": reproducible, "progress": progress}
    view = Seen(wrapped, inputs, labels, chosen.set, seed)
    if target is None:
        return _returned(attack_from_clean(chosen, wrapped, inputs, labels, keys, **options), x, view)
    targets = _targets(wrapped, inputs, labels, target, Rng.of(seed, keys), rows)
    result = attack_from_clean(chosen, wrapped, inputs, targets[:, 0], keys, **options)
    region = chosen.set.at(inputs, wrapped.box) if targets.shape[1] > 1 else None
    for wanted in targets.unbind(1)[1:]:
        at = (~result.success).nonzero()[:, 0]
        if len(at):
            rest = attack_from_clean(chosen.rows(at), wrapped, rows_.take(inputs, at), wanted[at], keys[at], **options)
            result = merged(result, at, rest, region)
    return _returned(result, x, view)


def _one_for_all(threat: Any, target: Any) -> None:
    """Raise UsageError where one change for many inputs is to reach a class of each one's own."""
    if collective(threat) and isinstance(target, str):
        raise UsageError(f"a change for many inputs has one class to reach for all, such as target=3; got {target!r}.")


def _targets(model: Model, x: Any, y: Tensor, target: Any, rng: Rng, rows: int | None) -> Tensor:
    """The classes to reach, a column for each attempt."""
    if isinstance(target, str):
        return ranked_targets(model, x, y, target, rng, rows)
    wanted = torch.full((rows_.count(x),), int(target)) if isinstance(target, Integral) else target
    if isinstance(wanted, (float, bool)):
        raise UsageError(f"a target is a class, one class a sample, or one of {', '.join(NAMES)}; got {target!r}.")
    try:
        column: Tensor = model.admit(x, wanted)[1]
    except InputError as error:
        raise InputError(f"target: {error}") from None
    return column[:, None]


def certify(
    model: Any,
    x: Any,
    y: Any,
    *,
    threat: PerturbationSet | str,
    method: Any = "ibp",
    rows: int | None = None,
    radii: bool = True,
    against: Any = None,
    progress: Listener | None = None,
) -> Certificates:
    """Prove for each input, where possible, that no element of P(x) changes the model's answer from y.

    Parameters
    ----------
    threat: as for `attack`: balls, masked or not, unions, or a set of one's own whose region has `support` or a box.
    method: "ibp", "crown-ibp", "crown", "alpha-crown", "milp", "exhaustive" (finite sets), or one with arguments:
        ironbound.bounds.alpha_crown(layers="last"). docs/certify.md says which is for what.
    rows: inputs a pass; changes no verdict.
    radii: also find the largest radius (up to the threat's) that is proved, of inputs that are not certified at the
        threat's; False saves a dozen passes for each of them.
    against: only that none of these classes wins over y: a class for all, one an input (n,), or a bool table (n, classes).
    progress: hears of every chunk of inputs.

    Every certificate is re-evaluated in float64.
    Raises UnsupportedOperation where a part of the model has no known bound, with its name and what is supported.

    >>> proof = certify(net, x, y, threat="linf:0.1")  # doctest: +SKIP
    """
    from ironbound.certification.certificates import prove

    wrapped = Model.of(model)
    if wrapped.random:
        raise UsageError("a model that draws has no bounds; make it deterministic, or attack it.")
    inputs, labels = wrapped.admit(x, y)
    if labels is None:
        raise UsageError("a certificate is about the label y; pass it.")
    radius_must_fit(set_of(threat), wrapped, inputs)
    if collective(set_of(threat)):
        raise CompositionError(
            f"certificates are per sample, and {threat!r} is one change for many. A proof against its ball, around each "
            "sample alone, holds against it as well."
        )
    chosen = find(catalogue(), "certify", method).make() if isinstance(method, str) else method
    tell = progress or silent
    proof = prove(
        chosen, wrapped, inputs, labels, set_of(threat), rows=rows, radii=radii, against=against, progress=tell
    )
    return proof.to(x.device) if isinstance(x, Tensor) else proof.to("cpu")


def audit(
    model: Any,
    data: Any,
    *,
    threat: PerturbationSet | str,
    method: str | Path | Attack | Cascade | Plan = "standard",
    out: str | Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    rows: int | None = None,
    pool: int | None = None,
    shard: str | None = None,
    curve: bool | None = None,
    attributions: str | Sequence[str] | None = None,
    slice_by: str | Sequence[str] | None = None,
    resume: bool = False,
    checks: str = "budget",
    progress: Listener | None = None,
    origin: dict[str, Any] | None = None,
) -> Audit:
    """Bracket the true robust accuracy: certified <= true <= attacked, with a verdict per sample and checks.

    Parameters
    ----------
    model: a torch.nn.Module (inputs in [0, 1]), or a Model.
    data: a pair (x, y), a Dataset, a DataLoader, Data, a path or a name; `samples` of it by `seed`.
    threat, method: as for `attack`; method is a plan ("standard", "quick", "thorough"), an Attack, a Plan, or its path: p.yaml.
    out: the run folder; `resume` goes on with a run that was interrupted there. By default a temporary one, which goes
        when the process ends; report.save("runs/x") keeps a copy.
    pool: samples per part of the folder: what a crash may cost. It changes no verdict.
    shard: "2/8" audits every eighth pool, from the second on, of the same data, into a folder of its own; all eight,
        wherever they were made, are put together by `merge`, which also makes the checks.
    checks: "budget" for about half of what the verdicts cost, "full" for as many samples as each check would like to see;
        they change no verdict, and `resume` makes them again.
    curve: whether robust accuracy against radius follows the verdicts, for up to half of their passes; None: as the plan
        says ("standard" and "thorough" do). It changes no verdict, and can be added to a finished run with `resume`.
    attributions: what the report shows of why a few witnesses work, as methods of `attribute`: "gradient,integrated" where
        nothing is said, "captum:NAME" with the extra captum, "none" for nothing. They decide no verdict.
    slice_by: the further columns of the data that become slices of the report, such as ["hospital", "age"]: each value with
        its own fractions, numbers of many values in bins. None: every column that has few values. It changes no verdict.
    origin: how to load model and data again, kept in the manifest.

    Raises errors about data, model and folder before the first pool; SoundnessAlarm if a certified sample is broken.

    >>> report = audit(net, (x, y), threat="linf:0.3", out="runs/x")  # doctest: +SKIP
    """
    from ironbound.auditing.attributions import wanted_methods
    from ironbound.auditing.audit import finish
    from ironbound.auditing.checks.budget import extent_of
    from ironbound.auditing.columns import must_be_there
    from ironbound.auditing.run import run, storable
    from ironbound.auditing.shards import Shard
    from ironbound.data import load

    part, extent = None if shard is None else Shard.parse(shard), extent_of(checks)
    methods = wanted_methods(attributions)
    if part is not None and curve:
        raise UsageError(
            "a shard has no curve, which is about all samples: ask merge for it, by curve=True or --curve."
        )
    wrapped, loaded = Model.of(model), storable(load(data, samples=samples, seed=seed))
    sliced = None if slice_by is None else [slice_by] if isinstance(slice_by, str) else list(slice_by)
    must_be_there(sliced or (), loaded.columns)
    chosen, plan = rows_.of_rows(set_of(threat), loaded.index), plan_named(method)
    radius_must_fit(chosen, wrapped, loaded.first)
    plan_must_fit(plan, chosen)
    folder = run(
        wrapped, loaded, chosen, plan, out,
        seed=seed, rows=rows, pool=pool, shard=part, resume=resume, progress=progress, origin=origin,
    )  # fmt: skip
    return finish(
        folder, wrapped, loaded, chosen, plan, seed=seed, rows=rows, extent=extent, curve=curve, attributions=methods,
        slice_by=sliced,
        progress=progress,
    )  # fmt: skip


def verify(
    folder: str | Path,
    model: Any,
    data: Any,
    *,
    threat: PerturbationSet | str | None = None,
    progress: Listener | None = None,
) -> Verification:
    """Check every witness, certificate and count of a finished run again, from model and data alone.

    threat: the run's own, where it cannot be typed (a mask, a radius a sample, a finite set of functions).
    """
    from ironbound.auditing.folder import RunFolder
    from ironbound.auditing.verify import verify as check
    from ironbound.data import load

    loaded = load(data)
    given = None if threat is None else rows_.of_rows(set_of(threat), loaded.index)
    return check(RunFolder.open(folder), Model.of(model), loaded, progress, given)


def _returned(result: Result, x: Any, view: Seen) -> Result:
    import numpy as np

    result = replace(result, view=view)
    if isinstance(x, np.ndarray):
        return result.to("cpu").numpy()
    return result.to(x.device) if isinstance(x, Tensor) else result
