"""What a model answers, told apart and turned into logits: logits, probabilities, one logit, one probability, decisions.

Answers of another kind ("anything": embeddings, maps, boxes, several heads in a dict) pass as they are, to goals that read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound.core.errors import ModelError

KINDS = ("logits", "probabilities", "logit", "probability", "decisions", "anything")

_OR = "or say ironbound.Model(net, outputs='anything') and attack it with a goal of ironbound.goals that reads such answers"


@dataclass(frozen=True)
class LogitsOf:
    """From a net's own answer of a known kind to logits (n, classes); decisions stay integers (n,)."""

    kind: str

    def __call__(self, out: Any) -> Any:
        """Logits; a probability p becomes log p, which ranks and compares as logits do."""
        match self.kind:
            case "probabilities":
                return _log(out)
            case "logit":
                return _two(out.reshape(-1))
            case "probability":
                p = out.reshape(-1)
                return torch.stack([_log(1 - p), _log(p)], 1)
        return out


def kind_of(out: Any) -> str:
    """The kind of output, from the net's answers to `probes`.

    The probes do not depend on the data, so neither does the kind. Rows of numbers >= 0 that all sum to one are
    probabilities: logits never do that by chance on all of them. Raises ModelError where it is none of KINDS.
    """
    if not isinstance(out, Tensor):
        raise ModelError(
            f"the model answers with {type(out).__name__}; a tensor of logits (n, classes) is expected. "
            f"Wrap it in a module that returns that tensor alone, {_OR}."
        )
    if not out.is_floating_point():
        return "decisions"
    if out.ndim == 1 or (out.ndim == 2 and out.shape[1] == 1):
        return "probability" if bool(((out >= 0) & (out <= 1)).all()) else "logit"
    if out.ndim == 2:
        sums = out.double().sum(1)
        shares = bool((out >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
        return "probabilities" if shares else "logits"
    raise ModelError(
        f"the model answers with shape {tuple(out.shape)}; logits of shape (n, classes) are expected, {_OR}."
    )


def probes(example: Tensor, box: tuple[float, float], count: int = 15) -> Tensor:
    """Inputs of the example's shape spread over the box, always the same ones."""
    shape = example.shape[1:]
    # Weyl sequences: well spread, the same on every machine, and of nobody's generator.
    place = torch.arange(1, shape.numel() + 1, dtype=torch.float64)[None, :] * 0.6180339887498949
    shift = torch.arange(count, dtype=torch.float64)[:, None] * 0.7548776662466927
    unit = torch.frac(place + shift + place * shift).reshape(count, *shape).to(example.device)
    return (box[0] + (box[1] - box[0]) * unit).to(example.dtype)


def _log(p: Tensor) -> Tensor:
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def _two(logit: Tensor) -> Tensor:
    """One logit z of class 1 as the two logits (0, z)."""
    return torch.stack([torch.zeros_like(logit), logit], 1)
