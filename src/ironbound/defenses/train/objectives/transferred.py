"""Training on adversarial examples of other models than the one that is trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core import rows
from ironbound.core.errors import UsageError
from ironbound.core.protocols import Can
from ironbound.core.rng import content_keys
from ironbound.defenses.train import randomness
from ironbound.defenses.train.earlier import Earlier
from ironbound.defenses.train.initial import must_redraw, redrawn
from ironbound.defenses.train.inner import Climbed, Inner, Steps, must_step
from ironbound.defenses.train.objective import Batch, Objective, Outcome, Scene, answers, correct, cross_entropy
from ironbound.defenses.train.objectives.adversarial import Standard
from ironbound.defenses.train.objectives.distillation import both
from ironbound.models.model import Model

CHUNK = 256
"""Inputs attacked at a time where the batches of the training do not say it."""


@dataclass(frozen=True)
class RandomFirst:
    """R+FGSM: a step along the sign of Gaussian noise, then one along the gradient for the rest of the radius.

    In other norms than L-infinity the noise gives a steepest direction instead of its sign.

    Paper: Tramèr et al. 2018 (arXiv 1705.07204), equation 7, with alpha = eps / 2.
    """

    first: float = 0.5
    """The share of the radius that is left to chance."""

    @property
    def rows(self) -> int:
        """One gradient."""
        return 1

    def check(self, scene: Scene, threat: Any) -> None:
        """The set must have a projection and a steepest direction."""
        must_step(scene, threat, Can.PROJECT | Can.STEER)

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """Where the two steps lead."""
        from ironbound.defenses.train.fused import ascend

        origin = region.identity()
        radius = region.radius.view(-1, *[1] * (origin.ndim - 1)).to(origin.dtype)
        noise = batch.rng.fold("first").normal(tuple(origin.shape[1:]), origin.dtype)
        start = region.project(origin + self.first * radius * region.steepest(noise))
        loss = climbed or (lambda logits: scene.criterion(logits, batch.y))
        size = (1 - self.first) * radius
        points = ascend(scene.model, region, loss, start, steps=1, size=size, rng=batch.rng)
        return region.apply(points, batch.rng)

    def stronger(self) -> Steps:
        """Two steps from a random start."""
        return Steps(2)


@dataclass(frozen=True)
class LeastLikely:
    """Towards the class that the model takes to be the least likely for the clean input.

    Paper: Kurakin et al. 2017 (arXiv 1611.01236), section 2.1 ("step l.l.").
    """

    inner: Inner

    @property
    def rows(self) -> int:
        """The inner attack's, and one for the clean answer."""
        return self.inner.rows + 1

    def check(self, scene: Scene, threat: Any) -> None:
        """As the inner attack."""
        self.inner.check(scene, threat)

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """Where the inner attack leads when it descends the loss of that class."""
        least = answers(scene, batch.x, batch.rng.fold("least")).argmin(1)
        return self.inner.inputs(scene, batch, region, lambda logits: -cross_entropy(logits, least))

    def stronger(self) -> LeastLikely:
        """Around the next stronger attack."""
        return LeastLikely(self.inner.stronger())


ATTACKS: dict[str, Inner] = {
    "fgsm": Steps(1, share=1.0, start="clean"),
    "r-fgsm": RandomFirst(),
    "i-fgsm": Steps(10, share=0.1, start="clean"),
    "step-ll": LeastLikely(Steps(1, share=1.0, start="clean")),
    "pgd": Steps(7),
}
"""Inner attacks by name: those of ensemble adversarial training, and PGD."""


