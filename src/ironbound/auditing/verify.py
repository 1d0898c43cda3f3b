"""Re-checking a finished run from model and data alone: every file, witness, certificate, clean answer and count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ironbound.auditing.attributions import contradicted
from ironbound.auditing.audit import Audit
from ironbound.auditing.curve.recheck import Recheck
from ironbound.auditing.facts import facts_of
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.inside import points_of
from ironbound.auditing.manifest import (
    bound_of,
    code_digest,
    model_fingerprint,
    probe_logits,
    probes_differ,
    threat_facts,
)
from ironbound.auditing.passing import surveyed
from ironbound.auditing.plan import Plan
from ironbound.auditing.plans import ENTRIES as PLANS
from ironbound.auditing.pools import GOAL, wrong_when_clean
from ironbound.auditing.run import storable
from ironbound.auditing.shards import Shard, places_of, pools_of, samples_of
from ironbound.auditing.stages import contradictions
from ironbound.auditing.survivors import facts_of_last, misplaced, pending
from ironbound.auditing.verdicts import Places, Verdicts
from ironbound.certification.certificates import prove
from ironbound.core import rows as rows_
from ironbound.core.describe import fingerprint
from ironbound.core.errors import RunError, UsageError
from ironbound.core.judge import TAU, scale_of, wins_beyond_chance
from ironbound.core.predict import predict
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.rng import Rng, content_digests, content_keys
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.sets.threat import parse_threat

PORTION = 256
RECOUNT = 100
"""Fresh draws of a random model: a claim is refuted where they speak against it beyond chance."""
LATER = {"gaps"}
"""What audit.json did not have from the beginning: a run that was made without it holds all the same."""
NEARLY_ALL = 97
"""Of them; a sample counts as right when clean unless another class wins beyond chance, which chance alone may hide."""


@dataclass
class Verification:
    """What was checked, and what did not hold."""

    witnesses: int = 0
    certificates: int = 0
    clean: int = 0
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything that the run says could be confirmed."""
        return not self.failures

    @property
    def text(self) -> str:
        """What was re-checked, and whether it holds."""
        what = f"{self.witnesses} witnesses, {self.certificates} certificates and {self.clean} clean answers re-checked"
        if self.holds:
            return f"{what}: all hold."
        if not self.witnesses + self.certificates + self.clean:
            return "the run does NOT hold; nothing in it was re-checked."
        return f"{what}: {'1 thing does' if len(self.failures) == 1 else f'{len(self.failures)} things do'} NOT hold."

    def __str__(self) -> str:
        return self.text if self.holds else f"{self.text} First: {self.failures[0]}"


def verify(
    folder: RunFolder, model: Model, data: Data, progress: Listener | None = None, threat: Any = None
) -> Verification:
    """Check every claim of a finished run again: the set in float64, the verdict at batch 1 in the model's precision.

    A threat that one can type is rebuilt from the folder; another (a mask, a radius a sample, functions) is given as
    `threat`, and must have the run's fingerprint. It is the one of the rows of `data`, as run was given it.

    Where a file is not what it was when the run finished, that is the finding, and nothing else is looked at. Raises
    RunError or FingerprintMismatch where the folder is damaged or belongs to another model or data set.
    """
    found, tell = Verification(), progress or silent
    _check_files(folder, found)
    if found.failures:
        return found
    data = storable(data)
    threat = threat_of(folder, model, threat)
    model.admit(data.take([0]).x)
    _same(folder, model, data, threat, found)
    _check_plan(folder, threat, found)
    verdicts = Verdicts.of(folder)
    place = Places(data.index.numpy())
    _check_whole(folder, verdicts, place, found)
    found.failures += contradictions(folder.manifest, verdicts)
    if Shard.of_manifest(folder.manifest) is None and len(verdicts) == samples_of(folder.manifest):
        found.failures += misplaced(folder)
    where = torch.from_numpy(place.of(verdicts.index))
    for start in range(0, len(where), PORTION):
        at = torch.arange(start, min(len(where), start + PORTION))
        x, y = model.admit(rows_.take(data.x, where[at]), data.y[where[at]])
        _check_keys(verdicts, at, x, y, found)
        _check_clean(folder, model, verdicts, at, x, y, found)
        _check_certificates(folder, model, rows_.of_rows(threat, where[at]), verdicts, at, x, y, found)
        tell(Event("verify", start + len(at), len(where), counts={"failures": len(found.failures)}))
    _check_witnesses(folder, model, data, threat, verdicts, place, found)
    good = lambda *claims: refuted(folder, model, *claims)
    found.failures += Recheck(folder, model, data, threat, verdicts, place, good).failures()
    _check_counts(folder, verdicts, found)
    return found


