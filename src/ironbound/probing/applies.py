"""What goes with a model and a threat: attacks, bounds, and how long an audit would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ironbound import recipes
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.auditing.run import traced
from ironbound.certification.catalogue import ENTRIES as BOUNDS
from ironbound.core.errors import CompositionError, IronboundError
from ironbound.core.protocols import Can
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.names import fits
from ironbound.probing import costs
from ironbound.probing.access import access_of

PLAN = "standard"


@dataclass(frozen=True)
class Estimate:
    """How long an audit may take: counted rows, at the speed that was measured."""

    samples: int
    seconds: float
    forward: int
    backward: int


def attacks_for(model: Model, threat: Any) -> tuple[str, ...]:
    """The names of the attacks that run on this set and see no more than the model shows."""
    seen = {"white-box": Can.GRADIENT, "scores": Can.SCORES, "decisions": Can.DECISIONS}
    made = ((entry.name, entry.make()) for entry in recipes.ENTRIES)
    return tuple(name for name, attack in made if fits(attack, threat) and seen[access_of(attack)] in model.gives)


def bounds_for(model: Model, data: Data, threat: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of the bounds that prove something of this model and set, and of the others why they do not.

    The model is traced, so that a part without a known bound is named.
    """
    stages = tuple(Bounds(entry.name, entry.make()) for entry in BOUNDS)
    try:
        plan = Plan("probe", (*stages, Attacking("noise", recipes.noise().replace(set=threat))))
        _, why = traced(model, data, threat, plan)
    except (CompositionError, IronboundError) as error:
        return (), {entry.name: str(error) for entry in BOUNDS}
    return tuple(stage.name for stage in stages if stage.name not in why), why


def audit_time(samples: int, right: float, forward: float, backward: float | None) -> Estimate | None:
    """What `audit standard` takes where nothing breaks and nothing is certified; None where the speed of gradients is not known.

    samples: how many; right: the share that is right when clean, the others cost a pass; forward, backward: rows a second.
    Checks and curve may take about as long again as the verdicts.
    """
    if backward is None:
        return None
    rows, back = costs.AUDIT
    attacked = samples * right
    seconds = 2 * attacked * (rows / forward + back / backward)
    return Estimate(samples, seconds, round(2 * attacked * rows), round(2 * attacked * back))
