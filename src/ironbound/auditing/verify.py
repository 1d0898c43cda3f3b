"""Re-checking a finished run from model and data alone: every witness, every certificate, every count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ironbound.auditing.audit import Audit, facts_of
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.manifest import code_digest, data_fingerprint, model_fingerprint, probe_logits
from ironbound.auditing.pools import GOAL
from ironbound.auditing.run import storable
from ironbound.auditing.verdicts import Verdicts
from ironbound.certification.certificates import prove
from ironbound.certification.ibp import Ibp
from ironbound.core import rows as rows_
from ironbound.core.describe import fingerprint
from ironbound.core.errors import RunError
from ironbound.core.judge import wins_beyond_chance
from ironbound.core.predict import majority_margin, predict
from ironbound.core.progress import Event, Listener, silent
from ironbound.core.rng import Rng, content_digests, content_keys
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.recipes.draws import VOTES
from ironbound.sets import L2, Linf

METHODS = {"ibp": Ibp()}
PORTION = 256
PROBE_TOLERANCE = 1e-4


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

    def __str__(self) -> str:
        what = f"{self.witnesses} witnesses, {self.certificates} certificates and {self.clean} clean answers re-checked"
        return f"{what}: " + (
            "all hold." if self.holds else f"{len(self.failures)} do NOT hold. First: {self.failures[0]}"
        )


def verify(folder: RunFolder, model: Model, data: Data, progress: Listener | None = None) -> Verification:
    """Check every claim of a finished run again: the set in float64, the verdict at batch 1 in the model's precision.

    Raises RunError or FingerprintMismatch where the folder is damaged or belongs to another model or data set.
    """
    found, tell = Verification(), progress or silent
    data = storable(data)
    threat = _threat(folder)
    model.admit(data.take([0]).x)
    _same(folder, model, data, threat, found)
    verdicts = Verdicts.of(folder)
    if sorted(verdicts.index.tolist()) != sorted(data.index.tolist()):
        raise RunError(f"{folder.path} has results of {len(verdicts)} samples, the data set has {len(data)} others.")
    place = {int(index): row for row, index in enumerate(data.index.tolist())}
    where = torch.tensor([place[int(index)] for index in verdicts.index])
    for start in range(0, len(where), PORTION):
        at = torch.arange(start, min(len(where), start + PORTION))
        x, y = model.admit(rows_.take(data.x, where[at]), data.y[where[at]])
        _check_keys(verdicts, at, x, y, found)
        _check_clean(folder, model, verdicts, at, x, y, found)
        _check_certificates(model, threat, verdicts, at, x, y, found)
        tell(Event("verify", start + len(at), len(where)))
    _check_witnesses(folder, model, data, threat, verdicts, place, found)
    _check_counts(folder, verdicts, found)
    return found


def _threat(folder: RunFolder) -> Any:
    facts = folder.manifest["threat"]
    kinds = {"linf": Linf, "l2": L2}
    if facts.get("norm") not in kinds:
        raise RunError(
            f"{folder.path} was made with the threat {facts.get('spec')!r}, which verify does not know how to rebuild."
        )
    threat = kinds[facts["norm"]](float(facts["radius"]))
    if fingerprint(threat) != folder.manifest["fingerprints"]["threat"]:
        raise RunError(
            f"{folder.path / 'manifest.json'}: the threat is not the one that was fingerprinted. It was altered."
        )
    return threat


def _same(folder: RunFolder, model: Model, data: Data, threat: Any, found: Verification) -> None:
    """The same model and data as the run's; another version of Ironbound is only worth a warning."""
    was = folder.manifest["fingerprints"]
    now = {**was, "model": model_fingerprint(model), "data": data_fingerprint(data), "threat": fingerprint(threat)}
    folder.must_match(now)
    if was.get("code") != code_digest():
        found.warnings.append(
            "The run was made with another version of Ironbound; its results are checked with this one."
        )
    then, probes = folder.manifest["probes"], probe_logits(model, data)
    far = max((abs(a - b) for p, q in zip(then, probes, strict=True) for a, b in zip(p, q, strict=True)), default=0.0)
    scale = max((abs(a) for row in then for a in row), default=1.0)
    if far > PROBE_TOLERANCE * max(scale, 1.0):
        found.failures.append(f"the model answers the probe inputs otherwise than in the run, by up to {far:.3g}")


