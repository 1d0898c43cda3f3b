"""YAML files that people write: their content, and the line of each part of it, which every message names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ironbound.core.errors import UsageError

Loc = Sequence[Any]
"""Keys and places from the top of the file to a value."""


class YamlFile:
    """A file of keys and values, `content`. Raises UsageError for what cannot be read, is no YAML or has a key twice.

    what: how messages name the file ("the plan", "--config"). expected: what they say of a file without keys.
    """

    def __init__(self, path: Path, what: str, expected: str) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{what} {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
        try:
            self.root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{what} {path}{_where(error)} is no YAML: {_why(error)}.{_advice(error)}") from None
        except (ValueError, RecursionError) as error:  # 2026-13-45 looks like a date, and is none
            raise UsageError(f"{what} {path} is no YAML: {error}.") from None
        if not isinstance(self.root, yaml.MappingNode):
            line = 1 if self.root is None else self.root.start_mark.line + 1
            raise UsageError(f"{path}, line {line}: {expected}")
        self._no_key_twice(self.root, set())

    def error(self, at: Loc, words: str) -> UsageError:
        """An error about what is at this place."""
        return UsageError(f"{self.place(at)}: {words}")

    def place(self, at: Loc) -> str:
        """File and line of a place."""
        return f"{self.path}, line {self.line(at)}"

    def line(self, at: Loc) -> int:
        """The line of the deepest part of a place that is there, from 1."""
        node: Any = self.root
        mark = node.start_mark
        for part in at:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == part), None)
                if found is None:
                    break
                mark, node = found[0].start_mark, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                mark = node.start_mark
            else:
                break
        return int(mark.line) + 1

    def _no_key_twice(self, node: Any, past: set[int]) -> None:
        """YAML itself keeps the last one and says nothing."""
        if id(node) in past or isinstance(node, yaml.ScalarNode):  # an alias may lead back
            return
        past.add(id(node))
        keys: dict[str, int] = {}
        for part in node.value:
            key, value = part if isinstance(node, yaml.MappingNode) else (None, part)
            if key is not None and key.value in keys:
                raise UsageError(
                    f"{self.path}, line {key.start_mark.line + 1}: the key {key.value!r} is there twice, "
                    f"first in line {keys[key.value]}."
                )
            keys |= {} if key is None else {key.value: key.start_mark.line + 1}
            self._no_key_twice(value, past)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return "" if mark is None else f", line {mark.line + 1},"


def _why(error: yaml.YAMLError) -> str:
    said = [getattr(error, name, None) for name in ("context", "problem")]
    return " ".join(", ".join(word for word in said if word).split()) or " ".join(str(error).split())


def _advice(error: yaml.YAMLError) -> str:
    return " YAML is indented by spaces, not by tabs." if "'\\t'" in str(error) else ""
