"""What people write, resolved: threats, methods and plans by name. Imports what it names when it is named."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound import recipes
from ironbound.core.attack import Attack
from ironbound.core.cascade import Cascade, searches_of
from ironbound.core.catalogue import Entry, find, normal
from ironbound.core.errors import CompositionError, UnknownName, UsageError
from ironbound.core.protocols import Can, PerturbationSet
from ironbound.goals import Confident, Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.searches.norms import norms_must_fit
from ironbound.sets.threat import parse_threat

if TYPE_CHECKING:
    from ironbound.auditing.plan import Plan


def catalogue() -> tuple[Entry, ...]:
    """Everything that has a name: attacks, bounds, plans, trainings."""
    from ironbound.auditing import plans
    from ironbound.certification.catalogue import ENTRIES as BOUNDS
    from ironbound.defenses.catalogue import ENTRIES as TRAININGS

    return (*recipes.ENTRIES, *BOUNDS, *plans.ENTRIES, *TRAININGS)


def radius_must_fit(threat: Any, model: Model, x: Any) -> None:
    """Raise UsageError where a radius is in another unit than the model's range, in its own norm."""
    from ironbound.auditing.checks.model import covers_all, radius_problem

    threat = getattr(threat, "ball", threat)
    if covers_all(threat, model.box, x):
        raise UsageError(
            f"radius {_radius(threat)} on a range of {list(model.box or ())}. {radius_problem(threat, model.box, x)} "
            f"If the whole range is meant, say {getattr(threat, 'norm', 'linf')}:inf."
        )


def _radius(threat: Any) -> str:
    """The radius of a ball in figures; of other sets, the set itself."""
    eps = getattr(threat, "eps", None)
    return f"{eps:g}" if isinstance(eps, float) else repr(threat)


def set_of(threat: PerturbationSet | str) -> PerturbationSet:
    """A threat as a set: "linf:8/255" is read, a set is taken as it is. Raises UsageError or UnknownName."""
    if isinstance(threat, str):
        return parse_threat(threat)
    if isinstance(threat, type) or not isinstance(threat, PerturbationSet):
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


def composed(method: str | Attack | Cascade, threat: PerturbationSet, targeted: bool = False) -> Attack | Cascade:
    """The attack on this set. Raises CompositionError with the names that do fit, where this one does not."""
    attack = attack_of(method)
    confident = attack.goal if isinstance(attack, Attack) and isinstance(attack.goal, Confident) else None
    if targeted and not isinstance(confident.goal if confident else attack.goal, (Targeted, Untargeted)):
        raise UsageError(
            f"target= sets the goal, and the attack has one of its own, {attack.goal!r}. Leave one of them out."
        )
    goal = Targeted() if confident is None else Confident(Targeted(), confident.kappa)
    try:
        made = (attack.replace(goal=goal) if targeted else attack).against(threat)
        norms_must_fit(searches_of(made), threat)
    except CompositionError as error:
        raise CompositionError(f"{_told(error, method)} {_what_fits(threat, targeted)}") from None
    return made


def plan_must_fit(plan: Plan, threat: PerturbationSet) -> None:
    """Raise CompositionError, with the attacks that do fit, where a stage of the plan does not fit the set."""
    if collective(threat):
        raise CompositionError(
            f"an audit says of each sample whether it can be attacked, and {threat!r} is one change for all of them. Find it by "
            "ironbound.attack(...) and see by ironbound.measure on how many other inputs it works; ironbound attack does both. "
            f"{_what_fits(threat)}"
        )
    try:
        plan.against(threat)
    except CompositionError as error:
        told = _told(error, plan.name)
        if Can.FINITE in threat.can:
            told = (
                f"{plan.name}: the points of {threat!r} can be listed, and this plan does not list them. The plan that tries "
                'all of them and decides every sample is method="exhaustive", at the prompt --method exhaustive.'
            )
        raise CompositionError(f"{told} {_what_fits(threat)}") from None


def collective(threat: Any) -> bool:
    """Whether the points of a set are each for many inputs."""
    return bool(getattr(threat, "collective", False))


def _told(error: CompositionError, method: Any) -> str:
    return f"{method}: {error}" if isinstance(method, str) else str(error)


