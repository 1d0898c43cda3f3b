"""From files to a Model: the architecture's code, the weights, and where both came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ironbound.models.load import load_module, parsed, source_digest
from ironbound.models.model import Model
from ironbound.models.weights import weights_digest


def load(weights: str | Path | None = None, *, architecture: str, **options: Any) -> Model:
    """A Model from code and weights: load("net.safetensors", architecture="zoo.py:net", mean=0.13, std=0.31).

    `options` are those of Model. Nothing is unpickled: weights are safetensors, or .pt files of nothing but weights.
    Raises UsageError, ModelError or DataError where code or weights cannot be read or do not fit each other.
    """
    net = load_module(architecture, weights)
    return Model(net, **{"name": architecture.rpartition(":")[2], **options})


def origin_of(weights: str | Path | None, architecture: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a run's manifest keeps, so that the model can be loaded again from code with the same digest."""
    path, name = parsed(architecture)
    spec = architecture if path is None else f"{path.resolve()}:{name}"
    return {
        "architecture": spec,
        "source": source_digest(architecture),
        "weights": None if weights is None else str(Path(weights).resolve()),
        "weights_digest": None if weights is None else weights_digest(weights),
        "options": options,
    }
