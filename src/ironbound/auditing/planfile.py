"""Plans as YAML files: stages by name, with arguments; every error names its line.

name: mine
adaptive: true          # a pilot orders the stages, and leaves out optional ones that do not pay
stages:
  - bound: ibp
    optional: true
  - bound: crown
    optional: true
    most: 5000          # left out where its estimate is above so many forward rows a sample
  - bound: alpha-crown
    near: 0.5           # only for samples that crown left at most half of their clean margin below zero
    of: crown
    with: {layers: last}
  - attack: apgd
    with: {steps: 50, restarts: 2}
  - attack: square
    near: 0.5           # only for samples that attacks before it brought half of the way to another answer
  - attack: noise
    witness: true
  - attack: square
    name: square on some
    most: 64            # survivors of the whole data set, those with the smallest keys
    with: {queries: 1000}
  - attack: square
    name: square on all
    after: square on some   # only where that broke one
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as repr_
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, create_model

from ironbound import recipes
from ironbound.auditing.plan import Attacking, Bounds, Plan, Stage
from ironbound.auditing.yamlfile import Loc, YamlFile
from ironbound.certification.catalogue import ENTRIES as BOUNDS
from ironbound.core.catalogue import Entry, find
from ironbound.core.errors import IronboundError, UsageError


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)


class _Bound(_Keys):
    bound: str
    name: str | None = Field(None, min_length=1)
    radii: bool = False
    optional: bool = False
    most: float | None = Field(None, gt=0)
    near: float | None = Field(None, gt=0)
    of: str = ""
    arguments: dict[str, Any] = Field({}, alias="with")


class _Attack(_Keys):
    attack: str
    name: str | None = Field(None, min_length=1)
    witness: bool = False
    optional: bool = False
    most: int | None = Field(None, ge=1)
    after: str = ""
    near: float | None = Field(None, gt=0, lt=1)
    arguments: dict[str, Any] = Field({}, alias="with")


_KEYS = {
    "": ["name", "adaptive", "stages"],
    "bound": ["bound", "name", "radii", "optional", "most", "near", "of", "with"],
    "attack": ["attack", "name", "witness", "optional", "most", "after", "near", "with"],
}
"""The keys of a file and of both kinds of stages."""


def _kind(stage: Any) -> str:
    return "bound" if isinstance(stage, dict) and "bound" in stage else "attack"


class _File(_Keys):
    name: str | None = Field(None, min_length=1)
    adaptive: bool = False
    stages: list[
        Annotated[Annotated[_Bound, Tag("bound")] | Annotated[_Attack, Tag("attack")], Discriminator(_kind)]
    ] = Field(min_length=1)


def read_plan(path: str | Path) -> Plan:
    """The plan in a file; without a name it has the file's. Raises UsageError that names the line."""
    source = _Source(Path(path).expanduser())
    try:
        said = _File.model_validate(source.content)
    except ValidationError as error:
        raise source.wrong(error) from None
    stages = tuple(_stage(source, i, stage) for i, stage in enumerate(said.stages))
    try:
        return Plan(said.name or source.path.stem, stages, said.adaptive)
    except UsageError as error:
        raise source.error(("stages",), str(error)) from None


def _stage(source: _Source, i: int, said: _Bound | _Attack) -> Stage:
    if isinstance(said, _Bound):
        entry = _found(source, ("stages", i, "bound"), BOUNDS, "certify", said.bound)
        kind: Any = Bounds
        kept = {"radii", "optional", "most", "near", "of"}
    else:
        entry = _found(source, ("stages", i, "attack"), recipes.ENTRIES, "attack", said.attack)
        kind, kept = Attacking, {"witness", "optional", "most", "after", "near"}
    try:
        arguments = arguments_of(entry).model_validate(said.arguments)
    except ValidationError as error:
        raise source.wrong(error, ("stages", i, "with"), list(arguments_of(entry).model_fields)) from None
    given = {name: getattr(arguments, name) for name in arguments.model_fields_set}
    try:
        return kind(said.name or entry.name, entry.make(**given), **said.model_dump(include=kept))
    except IronboundError as error:
        raise source.error(("stages", i, "with"), str(error)) from None


def _found(source: _Source, at: Loc, entries: Sequence[Entry], verb: str, name: str) -> Entry:
    try:
        return find(entries, verb, name)
    except IronboundError as error:
        raise source.error(at, str(error)) from None


def arguments_of(entry: Entry) -> type[BaseModel]:
    """The arguments of a recipe or a bound as keys of a file: their types are those of its signature."""
    hints = get_type_hints(entry.make)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default) for name, parameter in inspect.signature(entry.make).parameters.items()
    }
    return create_model(entry.name, __base__=_Keys, **fields)


class _Source(YamlFile):
    """The file of a plan."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "the plan", 'a plan has the keys "stages" and, if wanted, "name" and "adaptive".')

    def wrong(self, error: ValidationError, within: Loc = (), known: Sequence[str] = _KEYS[""]) -> UsageError:
        """One problem that Pydantic found, with its line: a key too many tells more than one too few."""
        problem = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        loc = list(problem["loc"])
        if not within and len(loc) > 2:
            known = _KEYS[str(loc.pop(2))]
        at, key = [*within, *loc], str(loc[-1]) if loc else ""
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            below = " Arguments of an attack stand below its with." if "with" in known else ""
            return self.error(at, f"there is no key {key!r}. {hint}There are: {', '.join(known) or 'none'}.{below}")
        if problem["type"] == "missing":
            return self.error(at, f"the key {key!r} is missing{' (or: bound)' if key == 'attack' else ''}.")
        if problem["type"] in ("model_type", "model_attributes_type"):
            return self.error(at, f"keys with values are expected: {', '.join(known)}; got {repr_(problem['input'])}.")
        reason = str(problem["msg"])
        what = f"{key}: " if key and not key.isdigit() else ""
        return self.error(at, f"{what}{reason[:1].lower()}{reason[1:]}; got {repr_(problem['input'])}.")
