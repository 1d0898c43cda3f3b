"""JSON Schemas of the files that are written, made of the types that describe them, and published with a version each.

The number in a file's name is the file's own `schema`. It is counted up when a reader of the older form would go wrong: a key
is gone, or means something else, or is of another type. Keys that are added are not counted, so that readers pass over keys
that they do not know; the schemas allow them.
"""

from __future__ import annotations

import json
from importlib.resources import files
from types import ModuleType
from typing import Any

BASE = "https://ironbound.github.io/ironbound/schemas"
"""Where the documentation publishes them: what `$id` begins with."""


def published(name: str) -> dict[str, Any]:
    """A schema by its name, such as "audit-2" or "compare-1". Raises FileNotFoundError for one that there is not."""
    found: dict[str, Any] = json.loads((files("ironbound") / "schemas" / f"{name}.json").read_text("utf-8"))
    return found


def made(kind: Any, modules: list[ModuleType], name: str, title: str) -> str:
    """The schema of a typed dictionary as JSON (draft 2020-12); its docstrings, and those of its fields, are the descriptions.

    modules: where it and the types in it are defined.
    """
    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import is_typeddict

    for module in modules:
        for found in vars(module).values():
            if is_typeddict(found):
                found.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{BASE}/{name}.json",
        "title": title,
    }
    version = {"schema": {"const": int(name.rpartition("-")[2]), "description": "The version of this form."}}
    schema = TypeAdapter(kind).json_schema()
    schema["properties"] |= version
    return json.dumps({**head, **{key: part for key, part in schema.items() if key != "title"}}, indent=1) + "\n"