def _check_files(folder: RunFolder, found: Verification) -> None:
    """No file was changed, taken away or put where results are, since the run was sealed."""
    if not (folder.path / "audit.json").exists() and not folder.sealed:
        found.warnings.append("The run is not finished; what there is was checked.")
        return
    if not folder.sealed:
        found.failures.append(
            "digests.json is missing, so that no change could be noticed; --resume makes it anew, after the checks"
        )
        return
    found.failures += [f"{name} was altered or taken away since the run finished" for name in folder.altered()]
    for name in folder.added():
        if name.startswith(("results/", "witnesses/", "curve/")):
            found.failures.append(f"{name} was not written by the run")
        else:
            found.warnings.append(f"{name} does not belong to the run; it was not looked at.")


def _check_whole(folder: RunFolder, verdicts: Verdicts, place: Places, found: Verification) -> None:
    """The samples of the results are those of the data; some may be missing while the run is not finished."""
    numbers = place.numbers
    if folder.manifest["data"]["rows"] != len(numbers):
        raise RunError(f"{folder.path / 'manifest.json'}: the number of rows is not that of the data. It was altered.")
    pools = pools_of(folder.manifest)
    mine = np.concatenate([numbers[slice(at.start, at.stop)] for at in _pools(folder)])
    strange = verdicts.index[~np.isin(verdicts.index, mine)]
    if len(strange):
        some = ", ".join(map(str, sorted(strange.tolist())[:5]))
        raise RunError(f"{folder.path} has results of samples that are none of its own: {some}. It was altered.")
    there = set(pools) & set(folder.finished())  # further parts are those of stages behind the pools
    if folder.sealed and (len(verdicts) < len(mine) or len(there) < len(pools)):
        raise RunError(
            f"{folder.path} was finished, and has results of {len(verdicts)} of {len(mine)} samples, in {len(there)} of "
            f"{len(pools)} parts. It was altered."
        )


def _pools(folder: RunFolder) -> list[range]:
    return [places_of(folder.manifest, pool) for pool in pools_of(folder.manifest)]


def threat_of(folder: RunFolder, model: Model, given: Any) -> Any:
    """The run's threat: the one given, or rebuilt from the manifest; with the run's fingerprint in any case."""
    facts = folder.manifest["threat"]
    threat = _rebuilt(folder) if given is None else given
    same = fingerprint(threat) == folder.manifest["fingerprints"]["threat"]
    if given is not None and not same:
        raise RunError(f"{folder.path} was made with another threat, {facts.get('spec')!r}, than the one given.")
    if not same or {**threat_facts(threat, model.box), "text": ""} != {**facts, "text": ""}:
        raise RunError(
            f"{folder.path / 'manifest.json'}: the threat is not the one that was fingerprinted. It was altered."
        )
    return threat


def _rebuilt(folder: RunFolder) -> Any:
    spec = folder.manifest["threat"].get("spec")
    try:
        return parse_threat(str(spec))
    except UsageError:
        raise UsageError(  # nothing is wrong with the run
            f"{folder.path} was made with the threat {spec!r}, which cannot be rebuilt from text (a mask, a radius a "
            "sample, functions). Pass it: ironbound.verify(folder, model, data, threat=...)."
        ) from None


def _same(folder: RunFolder, model: Model, data: Data, threat: Any, found: Verification) -> None:
    """The same model and data as the run's; another version of Ironbound is only worth a warning."""
    was = folder.manifest["fingerprints"]
    survey = surveyed(data)
    now = {**was, "model": model_fingerprint(model), "data": survey.fingerprint, "threat": fingerprint(threat)}
    folder.must_match(now)
    if was.get("code") != code_digest():
        found.warnings.append(
            "The run was made with another version of Ironbound; its results are checked with this one."
        )
    differ = probes_differ(folder.manifest["probes"], probe_logits(model, data, survey))
    found.failures += [differ] if differ else []