def _check_keys(verdicts: Verdicts, at: Any, x: Any, y: Any, found: Verification) -> None:
    for row, digest in zip(at.tolist(), content_digests(x, y), strict=True):
        if verdicts.key[row] != digest.hex() or int(verdicts.label[row]) != int(y[row - int(at[0])]):
            found.failures.append(f"sample {verdicts.index[row]}: its content or label is not that of the results")


def _check_clean(
    folder: RunFolder, model: Model, verdicts: Verdicts, at: Any, x: Any, y: Any, found: Verification
) -> None:
    rng = Rng.of(int(folder.manifest["seed"]), content_keys(x, y).to(model.device))
    margin, wrong, _ = majority_margin(model, x, y, GOAL, rng, VOTES)
    wrong = wrong | ~(margin < 0)
    for row, bad, by in zip(at.tolist(), wrong.tolist(), margin.abs().tolist(), strict=True):
        if bad != (verdicts.verdict[row] == "wrong") and not by < PROBE_TOLERANCE:
            found.failures.append(
                f"sample {verdicts.index[row]}: when clean it is {'wrong' if bad else 'right'}, the run says otherwise"
            )
    found.clean += len(at)


def _check_certificates(
    model: Model, threat: Any, verdicts: Verdicts, at: Any, x: Any, y: Any, found: Verification
) -> None:
    mine = [i for i, row in enumerate(at.tolist()) if verdicts.verdict[row] == "certified"]
    for name in sorted({str(verdicts.stage[int(at[i])]) for i in mine}):
        some = torch.tensor([i for i in mine if verdicts.stage[int(at[i])] == name], device=y.device)
        if name not in METHODS:
            found.failures.append(f"{len(some)} samples are certified by {name!r}, which there is not")
            continue
        proof = prove(METHODS[name], model, rows_.take(x, some), y[some], threat, radii=False)
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
    place: dict[int, int],
    found: Verification,
) -> None:
    broken = {int(i) for i in verdicts.index[verdicts.verdict == "broken"]}
    seen = set[int]()
    for number in folder.finished():
        part = folder.witnesses(number)
        if not part:
            continue
        numbers = [int(i) for i in part["index"]]
        if not set(numbers) <= broken or set(numbers) & seen:
            found.failures.append(f"part {number} holds witnesses of samples that are not broken, or two of one sample")
            continue
        seen |= set(numbers)
        here = torch.tensor([place[i] for i in numbers])
        x, y = model.admit(rows_.take(data.x, here), data.y[here])
        good = _good(folder, model, threat, x, y, rows_.to(part["adversarial"], model.device))
        found.witnesses += len(numbers)
        found.failures += [f"sample {i}: its witness {why}" for i, why in zip(numbers, good, strict=True) if why]
    found.failures += [f"sample {i} is broken, but there is no witness" for i in sorted(broken - seen)]


def _good(folder: RunFolder, model: Model, threat: Any, x: Any, y: Any, adversarial: Any) -> list[str]:
    """For each witness why it does not hold; "" where it does."""
    inside = threat.at(x, model.box).contains(adversarial)
    rng = Rng.of(int(folder.manifest["seed"]), content_keys(x, y).to(model.device)).fold("verify")
    if model.random:
        wins = sum((GOAL.margin(predict(model, adversarial, rng.fold(vote)), y) > 0).long() for vote in range(VOTES))
        fools = torch.as_tensor(wins) >= wins_beyond_chance(VOTES)
    else:
        fools = GOAL.margin(predict(model, adversarial, rng, rows=1), y) > 0
    said = lambda inside_, fools_: (
        "" if inside_ and fools_ else "lies outside the threat" if not inside_ else "does not fool the model"
    )
    return [said(a, b) for a, b in zip(inside.tolist(), fools.tolist(), strict=True)]


def _check_counts(folder: RunFolder, verdicts: Verdicts, found: Verification) -> None:
    """What audit.json prints follows from the results."""
    if not (folder.path / "audit.json").exists():
        found.warnings.append("The run is not finished; what there is was checked.")
        return
    facts = Audit.load(folder.path).facts
    again = facts_of(folder, verdicts, facts["checks"])
    for name in again:
        if name not in facts or facts[name] != again[name]:
            found.failures.append(f"audit.json: {name!r} does not follow from the results")
