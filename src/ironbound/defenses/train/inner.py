"""The inner maximisation: which inputs of the set around a batch are trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

from jaxtyping import Float
from torch import Tensor

from ironbound.core.attack import Attack
from ironbound.core.errors import CompositionError, UsageError
from ironbound.core.protocols import Can, Want
from ironbound.defenses.train.fused import Move, ascend
from ironbound.defenses.train.objective import Batch, Scene
from ironbound.searches.norms import norm_of

Climbed = Callable[[Any], Tensor]
"""logits (n, classes) -> losses (n,) that the inner attack makes large, nats."""


class Inner(Protocol):
    """A way to find the inputs that are trained on."""

    @property
    def rows(self) -> int:
        """Model rows that a sample takes."""
        ...

    def check(self, scene: Scene, threat: Any) -> None:
        """Refuse a set in which it cannot look. Raises CompositionError or UsageError."""
        ...

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """Inputs in the region, outside any graph. `climbed` is the loss to make large; None is that of the labels."""
        ...

    def stronger(self) -> Inner:
        """The next stronger attack, for a training that the present one no longer helps."""
        ...


@dataclass(frozen=True)
class Steps:
    """Steepest ascent with steps of one length, projected back each time: the fused loop (fused.py).

    It sees the model in evaluation mode (running statistics, no dropout) as a later attacker would, and does not move it.

    Paper: Madry et al. 2018 (arXiv 1706.06083), section 2.1.
    """

    steps: int = 7
    step: float | None = None
    """The length of a step in input units; None is `share` radii."""
    share: float | None = None
    """The length of a step in radii; None is 2.5 / steps."""
    start: Literal["random", "clean", "nudged"] = "random"
    """ "random" is anywhere in the set; "nudged" is 0.001 N(0, 1) from the input in every value, for losses whose gradient at
    the input itself is zero."""
    noise: float = 1.0
    """Of random starts, the radius of the ball they are drawn from, in radii. Beyond 1 points may leave the set, and
    nothing but the range holds them (N-FGSM)."""
    cheap: bool = False
    """The inner attack in bfloat16, also where the update is not. It always is where the training's precision is "bf16"."""

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise UsageError(f"steps of the inner attack is a whole number of at least 1; got {self.steps!r}.")
        for name, unit in (("step", "input units"), ("share", "radii")):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} of the inner attack is a length > 0 in {unit}, or None; got {value!r}.")
        if self.step is not None and self.share is not None:
            raise UsageError(f"the inner attack has one length of a step; got step={self.step} and share={self.share}.")
        if self.start not in ("random", "clean", "nudged"):
            raise UsageError(f'start of the inner attack is "random", "clean" or "nudged"; got {self.start!r}.')
        if not (math.isfinite(self.noise) and self.noise > 0) or (self.noise != 1 and self.start != "random"):
            raise UsageError(
                f"noise of the inner attack is a number of radii > 0, of random starts; got {self.noise!r}."
            )

    @property
    def rows(self) -> int:
        """One a step."""
        return self.steps

    def check(self, scene: Scene, threat: Any) -> None:
        """The set must have a projection, a steepest direction and, for random starts, draws; each sample its own."""
        must_step(scene, threat, Can.PROJECT | Can.STEER | (Can.SAMPLE if self.start == "random" else Can(0)))

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """Where the steps lead from the start."""
        return self.ascended(scene, batch, region, climbed, self.size(region))

    def ascended(
        self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None, size: Any, move: Move | None = None
    ) -> Float[Tensor, "n ..."]:
        """Where steps of that size, or moves by another rule, lead from the start."""
        loss = climbed or (lambda logits: scene.criterion(logits, batch.y))
        cheap = self.cheap or scene.precision == "bf16"
        points = ascend(
            scene.model, self.room(region, size), loss, self.begin(region, batch), steps=self.steps, size=size,
            rng=batch.rng, cheap=cheap, move=move,
        )  # fmt: skip
        return region.apply(points, batch.rng)

    def begin(self, region: Any, batch: Batch) -> Float[Tensor, "n ..."]:
        """The points from which the steps go."""
        if self.start == "clean":
            return region.identity()
        draws = batch.rng.fold("start")
        if self.start == "random":
            return (region if self.noise == 1 else region.scaled(self.noise * region.radius)).sample(draws)
        p = region.identity()
        return region.project(p + 0.001 * draws.normal(tuple(p.shape[1:]), p.dtype))

    def room(self, region: Any, size: Any) -> Any:
        """Where the points may be: in the region, or wherever the noise and all steps lead."""
        if self.noise <= 1:
            return region
        return region.scaled(
            self.noise * region.radius + self.steps * (size.flatten() if isinstance(size, Tensor) else size)
        )

    def size(self, region: Any) -> float | Float[Tensor, "n ..."]:
        """The length of a step in input units, broadcast over each sample."""
        if self.step is not None:
            return self.step
        share = 2.5 / self.steps if self.share is None else self.share
        return (share * region.radius).view(-1, *[1] * (region.identity().ndim - 1))

    def stronger(self) -> Self:
        """Twice the steps, half as long."""
        if self.step is not None:
            return replace(self, steps=2 * self.steps, step=self.step / 2)
        share = 2.5 / self.steps if self.share is None else self.share
        return replace(self, steps=2 * self.steps, share=share / 2)


