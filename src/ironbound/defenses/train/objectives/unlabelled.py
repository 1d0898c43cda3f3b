"""Training on unlabelled inputs beside labelled ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train import randomness
from ironbound.defenses.train.earlier import Earlier
from ironbound.defenses.train.inner import Inner, Steps
from ironbound.defenses.train.objective import (
    Batch,
    Outcome,
    Scene,
    answers,
    answers_of,
)
from ironbound.defenses.train.objectives.adversarial import Standard
from ironbound.defenses.train.objectives.distillation import divergence
from ironbound.defenses.train.objectives.wrapped import Wrapped

CHUNK = 1024
"""Inputs given pseudo-labels at a time."""


@dataclass(frozen=True)
class Unlabelled(Wrapped):
    """The base objective on labelled inputs, and on unlabelled ones with the labels or answers of a model.

    Each labelled sample of a batch draws `ratio` unlabelled inputs. What they are to be answered with:

    - "fixed": pseudo-labels, the most likely classes of a teacher that was trained plainly on the labelled data, or is
      given. The base trains on both together (robust self-training; UAT-FT).
    - "online": the present model's own answers, KL(p(x) || p(x')) with p(x) detached, at x' that climbs it (UAT-OT).
    - "both": the sum of the two (UAT++).

    The loss is the mean over samples in which an unlabelled one has `unlabelled_weight` times the weight of a labelled one.

    Papers: Carmon et al. 2019 (arXiv 1905.13736), Algorithm 1 with equation 3 ("fixed" with trades as the base, half the
    batch unlabelled, unlabelled_weight 1); Alayrac, Uesato et al. 2019 (arXiv 1905.13725), section 3.
    Differs: the labelled loss is the base's, which for "online" would be the clean one in the paper (base="standard");
    p(x) is the answer in evaluation mode, which the inner attack uses as well. Unlabelled inputs are drawn with
    replacement, so that each is a function of the seed, the epoch and the labelled sample that it goes with.
    """

    targets: Literal["fixed", "online", "both"] = "fixed"
    unlabelled_weight: float = 1.0
    """Of an unlabelled sample; a labelled one has 1."""
    ratio: int = 1
    """Unlabelled inputs for each labelled one of a batch."""
    online: Inner = field(default_factory=Steps)
    """The inner attack on the model's own answers."""
    earlier: Earlier = field(default_factory=lambda: Earlier(20))
    """How the teacher is trained."""

    name: ClassVar[str] = "semi-supervised"
    uses: ClassVar[tuple[str, ...]] = ("unlabelled", "teacher")

    def __post_init__(self) -> None:
        if self.targets not in ("fixed", "online", "both"):
            raise UsageError(f'targets is "fixed", "online" or "both"; got {self.targets!r}.')
        if not (math.isfinite(self.unlabelled_weight) and self.unlabelled_weight > 0):
            raise UsageError(f"unlabelled_weight is a number > 0; got {self.unlabelled_weight!r}.")
        if type(self.ratio) is not int or self.ratio < 1:
            raise UsageError(f"ratio is a whole number of at least 1; got {self.ratio!r}.")
        if self.targets != "fixed" and getattr(self.online, "start", "random") == "clean":
            raise UsageError(
                'the divergence of the model\'s answers has no gradient at the clean input: give "online" a random start.'
            )

    def check(self, scene: Scene) -> None:
        """There must be unlabelled inputs; with fixed targets also a teacher or epochs to train one."""
        if scene.given.unlabelled is None:
            raise UsageError(
                "semi-supervised needs unlabelled inputs, and none are given. Pass unlabelled=x (at the prompt --unlabelled "
                "PATH), or labelled=500 (--labelled 500) to use the rest of the data without its labels."
            )
        if hasattr(self.base, "earlier"):
            raise CompositionError(
                f"semi-supervised has earlier stages of its own, and so has {self.base.name}, which knows the labelled rows "
                "alone. Take a base without them, such as pgd or trades."
            )
        if self.targets != "online" and scene.given.teacher is None and not self.earlier.earlier_epochs:
            raise UsageError("pseudo-labels come from a teacher: give one, or say earlier_epochs=20 to train it first.")
        if self.targets != "fixed":
            self.online.check(scene, scene.threat)
        super().check(scene)

    def prepare(self, scene: Scene) -> None:
        """Train the teacher on the labelled data, and ask it for pseudo-labels, once."""
        super().prepare(scene)
        if self.targets == "online":
            return
        make = lambda: self.pseudo_labels(scene)
        scene.made["pseudo-labels"] = make() if scene.kept is None else scene.kept("pseudo-labels", make)

    def pseudo_labels(self, scene: Scene) -> Int[Tensor, " m"]:
        """The teacher's most likely class of each unlabelled input, on the CPU."""
        teacher = scene.given.teacher
        if teacher is None:
            assert scene.stage is not None
            teacher = scene.stage("teacher", self.earlier.training(Standard(), scene.seed, "teacher"), scene.model)
        x, found = scene.given.unlabelled, []
        for index in torch.arange(rows.count(x)).split(CHUNK):
            part = rows.to(rows.part(x, slice(int(index[0]), int(index[-1]) + 1)), teacher.device)
            rng = randomness.streams(scene.seed, 0, content_keys(part, None).to(teacher.device))
            found.append(answers_of(teacher, part, rng).argmax(1).cpu())
        return torch.cat(found)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The weighted losses of the labelled samples and of those that they drew."""
        x, drawn = scene.given.unlabelled, self.drawn(scene, batch)
        home = scene.y.device
        more = rows.to(rows.take(x, drawn.to(home)), batch.y.device)
        # Their streams are those of the labelled sample that drew them, for another purpose: content need not be hashed.
        rng = batch.rng.fold("unlabelled").repeat(self.ratio)
        more = scene.transformed(more, rng)
        outcome = self.base.loss(
            scene, batch if self.targets == "online" else self.joined(scene, batch, more, drawn, rng)
        )
        losses = outcome.losses
        count = len(batch.y)
        of = count if self.targets == "online" else count + len(drawn)
        if len(losses) != of:
            raise UsageError(
                f"semi-supervised weighs the loss of each sample, and {self.base.name} has {len(losses)} losses for {of}. "
                "Choose a base with one loss a sample, such as pgd or trades."
            )
        labelled, unlabelled = losses[:count], losses[count:]
        took = outcome.rows
        if self.targets != "fixed":
            smooth, spent = self.smoothness(scene, replace(batch, x=more, rng=rng))
            unlabelled = smooth if self.targets == "online" else unlabelled + smooth
            took += spent
        weights = torch.cat([torch.ones_like(labelled), torch.full_like(unlabelled, self.unlabelled_weight)])
        losses = torch.cat([labelled, unlabelled]) * (weights / weights.mean())
        measured = {name: None if (good := getattr(outcome, name)) is None else good[:count] for name in MEASURED}
        return replace(outcome, losses=losses, rows=took, **measured)

    def drawn(self, scene: Scene, batch: Batch) -> Int[Tensor, " m"]:
        """The rows of the unlabelled inputs that go with this batch, on the CPU."""
        streams = batch.rng.fold("which").repeat(self.ratio)
        return streams.integers(0, rows.count(scene.given.unlabelled)).cpu()

    def joined(self, scene: Scene, batch: Batch, more: Any, drawn: Int[Tensor, " m"], rng: Rng) -> Batch:
        """Labelled and unlabelled samples, the latter with their pseudo-labels and rows behind those of the data."""
        pseudo = scene.made["pseudo-labels"][drawn].to(batch.y.device)
        return replace(
            batch,
            x=rows.join([batch.x, more]),
            y=torch.cat([batch.y, pseudo]),
            rng=Rng(torch.cat([batch.rng.keys, rng.keys])),
            index=torch.cat([batch.index, len(scene.y) + drawn]),
        )

    def smoothness(self, scene: Scene, batch: Batch) -> tuple[Float[Tensor, " m"], int]:
        """KL(p(x) || p(x')) of each unlabelled sample, with p(x) detached, and the model rows that it took."""
        target = answers(scene, batch.x, batch.rng.fold("answers"))
        region = scene.region(batch)
        attacked = self.online.inputs(scene, batch, region, lambda logits: divergence(target, logits))
        losses = divergence(target, scene.logits(attacked, batch.rng))
        return losses, (2 + self.online.rows) * rows.count(batch.x)


MEASURED = ("clean", "attacked", "certified")
