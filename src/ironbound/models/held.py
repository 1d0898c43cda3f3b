"""Borrowing a user's module: evaluation mode and frozen parameters inside, exactly as it was outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def held(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradient for parameters; modes, buffers and `requires_grad` are restored on leaving.

    Flags are kept submodule by submodule: `net.train()` afterwards would undo a user's frozen parts. A buffer that a
    forward pass replaces or writes in place (through `.data` too) gets its old tensor and its old values back.
    """
    modes = [(part, part.training) for part in net.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    buffers = [(part, name, tensor) for part in net.modules() for name, tensor in part._buffers.items()]
    values = [None if tensor is None else tensor.detach().clone() for _, _, tensor in buffers]
    net.eval()
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
        for (part, name, tensor), kept in zip(buffers, values, strict=True):
            part._buffers[name] = tensor
            if tensor is None or kept is None:
                continue
            # Comparing would make a GPU wait; and written through .data, or a graph that holds the buffer breaks.
            if tensor.device.type != "cpu" or not torch.equal(tensor, kept):
                tensor.data.copy_(kept)
