"""Anything that changes an answer as plain data, and the digest of it: numbers and names by value, tensors by digest."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
import sys
import tokenize
from dataclasses import fields, is_dataclass
from enum import Enum
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ironbound.core.errors import UsageError

UNKEYED = "without a key"


def described(thing: Any) -> Any:
    """JSON data that tells compositions apart.

    Dataclasses by their type and fields, tensors and arrays by digest, modules by state, settings and source of all their
    parts, functions by qualified name, source and what they hold; anything else needs a `key` of its own, or is marked as
    what cannot be told apart.
    """
    if thing is None or isinstance(thing, (bool, int, str)):
        return thing
    if isinstance(thing, float):
        return thing if thing == thing and abs(thing) != float("inf") else repr(thing)
    if isinstance(thing, Enum):
        return thing.name
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, (torch.dtype, torch.device)):
        return str(thing)
    if is_dataclass(thing):
        named = {field.name: described(getattr(thing, field.name)) for field in fields(thing)}
        own = type(thing).__module__.startswith("ironbound.")  # its source is in the fingerprint of the code
        return {"": type(thing).__qualname__, **named, **({} if own else {"source": source_digest(type(thing))})}
    return _by_content(thing)


def _by_content(thing: Any) -> Any:
    if isinstance(thing, (Tensor, np.ndarray)):
        return f"tensor {tensor_digest(torch.as_tensor(thing))}"
    if isinstance(thing, dict):
        return {str(name): described(value) for name, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [described(value) for value in thing]
    if isinstance(thing, nn.Module):
        own = {"state": state_digest(thing), "parts": parts_of(thing), "settings": settings_digest(thing)}
        return {"": type(thing).__qualname__, **own}
    if hasattr(thing, "key"):
        return {"": type(thing).__qualname__, "key": described(thing.key)}
    return _callable(thing)


def _callable(thing: Any) -> Any:
    if isinstance(thing, functools.partial):
        parts = {"of": thing.func, "args": thing.args, "named": thing.keywords}
        return {"": "partial", **{name: described(part) for name, part in parts.items()}}
    if isinstance(thing, MethodType):
        return {"": "method", "of": described(thing.__self__), "function": described(thing.__func__)}
    if isinstance(thing, FunctionType):
        return _function(thing)
    name = getattr(thing, "__name__", "")
    if name and getattr(sys.modules.get(getattr(thing, "__module__", None) or ""), name, None) is thing:
        return f"{thing.__module__}.{name}"  # of a library, in C
    return {"": type(thing).__qualname__, UNKEYED: True}


def _function(function: FunctionType) -> dict[str, Any]:
    """A function by its name, its source (its code where there is none, or where a line may hold several) and what it holds."""
    held = [cell.cell_contents for cell in function.__closure__ or () if cell.cell_contents is not function]
    source = source_digest(function)
    if not source or function.__name__ == "<lambda>":
        source += _code_digest(function.__code__)
    return {
        "": function.__qualname__,
        "source": source,
        "closure": described(held),
        "defaults": described([*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]),
    }


def _code_digest(code: CodeType) -> str:
    digest = hashlib.blake2b(code.co_code + repr(code.co_names).encode(), digest_size=8)
    for constant in code.co_consts:
        digest.update((_code_digest(constant) if isinstance(constant, CodeType) else repr(constant)).encode())
    return digest.hexdigest()


def parts_of(module: nn.Module) -> list[list[str]]:
    """Every part of a module: its place, class, source and settings (as far as it prints them: a stride, a probability)."""
    settings = lambda part: re.sub("0x[0-9a-f]+", "", part.extra_repr())  # addresses
    return [
        [name, type(part).__qualname__, source_digest(type(part)), settings(part)]
        for name, part in module.named_modules()
    ]


def settings_digest(module: nn.Module) -> str:
    """The plain numbers and texts that every part of a module holds: a quality of JPEG is seldom printed."""
    settings = {
        f"{place}.{name}": described(value)
        for place, part in module.named_modules()
        for name, value in vars(part).items()
        if _plain(value) and name != "training" and not name.startswith("_")
    }
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) or (isinstance(value, (list, tuple)) and all(map(_plain, value)))


def fingerprint(thing: Any) -> str:
    """Sixteen hexadecimal digits of the description. Raises UsageError where a part of it cannot be told from others."""
    description = described(thing)
    unkeyed = _unkeyed(description)
    if unkeyed:
        raise UsageError(
            f"{unkeyed} cannot be fingerprinted, so a run with it could not be resumed safely. "
            "Make it a frozen dataclass, or give it an attribute `key` that changes whenever its answers may."
        )
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _unkeyed(description: Any) -> str:
    """The type of the first thing in a description of which nothing but the type is known; "" where there is none."""
    if isinstance(description, dict):
        if UNKEYED in description:
            return str(description[""])
        description = list(description.values())
    return (
        next((found for part in description if (found := _unkeyed(part))), "") if isinstance(description, list) else ""
    )


def tensor_digest(tensor: Tensor) -> str:
    """Shape, type and values of a tensor, as thirty-two hexadecimal digits."""
    digest = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    values = tensor.detach().cpu().contiguous()
    digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def state_digest(module: nn.Module) -> str:
    """Parameters and buffers of a module by name and value, as thirty-two hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name}={tensor_digest(tensor)};".encode())
    return digest.hexdigest()


def source_digest(thing: Any) -> str:
    """The source of a class or function, where there is one."""
    try:
        return hashlib.blake2b(inspect.getsource(thing).encode(), digest_size=8).hexdigest()
    except (OSError, TypeError, tokenize.TokenError):  # the last where the lines belong to another text, such as a page
        return ""