def fits(attack: Attack | Cascade, threat: PerturbationSet) -> bool:
    """Whether an attack can run on this set: what building it says, and the norms in which its searches walk."""
    try:
        made = attack.against(threat)
    except CompositionError:
        return False
    if collective(made.set) != collective(threat):
        return False  # one change for all is another threat
    searches = searches_of(made)
    if collective(threat):
        return all(hasattr(search, "lifts") for search in searches)
    try:
        norms_must_fit(searches_of(made), threat)
    except CompositionError:
        return False
    return True


def _what_fits(threat: PerturbationSet, targeted: bool = False) -> str:
    """The names of the attacks that work on this set, in a sentence."""
    goal, names = Targeted() if targeted else Untargeted(), []
    for entry in recipes.ENTRIES:
        try:
            attack = entry.make().replace(goal=goal)
        except CompositionError:
            continue
        if fits(attack, threat):
            names.append(entry.name)
    if not names:
        return ""
    audits = "" if targeted or collective(threat) else " An audit takes one of them as its method, too."
    return f"What fits {'a target' if targeted else 'this threat'}: {', '.join(names)}.{audits}"


def plan_named(method: str | Path | Attack | Cascade | Plan) -> Plan:
    """A plan by its name, in a YAML file, or as it is; an attack alone, or its name, is a plan of one stage."""
    from ironbound.auditing import plan, plans

    if isinstance(method, plan.Plan):
        return method
    if isinstance(method, (Attack, Cascade)):
        return plan.of_attacks([("attack", method)])
    if isinstance(method, Path) or (isinstance(method, str) and method.lower().endswith((".yaml", ".yml"))):
        from ironbound.auditing.planfile import read_plan

        return read_plan(method)
    if not isinstance(method, str):
        raise UsageError(f"an audit's method is the name of a plan, a Plan or an Attack; got {type(method).__name__}.")
    named = {entry.name for entry in plans.ENTRIES}  # a plan goes before an attack of its name
    attacks = {normal(name) for entry in recipes.ENTRIES for name in (entry.name, *entry.aliases)}
    if normal(method) in attacks - named:
        return plan_of("attack", [method])
    try:
        made: Plan = find(plans.ENTRIES, "audit", method).make()
    except UnknownName as error:
        near = "" if "Did you mean" in str(error) else _near_attack(method, attacks)
        raise UnknownName(
            f"{error}{near} An attack's name, or a file of your own (plan.yaml), is a plan, too."
        ) from None
    return made


def _near_attack(name: str, attacks: Iterable[str]) -> str:
    near = get_close_matches(normal(name), sorted(attacks), n=1)
    return f" Did you mean the attack {near[0]!r}?" if near else ""


def plan_of(verb: str, methods: Iterable[str], given: dict[str, Any] | None = None) -> Plan:
    """What a verb runs at the prompt, as a plan: attack and certify are audits of a single kind of stage.

    `given` are arguments of bounds by name; each goes to all that have it.
    """
    from ironbound.auditing import plan

    names = list(methods)
    if verb == "certify":
        entries = [find(catalogue(), "certify", name) for name in names]
        made = _bounds(entries, given or {})
        bounds = tuple(plan.Bounds(e.name, bound, radii=True) for e, bound in zip(entries, made, strict=True))
        return plan.Plan("+".join(e.name for e in entries), bounds)
    if verb == "attack":
        entries = [find(recipes.ENTRIES, "attack", name) for name in names]
        return plan.of_attacks([(e.name, e.make()) for e in entries])
    if len(names) != 1:
        raise UsageError(f"an audit has one plan; got {names}.")
    return plan_named(names[0])


def _bounds(entries: list[Entry], given: dict[str, Any]) -> list[Any]:
    """Bounds with those of the given arguments that they have. Raises UsageError for one that none has."""
    from pydantic import ValidationError

    from ironbound.auditing.planfile import arguments_of

    taken = {entry.name: arguments_of(entry) for entry in entries}
    for name in given:
        if not any(name in kind.model_fields for kind in taken.values()):
            known = "; ".join(f"{of}: {', '.join(kind.model_fields) or 'none'}" for of, kind in taken.items())
            raise UsageError(f"there is no argument {name!r} to set. There are, of {known}.")
    made = []
    for entry in entries:
        kind = taken[entry.name]
        mine = {name: value for name, value in given.items() if name in kind.model_fields}
        try:
            kind.model_validate(mine)
        except ValidationError as error:
            problem = error.errors()[0]
            what = f"{entry.name}: {problem['loc'][0]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
            raise UsageError(f"{what}; got {problem['input']!r}.") from None
        made.append(entry.make(**mine))
    return made
