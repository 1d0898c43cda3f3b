"""Anything that changes an answer as plain data, and the digest of it: numbers and names by value, tensors by digest."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ironbound.core.errors import UsageError


def described(thing: Any) -> Any:
    """JSON data that tells compositions apart.

    Dataclasses by their type and fields, tensors and arrays by digest, modules by their state and source, functions by
    qualified name and source; anything else must have a `key` of its own.
    """
    if thing is None or isinstance(thing, (bool, int, str)):
        return thing
    if isinstance(thing, float):
        return thing if thing == thing and abs(thing) != float("inf") else repr(thing)
    if isinstance(thing, Enum):
        return thing.name
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if is_dataclass(thing):
        named = {field.name: described(getattr(thing, field.name)) for field in fields(thing)}
        return {"": type(thing).__qualname__, **named}
    return _by_content(thing)


def _by_content(thing: Any) -> Any:
    if isinstance(thing, (Tensor, np.ndarray)):
        return f"tensor {tensor_digest(torch.as_tensor(thing))}"
    if isinstance(thing, dict):
        return {str(name): described(value) for name, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [described(value) for value in thing]
    if isinstance(thing, nn.Module):
        return {"": type(thing).__qualname__, "state": state_digest(thing), "source": source_digest(type(thing))}
    if hasattr(thing, "key"):
        return {"": type(thing).__qualname__, "key": described(thing.key)}
    if callable(thing):
        closure = [described(cell.cell_contents) for cell in getattr(thing, "__closure__", None) or ()]
        return {
            "": getattr(thing, "__qualname__", repr(type(thing))),
            "source": source_digest(thing),
            "closure": closure,
        }
    raise UsageError(
        f"{type(thing).__name__} cannot be fingerprinted, so a run with it could not be resumed safely. "
        "Make it a frozen dataclass, or give it an attribute `key` that changes whenever its answers may."
    )


def fingerprint(thing: Any) -> str:
    """Sixteen hexadecimal digits of the description."""
    text = json.dumps(described(thing), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


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
    except (OSError, TypeError):
        return ""
