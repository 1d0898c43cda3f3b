"""What people write, resolved: threats, methods and plans by name. Imports what it names when it is named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade
from ironbound.core.catalogue import Entry, find, normal
from ironbound.core.errors import UsageError
from ironbound.core.protocols import PerturbationSet
from ironbound.models.model import Model
from ironbound.sets.threat import parse_threat

if TYPE_CHECKING:
    from ironbound.auditing.plan import Plan


def catalogue() -> tuple[Entry, ...]:
    """Everything that has a name: attacks, bounds, plans, trainings."""
    from ironbound.auditing import plan
    from ironbound.certification.catalogue import ENTRIES as BOUNDS
    from ironbound.defenses.catalogue import ENTRIES as TRAININGS

    return (*recipes.ENTRIES, *BOUNDS, *plan.ENTRIES, *TRAININGS)


def radius_must_fit(threat: Any, model: Model, x: Any) -> None:
    """Raise UsageError where a radius is in another unit than the model's range, in its own norm."""
    from ironbound.auditing.checks.model import covers_all, radius_problem

    if covers_all(threat, model.box, x):
        raise UsageError(
            f"radius {_radius(threat)} on a range of {list(model.box or ())}. {radius_problem(threat, model.box, x)} "
            "If the whole range is meant, say Linf(math.inf)."
        )


def _radius(threat: Any) -> str:
    """The radius of a ball in figures; of other sets, the set itself."""
    eps = getattr(threat, "eps", None)
    return f"{eps:g}" if isinstance(eps, float) else repr(threat)


def set_of(threat: PerturbationSet | str) -> PerturbationSet:
    """A threat as a set: "linf:8/255" is read, a set is taken as it is. Raises UsageError or UnknownName."""
    if isinstance(threat, str):
        return parse_threat(threat)
    if not isinstance(threat, PerturbationSet):
        raise UsageError(f'a threat is a set such as Linf(8/255) or a text such as "linf:8/255"; got {threat!r}.')
    return threat


def attack_of(method: str | Attack | Cascade) -> Attack | Cascade:
    """An attack by its name, or as it is."""
    if isinstance(method, (Attack, Cascade)):
        return method
    if not isinstance(method, str):
        raise UsageError(f"a method is a name of the catalogue or an Attack; got {type(method).__name__}.")
    made: Attack | Cascade = find(recipes.ENTRIES, "attack", method).make()
    return made


def plan_named(method: str | Attack | Cascade | Plan) -> Plan:
    """A plan by its name, or as it is; an attack alone, or its name, is a plan of one stage."""
    from ironbound.auditing import plan

    if isinstance(method, plan.Plan):
        return method
    if isinstance(method, (Attack, Cascade)):
        return plan.of_attacks([("attack", method)])
    if not isinstance(method, str):
        raise UsageError(f"an audit's method is the name of a plan, a Plan or an Attack; got {type(method).__name__}.")
    plans = {entry.name for entry in plan.ENTRIES}  # a plan goes before an attack of its name
    attacks = {normal(name) for entry in recipes.ENTRIES for name in (entry.name, *entry.aliases)}
    if normal(method) in attacks - plans:
        return plan_of("attack", [method])
    made: Plan = find(plan.ENTRIES, "audit", method).make()
    return made


def plan_of(verb: str, methods: Iterable[str]) -> Plan:
    """What a verb runs at the prompt, as a plan: attack and certify are audits of a single kind of stage."""
    from ironbound.auditing import plan

    names = list(methods)
    if verb == "certify":
        entries = [find(catalogue(), "certify", name) for name in names]
        return plan.Plan(
            "+".join(e.name for e in entries), tuple(plan.Bounds(e.name, e.make(), radii=True) for e in entries)
        )
    if verb == "attack":
        entries = [find(recipes.ENTRIES, "attack", name) for name in names]
        return plan.of_attacks([(e.name, e.make()) for e in entries])
    if len(names) != 1:
        raise UsageError(f"an audit has one plan; got {names}.")
    return plan_named(names[0])