def _check_plan(folder: RunFolder, threat: Any, found: Verification) -> None:
    """A run that says it followed a plan of this version has its stages, and asked of as many survivors as that does."""
    recorded, was = folder.manifest["plan"], folder.manifest["fingerprints"]
    entry = next((plan for plan in PLANS if plan.name == recorded["name"]), None)
    if entry is None or was.get("code") != code_digest():
        return
    whole: Plan = entry.make().against(threat)
    gone = {stage.name for stage in whole.stages if stage.optional} - set(recorded["stages"])
    plan = whole.following(recorded["stages"]) if whole.adaptive else whole.without(gone)
    must = {stage.name for stage in whole.stages if not stage.optional}
    if fingerprint(plan) != was["plan"] or not must <= set(recorded["stages"]):
        found.warnings.append(f"The run's plan is called {plan.name!r}, and is not the plan of that name.")
    elif recorded.get("last", []) != facts_of_last(plan):
        found.failures.append("manifest.json: the stages behind the pools are not those of the plan")


def _check_keys(verdicts: Verdicts, at: Any, x: Any, y: Any, found: Verification) -> None:
    for row, digest in zip(at.tolist(), content_digests(x, y), strict=True):
        if verdicts.digest[row] != digest.hex().encode() or int(verdicts.label[row]) != int(y[row - int(at[0])]):
            found.failures.append(f"sample {verdicts.index[row]}: its content or label is not that of the results")


def _check_clean(
    folder: RunFolder, model: Model, verdicts: Verdicts, at: Any, x: Any, y: Any, found: Verification
) -> None:
    rng = Rng.of(int(folder.manifest["seed"]), content_keys(x, y).to(model.device))
    right, wrong = _clean_again(model, x, y, rng)
    for row, good, bad in zip(at.tolist(), right.tolist(), wrong.tolist(), strict=True):
        said = verdicts.verdict[row] == "wrong"
        if (good and said) or (bad and not said):
            found.failures.append(
                f"sample {verdicts.index[row]}: when clean it is {'wrong' if bad else 'right'}, the run says otherwise"
            )
    found.clean += len(at)


