"""Captum's algorithms through the house's door (Kokhlikyan et al. 2020, arXiv 2009.07896)."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.errors import IronboundError, UsageError
from ironbound.core.memory import is_memory
from ironbound.explaining.score import Passes

COMPLETE = ("IntegratedGradients", "DeepLift")
"""Those whose values sum to the score at x less that at the baseline."""
WINDOWS = 8
"""Windows along each side of a picture, of Occlusion."""
TOGETHER = 64
"""Inputs that Captum gets at once."""


def captum_attr() -> Any:
    """The module captum.attr. Raises UsageError with how to install it."""
    try:
        import captum.attr as found
    except ImportError:
        raise UsageError(
            "attributions by captum:NAME need Captum, which is not installed: pip install 'ironbound[captum]'. "
            "gradient and integrated need nothing further."
        ) from None
    return found


class Scored(nn.Module):
    """The score of inputs that all mean the same classes, as Captum wants a model: one number a row.

    It holds the user's module, so that algorithms which hook its layers find them, and goes through the door.
    """

    def __init__(self, passes: Passes, problem: int) -> None:
        super().__init__()
        self.model = passes.model.module
        self.training = self.model.training
        self._ask, self._problem = passes.answer, problem

    def forward(self, x: Tensor) -> Tensor:
        """Scores (rows,): algorithms ask for other rows than they were given, all of the same classes."""
        owner = torch.full((len(x),), self._problem, device=x.device)
        return self._ask(x, owner, int(torch.is_grad_enabled()))


def captum_values(
    passes: Passes, name: str, x: Tensor, start: Tensor, steps: int, options: dict[str, Any]
) -> tuple[Tensor, bool]:
    """Attributions in x's shape, and whether they are complete."""
    maker = getattr(captum_attr(), name)
    score, values = passes.score, torch.zeros_like(x)
    pairs = score.classes if score.against is None else torch.stack([score.classes, score.against], 1)
    for pair in pairs.unique(dim=0):
        mine = (pairs == pair).reshape(len(x), -1).all(1).nonzero()[:, 0]
        for at in mine.split(TOGETHER):
            algorithm = maker(Scored(passes, int(at[0])))
            given = _arguments(algorithm, x[at], start[at], steps) | options
            values[at] = _tried(name, algorithm, x[at], given).detach().to(x.dtype)
    return values, name in COMPLETE


def _arguments(algorithm: Any, x: Tensor, start: Tensor, steps: int) -> dict[str, Any]:
    """What the algorithm takes of what the caller said; signs are kept."""
    window = tuple(max(1, side // WINDOWS) for side in x.shape[2:])
    every = {
        "baselines": start, "n_steps": steps, "internal_batch_size": max(TOGETHER, len(x)), "abs": False,
        "sliding_window_shapes": (x.shape[1], *window) if x.ndim > 2 else (1,),
    }  # fmt: skip
    if x.ndim > 2:
        every["strides"] = (x.shape[1], *window)
    known = inspect.signature(algorithm.attribute).parameters
    return {key: value for key, value in every.items() if key in known}


def _tried(name: str, algorithm: Any, x: Tensor, given: dict[str, Any]) -> Tensor:
    """Run it. Captum refuses models with assertions of its own, and says by warnings that it hooks their layers."""
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks", UserWarning)
            found = algorithm.attribute(x.detach().clone().requires_grad_(True), **given)
    except IronboundError:
        raise
    except Exception as error:
        if is_memory(error):
            raise
        raise UsageError(f"captum:{name} does not go with this model or these options: {error}") from error
    if not isinstance(found, Tensor) or found.shape != x.shape:
        raise UsageError(f"captum:{name} with these options answers no attribution of the shape of its inputs.")
    return found