@dataclass(frozen=True)
class Transferred(Objective):
    """Ensemble adversarial training: examples transferred from models that are not trained, mixed with clean inputs.

    For each batch one source and one attack are drawn, and the loss of a sample is (1 - mix) CE(x) + mix CE(x'). The
    sources are the other models given, or `held_out` models of the trained one's architecture, trained plainly on the same
    data from weights drawn anew; and, with own=True, the model itself. More attacks and more sources make the examples
    more diverse. Since most examples are not of the model itself, it cannot hide its gradient from all of them; against
    attacks that see the model it protects less than adversarial training does.

    Paper: Tramèr et al. 2018 (arXiv 1705.07204), section 4.
    Differs: clean and attacked inputs of one batch are the same samples.
    """

    attacks: tuple[Any, ...] = ("fgsm", "r-fgsm", "pgd")
    """Inner attacks, or their names: fgsm, r-fgsm, i-fgsm, step-ll, pgd."""
    own: bool = True
    """Whether the trained model is a source, too."""
    mix: float = 0.5
    """The weight of the attacked inputs, in (0, 1]."""
    held_out: int = 2
    """How many models are trained where none is given."""
    earlier: Earlier = field(default_factory=lambda: Earlier(5))

    name: ClassVar[str] = "ensemble"
    uses: ClassVar[tuple[str, ...]] = ("models",)

    def __post_init__(self) -> None:
        named = (self.attacks,) if isinstance(self.attacks, str) else tuple(self.attacks)
        unknown = [part for part in named if isinstance(part, str) and part not in ATTACKS]
        if unknown or not named:
            raise UsageError(f"attacks are some of {', '.join(ATTACKS)}, or inner attacks; got {self.attacks!r}.")
        object.__setattr__(self, "attacks", tuple(ATTACKS[p] if isinstance(p, str) else p for p in named))
        if not 0 < self.mix <= 1:
            raise UsageError(f"mix, the weight of attacked inputs, is in (0, 1]; got {self.mix!r}.")
        if type(self.held_out) is not int or self.held_out < 0:
            raise UsageError(f"held_out is a number of models of at least 0; got {self.held_out!r}.")

    def check(self, scene: Scene) -> None:
        """Every attack must go with the set, there must be a source, and other models must be given or can be drawn."""
        for attack in self.attacks:
            attack.check(scene, scene.threat)
        if scene.given.models:
            return
        if not (self.held_out and self.earlier.earlier_epochs):
            if not self.own:
                raise UsageError(
                    "ensemble has no source of examples: give other models, or say held_out=2 and earlier_epochs=5."
                )
            return
        must_redraw(scene.model.net)

    def prepare(self, scene: Scene) -> None:
        """Train the held-out models where none is given."""
        others = list(scene.given.models)
        if not others and self.earlier.earlier_epochs:
            assert scene.stage is not None
            for number in range(1, self.held_out + 1):
                seed = scene.seed + 1000 * number
                name = f"held-out-{number}"
                other = _another(scene.model, seed)
                others.append(scene.stage(name, self.earlier.training(Standard(), seed, name), other))
        scene.made["others"] = others

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The mixed losses of one batch."""
        source, attack = self.drawn(scene, batch)
        region = scene.region(batch)
        attacked = attack.inputs(scene.replace(model=source, weights=None), batch, region)
        clean, logits = both(scene, batch, attacked)
        return Outcome(
            (1 - self.mix) * scene.criterion(clean, batch.y) + self.mix * scene.criterion(logits, batch.y),
            clean=correct(clean, batch.y),
            eps=region.radius.max(),
            rows=(2 + attack.rows) * len(batch.y),
        )

    def drawn(self, scene: Scene, batch: Batch) -> tuple[Model, Inner]:
        """The source and the attack of this batch: functions of the seed and of the place in the training."""
        sources = [*scene.made["others"], *([scene.model] if self.own or not scene.made["others"] else [])]
        at = randomness.one(scene.seed, "source").fold(torch.tensor([round(batch.at * 2**32)]))
        which = int(at.integers(0, len(sources) * len(self.attacks)))
        return sources[which // len(self.attacks)], self.attacks[which % len(self.attacks)]


def _another(model: Model, seed: int) -> Model:
    """A model like this one with weights drawn anew."""
    import copy

    net = copy.deepcopy(model.net)
    redrawn(net, seed)
    return model.around(net)


@dataclass(frozen=True)
class Augmented(Objective):
    """Adversarial examples made once, from a model trained plainly, and added to the data: n clean and n attacked inputs.

    They are examples of that model, not of the one that is trained on them, which soon has others. So it protects little
    against attacks that see the model; it is here to be compared with.

    earlier_epochs=0 makes the examples of the model as it is given. They are kept in the training's folder.

    Paper: Szegedy et al. 2014 (arXiv 1312.6199), section 4.
    Differs: examples are found by `inner` instead of L-BFGS, inside the set; they are made once and not replaced. A sample
    and its example are in one batch, so that a batch has twice the rows.
    """

    inner: Inner = field(default_factory=Steps)
    earlier: Earlier = field(default_factory=Earlier)

    name: ClassVar[str] = "augment"

    def check(self, scene: Scene) -> None:
        """The attack must go with the set."""
        self.inner.check(scene, scene.threat)

    def prepare(self, scene: Scene) -> None:
        """Train the model whose examples are added, and make them."""
        model = scene.model
        if self.earlier.earlier_epochs:
            assert scene.stage is not None
            model = scene.stage("plain", self.earlier.training(Standard(), scene.seed, "plain"), model)
        source = scene.replace(model=model)
        make = lambda: self.examples(source)
        scene.made["examples"] = make() if scene.kept is None else scene.kept("examples", make)

    def examples(self, scene: Scene) -> Float[Tensor, "n ..."]:
        """An example of the scene's model for each input, in the order of the data, on the CPU."""
        keys = content_keys(scene.x, scene.y)
        found = []
        for index in torch.arange(len(scene.y)).split(CHUNK):
            there, device = index.to(scene.y.device), scene.model.device
            batch = Batch(
                x=rows.to(rows.take(scene.x, there), device),
                y=scene.y[there].to(device),
                rng=randomness.streams(scene.seed, 0, keys[index].to(device)).fold("examples"),
                at=0.0,
                index=index,
                strength=scene.strength,
            )
            found.append(self.inner.inputs(scene, batch, scene.region(batch)).cpu())
        return torch.cat(found)

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """The losses of the samples, and those of their examples."""
        attacked = scene.transformed(scene.made["examples"][batch.index].to(batch.y.device), batch.rng)
        clean, logits = both(scene, batch, attacked)
        losses = torch.cat([scene.criterion(clean, batch.y), scene.criterion(logits, batch.y)])
        made = scene.region(replace(batch, strength=scene.strength))  # the examples do not follow a radius that rises
        return Outcome(losses, clean=correct(clean, batch.y), eps=made.radius.max(), rows=2 * len(batch.y))
