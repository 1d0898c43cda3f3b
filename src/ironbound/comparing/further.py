"""Further audits of the models that are compared: threats and attacks that were not trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ironbound.auditing.verify import threat_of
from ironbound.comparing.found import Found
from ironbound.core.describe import fingerprint
from ironbound.core.progress import Listener
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.names import plan_named, plan_of, set_of
from ironbound.verbs import audit


@dataclass(frozen=True)
class Audits:
    """What every model is to be audited by."""

    threats: tuple[Any, ...]
    methods: tuple[str, ...]
    plan: Any
    """Of the further threats; each method is a plan of its own."""


def further(
    found: Sequence[Found], wanted: Audits, opened: Callable[[Found], tuple[Model, Data]], place: Path, tell: Listener
) -> list[Found]:
    """Audit each model once by all that is wanted, in folders below `place`; those that are there are gone on with."""
    there, made = {(one.model, *one.scope) for one in found}, list[Found]()
    plans: list[tuple[Any, Any]] = [(None, plan_of("attack", [name])) for name in wanted.methods]
    plans += [(set_of(threat), plan_named(wanted.plan)) for threat in wanted.threats]
    for one in _once(found):
        model, data = opened(one)
        for threat, plan in plans:
            chosen = threat_of(one.run, model, None) if threat is None else threat
            scope = one.scope[0], fingerprint(chosen), plan.name
            if (one.model, *scope) not in there:
                there.add((one.model, *scope))
                folder = (
                    place / _slug(f"{plan.name} {chosen!r}") / f"{_slug(one.name)}-{fingerprint([one.model, *scope])}"
                )
                manifest = one.run.manifest
                audited = audit(
                    model, data, threat=chosen, method=plan, out=folder, seed=int(manifest["seed"]), curve=False,
                    resume=folder.exists(), progress=tell, origin=manifest["origin"],
                )  # fmt: skip
                made.append(replace(one, audit=audited))
    return made


def _once(found: Sequence[Found]) -> list[Found]:
    """Each model on each data set once; as one that a training made, where it is both that and another's start."""
    kept: dict[Any, Found] = {}
    for one in found:
        key = one.model, one.scope[0]
        if key not in kept or (kept[key].training is None and one.training is not None):
            kept[key] = one
    return list(kept.values())


def _slug(text: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:60]
