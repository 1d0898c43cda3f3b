"""The state of any optimiser as tensors and plain numbers, and back: checkpoints pickle nothing.

`Optimizer.load_state_dict` is not used: it casts every tensor of a slot to its parameter's type, and a resumed training
must go on with the very numbers.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import UsageError

Slots = dict[str, dict[str, Tensor]]


def state_of(optimiser: torch.optim.Optimizer) -> tuple[Slots, list[Any]]:
    """Tensors by parameter number and name, not copied, and what JSON can hold of slots and groups.

    Raises UsageError where a slot or a group holds anything else.
    """
    tensors: Slots = {}
    slots: dict[str, Any] = {}
    for number, parameter in enumerate(_parameters(optimiser)):
        kept, plain = _told_apart(optimiser.state.get(parameter, {}), optimiser)
        tensors |= {str(number): kept} if kept else {}
        slots |= {str(number): plain} if plain else {}
    groups = []
    for number, group in enumerate(optimiser.param_groups):
        kept, plain = _told_apart({name: value for name, value in group.items() if name != "params"}, optimiser)
        tensors |= {f"group {number}": kept} if kept else {}
        groups.append(plain)
    return tensors, [slots, groups]


def put(optimiser: torch.optim.Optimizer, tensors: Slots, numbers: list[Any]) -> None:
    """The state that `state_of` gave, in an optimiser over the same parameters."""
    slots, groups = numbers
    optimiser.state.clear()
    for number, parameter in enumerate(_parameters(optimiser)):
        kept, plain = tensors.get(str(number), {}), slots.get(str(number), {})
        if kept or plain:
            placed = {name: _placed(name, tensor, parameter, optimiser) for name, tensor in kept.items()}
            optimiser.state[parameter] = {**placed, **_plain_again(plain)}
    for number, (group, plain) in enumerate(zip(optimiser.param_groups, groups, strict=True)):
        kept = {name: tensor.clone() for name, tensor in tensors.get(f"group {number}", {}).items()}
        group.update({**_plain_again(plain), **kept})


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _told_apart(values: dict[str, Any], optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, and what is none."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if name in tensors:
            continue
        kind, content = ("tuple", list(value)) if isinstance(value, tuple) else ("value", value)
        try:
            same = json.loads(json.dumps(content)) == content or content != content  # NaN is not itself
        except (TypeError, ValueError):
            same = False
        if not same:
            raise UsageError(
                f"{type(optimiser).__name__} keeps {name!r} as {type(value).__name__}, which a checkpoint cannot hold: it "
                "takes tensors, numbers, texts and lists of these. Train without a folder, or with another optimiser."
            )
        plain[name] = [kind, content]
    return tensors, plain


def _plain_again(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(content) if kind == "tuple" else content for name, (kind, content) in plain.items()}


def _placed(name: str, tensor: Tensor, parameter: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
    """Beside the parameter; the count of steps stays on the CPU, where torch keeps it unless it is told otherwise."""
    group = next(group for group in optimiser.param_groups if any(p is parameter for p in group["params"]))
    there = name != "step" or group.get("capturable") or group.get("fused")
    return tensor.to(parameter.device if there else "cpu", copy=True)