def _clean_again(model: Model, x: Any, y: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """Which samples are surely right and which surely wrong; neither where rounding or chance decides."""
    if model.random:
        wins = _wins(model, x, y, rng.fold("clean again"))
        return wins <= RECOUNT - wins_beyond_chance(RECOUNT), wins >= NEARLY_ALL
    margin, wrong, out = wrong_when_clean(model, x, y, rng)
    largest = scale_of(out)
    near = torch.zeros_like(wrong) if largest is None else margin.abs() < TAU * largest
    return ~wrong & ~near, wrong & ~near


def _wins(model: Model, x: Any, y: Tensor, rng: Rng) -> Tensor:
    """In how many draws of a random model another class than the label wins."""
    wins = torch.zeros_like(y)
    for vote in range(RECOUNT):
        wins += GOAL.margin(predict(model, x, rng.fold(vote)), y) > 0
    return wins


def _check_certificates(
    folder: RunFolder, model: Model, threat: Any, verdicts: Verdicts, at: Any, x: Any, y: Any, found: Verification
) -> None:
    mine = [i for i, row in enumerate(at.tolist()) if verdicts.verdict[row] == "certified"]
    for name in sorted({str(verdicts.stage[int(at[i])]) for i in mine}):
        some = torch.tensor([i for i in mine if verdicts.stage[int(at[i])] == name], device=y.device)
        method = bound_of(folder.manifest, name)
        if method is None:
            found.failures.append(
                f"{len(some)} samples are certified by {name!r}, which there is not among the bounds that can be repeated"
            )
            continue
        proof = prove(method, model, rows_.take(x, some), y[some], rows_.of_rows(threat, some), radii=False)
        found.certificates += len(some)
        for i, holds in zip(some.tolist(), proof.certified.tolist(), strict=True):
            if not holds:
                found.failures.append(
                    f"sample {verdicts.index[int(at[i])]}: its certificate by {name} cannot be confirmed"
                )


def _check_witnesses(
    folder: RunFolder,
    model: Model,
    data: Data,
    threat: Any,
    verdicts: Verdicts,
    place: Places,
    found: Verification,
) -> None:
    waiting = np.zeros(len(data), dtype=bool)  # broken samples whose witness has not been seen yet, by place
    waiting[place.of(verdicts.index[verdicts.verdict == "broken"])] = True
    for number in folder.finished():
        part = folder.witnesses(number)
        if not part:
            continue
        numbers = torch.as_tensor(part.get("index", ()), dtype=torch.int64).numpy()
        if "adversarial" not in part or rows_.count(part["adversarial"]) != len(numbers):
            found.failures.append(f"part {number} does not hold one witness for each of its samples")
            continue
        known = np.isin(numbers, place.numbers).all() and len(np.unique(numbers)) == len(numbers)
        where = place.of(numbers) if known else numbers
        if not known or not waiting[where].all():
            found.failures.append(f"part {number} holds witnesses of samples that are not broken, or two of one sample")
            continue
        waiting[where] = False
        here = torch.from_numpy(where)
        x, y = model.admit(rows_.take(data.x, here), data.y[here])
        good = refuted(
            folder,
            model,
            rows_.of_rows(threat, here),
            x,
            y,
            rows_.to(part["adversarial"], model.device),
            rows_.to(part.get("points"), model.device),
        )
        found.witnesses += len(numbers)
        found.failures += [f"sample {i}: its witness {why}" for i, why in zip(numbers, good, strict=True) if why]
    missing = np.sort(place.numbers[waiting])
    found.failures += [f"sample {i} is broken, but there is no witness" for i in missing]


def refuted(
    folder: RunFolder, model: Model, threat: Any, x: Any, y: Any, adversarial: Any, points: Any = None
) -> list[str]:
    """For each claimed witness why it does not hold against this model; "" where it does.

    It must lie in the set around its clean input x, measured in float64, and be answered with another class than y at batch
    size 1 in the model's own precision (a model that draws: not refuted by fresh draws).
    """
    if isinstance(x, Tensor) and (not isinstance(adversarial, Tensor) or adversarial.shape != x.shape):
        return ["has another shape than its input"] * len(y)
    region = threat.at(x, model.box)
    if points is not None and rows_.count(points) != len(y):
        return ["has no point of its own"] * len(y)
    inside = region.contains(points_of(region, adversarial, points))
    rng = Rng.of(int(folder.manifest["seed"]), content_keys(x, y).to(model.device)).fold("verify")
    if model.random:
        fools = _wins(model, adversarial, y, rng) > RECOUNT - wins_beyond_chance(RECOUNT)
    else:
        fools = GOAL.margin(predict(model, adversarial, rng, rows=1), y) > 0
    said = lambda inside_, fools_: (
        "" if inside_ and fools_ else "lies outside the threat" if not inside_ else "does not fool the model"
    )
    return [said(a, b) for a, b in zip(inside.tolist(), fools.tolist(), strict=True)]


def _check_counts(folder: RunFolder, verdicts: Verdicts, found: Verification) -> None:
    """What audit.json prints follows from the results."""
    if not (folder.path / "audit.json").exists():
        return
    facts = Audit.load(folder.path).facts
    try:
        again = facts_of(
            folder, verdicts, facts["checks"], facts.get("curve"), facts.get("attributions"), facts.get("slice_by")
        )
    except UsageError as error:
        found.failures.append(f"audit.json: 'slice_by' does not follow from the results: {error}")
        return
    again = {name: value for name, value in again.items() if name in facts or name not in LATER}
    for name in [*again, *(name for name in facts if name not in again)]:
        if name not in facts or name not in again or facts[name] != again[name]:
            found.failures.append(f"audit.json: {name!r} does not follow from the results")
    found.failures += contradicted(folder.path, facts, set(verdicts.index[verdicts.verdict == "broken"].tolist()))
    if facts["checks"] and (still := pending(folder)):  # checks are made when nothing is left to run
        found.failures.append(f"audit.json: the run was checked, and still lacks {still[0]}")
