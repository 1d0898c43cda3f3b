"""Settings from a YAML file and from flags, with messages that name the flag, or the line of the file."""

from __future__ import annotations

import difflib
from contextlib import suppress
from pathlib import Path
from reprlib import repr as repr_
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ironbound.cli.settings.fields import Settings
from ironbound.core.errors import UsageError

if TYPE_CHECKING:
    from ironbound.auditing.yamlfile import YamlFile

S = TypeVar("S", bound=Settings)
EXPECTED = 'lines of "key: value" are expected, such as "threat: linf:0.3".'


def settings_of(kind: type[S], flags: dict[str, Any], config: str | None = None) -> S:
    """The settings of a file, overridden by flags. Raises UsageError that names the flag, or file, line and key."""
    file = None if config is None else _read(Path(config))
    values = {**({} if file is None else file.keys), **flags}
    try:
        return kind(**values)
    except ValidationError as error:
        problems: dict[Any, Any] = {}
        for problem in error.errors():
            problems.setdefault(problem["loc"][:1], problem)  # the first of each key
        found = sorted(problems.values(), key=lambda problem: _line(problem, file, flags))
        raise UsageError("; ".join(_said(kind, values, problem, file, flags) for problem in found)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of keys and values, `-` in keys as `_`. Raises UsageError, with the line, for anything else."""
    return _read(path).keys


class _Keys:
    """The keys of a file as fields are called, and where each stands."""

    def __init__(self, source: YamlFile) -> None:
        self.source = source
        self.keys: dict[str, Any] = {}
        self.written: dict[str, Any] = {}
        for key, value in source.content.items():
            if not isinstance(key, str):
                raise source.error((str(key),), f"{EXPECTED} {repr_(key)} is no key.")
            name = key.replace("-", "_")
            if name in self.keys:
                raise source.error((key,), f"{key!r} and {self.written[name]!r} are the same key.")
            self.keys[name], self.written[name] = value, key

    def place(self, loc: tuple[Any, ...]) -> str:
        """File and line of what Pydantic calls by this place."""
        return self.source.place((self.written[loc[0]], *loc[1:]))


def _read(path: Path) -> _Keys:
    from ironbound.auditing.yamlfile import YamlFile

    return _Keys(YamlFile(path, "--config", EXPECTED))


def _line(problem: Any, file: _Keys | None, flags: dict[str, Any]) -> int:
    """Where a problem stands in the file, so that the first line is told first; flags, and what is missing, go before."""
    key = str(problem["loc"][0]) if problem["loc"] else ""
    if file is None or key in flags or key not in file.keys:
        return 0
    return file.source.line((file.written[key],))


def _said(kind: type[Settings], values: dict[str, Any], problem: Any, file: _Keys | None, flags: dict[str, Any]) -> str:
    """One problem in words."""
    key = str(problem["loc"][0]) if problem["loc"] else "settings"
    of_file = file is not None and key in file.keys and key not in flags
    place = f"{file.place(problem['loc'])}: " if file is not None and of_file else ""
    name = file.written[key] if file is not None and of_file else f"--{key.replace('_', '-')}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, kind.model_fields, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return f"{place}there is no key {key!r}. {hint}There are: {', '.join(sorted(kind.model_fields))}"
    words = kind.model_fields[key].description if key in kind.model_fields else ""
    if key not in values:
        return f"{name} is missing: {words}"
    got = repr(values[key]) if isinstance(values[key], (str, int, float, bool)) else repr_(values[key])
    return f"{place}{name} cannot be {got}: {_reason(kind, key, problem, values[key])}. It says: {words}"


def _reason(kind: type[Settings], key: str, problem: Any, value: Any) -> str:
    """What Pydantic has against a value; what it says of a pair or a percentage means nothing to who wrote it."""
    extra = kind.model_fields[key].json_schema_extra
    shape = extra.get("metavar") if isinstance(extra, dict) else None
    if problem["type"] in ("missing", "too_long") and shape is not None:
        return f"expected {shape}"
    reason = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
    reason = f"{reason[:1].lower()}{reason[1:]}"
    share = isinstance(value, str) and value.strip().endswith("%") and shape in ("F", "SHARE")
    with suppress(ValueError):
        return f"{reason}; write {float(value.strip()[:-1]) / 100:g}" if share else reason
    return reason
