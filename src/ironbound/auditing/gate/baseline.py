"""Two runs sample by sample: whether they may be compared, which samples they have in common, what differs on these."""

from __future__ import annotations

from typing import Any

import numpy as np

from ironbound.auditing.gate.paired import Drop
from ironbound.auditing.gate.reading import Reading
from ironbound.auditing.manifest import probes_differ
from ironbound.auditing.verdicts import turns
from ironbound.core.errors import RunError


class Pairs:
    """The samples that two runs have in common, told by their content and label.

    Raises RunError where the figures of the two do not belong together, or no sample is common.
    """

    def __init__(self, new: Reading, old: Reading) -> None:
        _must_compare(new, old)
        self.new, self.old = new, old
        self.at, self.was_at = _common(new.verdicts.digest, old.verdicts.digest)
        if not len(self.at):
            raise RunError(
                f"{new.path} and {old.path} have no sample in common: audit the same data as the baseline did."
            )

    def __len__(self) -> int:
        return len(self.at)

    def drop(self, kind: str, confidence: float) -> Drop:
        """What was lost and gained of a fraction ("clean", "attacked", "certified") since the baseline.

        It is 0 for certain where the model is the baseline's own and no sample says otherwise.
        """
        now, was = self.new.right(kind)[self.at], self.old.right(kind)[self.was_at]
        lost, gained, total = int((was & ~now).sum()), int((now & ~was).sum()), len(self)
        if lost == gained == 0 and self.same_model:
            return Drop(0, 0, total, 0.0, 0.0)
        return Drop.of(lost, gained, total, confidence)

    @property
    def same_model(self) -> bool:
        """Whether both runs are of one model: by fingerprint, and by its clean answers to the common samples."""
        one, other = self.new.folder.manifest, self.old.folder.manifest
        if one["fingerprints"]["model"] != other["fingerprints"]["model"]:
            return False
        if one["fingerprints"]["data"] == other["fingerprints"]["data"] and probes_differ(
            other["probes"], one["probes"]
        ):
            return False
        now, was = self.new.verdicts.prediction[self.at], self.old.verdicts.prediction[self.was_at]
        return bool(np.array_equal(now, was))

    @property
    def notes(self) -> list[str]:
        """What a reader of a drop should know."""
        notes = []
        sizes = len(self.new.verdicts), len(self.old.verdicts)
        if (len(self), len(self)) != sizes:
            notes.append(
                f"only the {len(self):,} samples count that are common to the run's {sizes[0]:,} and the baseline's {sizes[1]:,}"
            )
        if self.new.facts["fingerprints"]["code"] != self.old.facts["fingerprints"]["code"]:
            notes.append(
                f"the baseline was made by another Ironbound ({self.old.facts['ironbound']}, here {self.new.facts['ironbound']})"
            )
        return notes


def _must_compare(new: Reading, old: Reading) -> None:
    """Raise RunError unless threat, range and plan are the same."""
    what = f"{new.path} cannot be held against {old.path}"
    now, was = new.facts, old.facts
    if now["fingerprints"]["threat"] != was["fingerprints"]["threat"]:
        raise RunError(f"{what}: their threats differ, {now['threat']['spec']} and {was['threat']['spec']}.")
    if now["model"]["range"] != was["model"]["range"]:
        raise RunError(f"{what}: their models take other ranges, {now['model']['range']} and {was['model']['range']}.")
    if now["plan"]["name"] != was["plan"]["name"]:
        raise RunError(f"{what}: their plans differ, {now['plan']['name']} and {was['plan']['name']}.")
    if _set_otherwise(now, was):
        raise RunError(f"{what}: their plans have one name, {now['plan']['name']}, and other settings.")


def _set_otherwise(now: Any, was: Any) -> bool:
    """Whether plans of one name do other things. Stages that a pilot ordered or left out do not count: models differ in that.

    Of another version of Ironbound nothing can be said, since fingerprints are of its classes.
    """
    same_code = now["fingerprints"]["code"] == was["fingerprints"]["code"]
    if not same_code or now["fingerprints"]["plan"] == was["fingerprints"]["plan"]:
        return False
    if now["plan"]["stages"] == was["plan"]["stages"]:
        return True
    return not any({"pilot", "left_out", "notes"} & set(facts["plan"]) for facts in (now, was))


def _common(one: Any, other: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The places of equal keys in two tables; of a content that is there several times each is taken once, in order."""
    _, at, was_at = np.intersect1d(_numbered(one), _numbered(other), assume_unique=True, return_indices=True)
    return at, was_at


def _numbered(keys: Any) -> Any:
    """Each key with the count of its equals before it, so that all differ."""
    return np.char.add(keys, np.char.add(b"/", turns(keys).astype("S20")))