@dataclass(frozen=True)
class Composed:
    """Any attack, run by the engine. Slower than the fused loop, since it counts and judges.

    An attack that would stop at its first witness goes on here, and the point with the highest objective is trained on;
    one for the smallest change ends where it ends. What the attack climbs is its own objective, whatever the training would
    have it climb.
    """

    attack: Attack

    @property
    def rows(self) -> int:
        """Not known beforehand; the engine counts them."""
        return 0

    def check(self, scene: Scene, threat: Any) -> None:
        """The attack must go with the set. Raises CompositionError where it does not."""
        if threat is None:
            raise CompositionError("adversarial training needs a perturbation set; got None. Use Linf or L2.")
        must_be_one(threat)
        self.attack.against(threat)

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Climbed | None = None) -> Float[Tensor, "n ..."]:
        """What the attack found: adversarial inputs, or the strongest that it tried."""
        # a first witness is a weak one, and that of a sample misclassified when clean is the sample itself
        want = Want.STRONGEST if self.attack.want is Want.FIRST else self.attack.want
        found = self.attack.replace(set=_Around(region), want=want)(
            scene.model, batch.x, batch.y, keys=batch.rng.fold("inner").keys
        )
        return found.adversarial.detach()

    def stronger(self) -> Self:
        """Itself: an attack that is given is used as it is."""
        return self


@dataclass(frozen=True)
class _Around:
    """A set that is one region, whatever it is asked about: the batch's own, at the radius of the moment."""

    region: Any
    can: Can = ~Can(0)  # what there is was checked before the training

    def at(self, x: Any, box: Any) -> Any:
        return self.region


def must_step(scene: Scene, threat: Any, needs: Can) -> None:
    """Refuse sets that are no region of one norm around each sample, or leave nothing to learn."""
    must_be_one(threat)
    missing = needs & ~(Can(0) if threat is None else threat.can)
    if missing:
        raise CompositionError(
            f"adversarial training needs a set that can {_words(missing)}; got {threat!r}. "
            'Use Linf, L2 or L1, or, where only draws are missing, start="clean" (--set start=clean).'
        )
    region = threat.at(scene.example, scene.model.box)
    if region.items is not None:
        raise CompositionError(
            "adversarial training attacks each sample by itself; in this set samples share one change. Use Linf or L2."
        )
    must_leave_room(region, scene)


def must_be_one(threat: Any) -> None:
    """Refuse unions. Raises CompositionError."""
    if getattr(threat, "parts", ()):
        raise CompositionError(
            f"adversarial training steps in one norm, and this is a union, {threat!r}. Train with multi-norm, or against "
            "one of its parts, and audit against all."
        )


def must_leave_room(region: Any, scene: Scene) -> None:
    """A radius from one end of the range to the other makes every input like every other."""
    if getattr(scene.threat, "parametric", False):  # its radius is of angles or pixels
        return
    radius, box = float(region.radius.max()), scene.model.box
    width = math.inf if box is None else box[1] - box[0]
    values = scene.example[0].numel()
    reach = width * {"linf": 1, "l1": values}.get(norm_of(region) or "", math.sqrt(values))
    if not math.isfinite(radius) or radius >= reach:
        raise UsageError(
            f"the radius {radius:g} of {scene.threat!r} takes every input of the range {box} to every other, so that "
            f"nothing can be learned. Radii are in input units, less than {reach:g} here; 8/255 or 0.1 are usual in [0, 1]."
        )


def _words(can: Can) -> str:
    return " and ".join((part.name or "").lower() for part in can)
