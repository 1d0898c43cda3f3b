"""Settings from a YAML file and from flags, with messages that name the key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ironbound.cli.settings.fields import Settings
from ironbound.core.errors import UsageError

S = TypeVar("S", bound=Settings)


def settings_of(kind: type[S], flags: dict[str, Any], config: str | None = None) -> S:
    """The settings of a file, overridden by flags. Raises UsageError that names the key."""
    values = {**({} if config is None else read_yaml(Path(config))), **flags}
    try:
        return kind(**values)
    except ValidationError as error:
        problems = {problem["loc"][:1]: problem for problem in reversed(error.errors())}  # the first of each key
        raise UsageError("; ".join(_said(kind, values, problem) for problem in reversed(problems.values()))) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of keys and values. Raises UsageError for anything else."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f'--config {path}: lines of "key: value" are expected, such as "threat: linf:0.3".')
    return {key.replace("-", "_"): value for key, value in content.items()}


def _said(kind: type[Settings], values: dict[str, Any], problem: Any) -> str:
    """One problem in words."""
    key = str(problem["loc"][0]) if problem["loc"] else "settings"
    flag = f"--{key.replace('_', '-')}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, kind.model_fields, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return f"there is no key {key!r}. {hint}There are: {', '.join(sorted(kind.model_fields))}"
    words = kind.model_fields[key].description if key in kind.model_fields else ""
    if key not in values:
        return f"{flag} is missing: {words}"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"{flag} is {words}; got {values[key]!r} ({reason[:1].lower()}{reason[1:]})"
