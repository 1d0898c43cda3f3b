"""Backward pass differentiable approximation: past a part of the model whose gradient is missing or of no use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.errors import CompositionError, ModelError, UsageError
from ironbound.core.protocols import WHITE_BOX, Can, Counted, Inputs, Oracle, Outputs
from ironbound.core.rng import Rng
from ironbound.oracles.direct import Direct

Backward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Bpda:
    """The attacked model with another gradient for one of its modules: forward the true one, backward a stand-in's.

    defense: a module of the attacked model (JPEG, quantisation, thermometer coding, purification, a whole detector): the
        very object, wherever it stands in the net and however often it is called. Its input is its first argument.
    backward: a differentiable function of that input which does about what the defense does, and answers in the shape of
        the defense's output; None: the identity, for defenses with g(x) about x ("straight through").
    inner: the oracle whose model this is, so that Bpda(jpeg, inner=Bpda(coding)) stands in for both.

    With g the defense and f what follows, the gradient of f(g(x)) is taken as J(x)^T grad f at g(x), where J is the
    stand-in's Jacobian at x. Values are the model's own to the last bit; only gradients differ, so that a claim needs no
    second pass, and the judge never sees the stand-in. The defense is called without a graph: NumPy inside is welcome.
    Paper: Athalye, Carlini, Wagner 2018, Obfuscated Gradients Give a False Sense of Security, arXiv 1802.00420, 4.1.
    """

    defense: nn.Module
    backward: Backward | None = None
    inner: Oracle = field(default_factory=Direct)

    gives = WHITE_BOX

    def __post_init__(self) -> None:
        if not isinstance(self.defense, nn.Module):
            raise UsageError(
                f"Bpda stands in for a module of the attacked model; got {type(self.defense).__name__}. Attack the model as it "
                "is deployed: net = nn.Sequential(defense, classifier) with the defense as a module, and Bpda(defense)."
            )
        if not (self.backward is None or callable(self.backward)) or not hasattr(self.inner, "bind"):
            raise UsageError("Bpda(module, differentiable function or None, inner oracle).")
        if Can.GRADIENT not in self.inner.gives:
            raise CompositionError(f"Bpda is about gradients, and {type(self.inner).__name__} gives none.")

    @property
    def cost(self) -> int:
        """What the inner oracle costs."""
        return self.inner.cost

    @property
    def elsewhere(self) -> int:
        """What of the cost is run on models of the inner oracle's own."""
        return int(getattr(self.inner, "elsewhere", 0))

    @property
    def exact(self) -> bool:
        """Whether the inner oracle is: values are not touched."""
        return self.inner.exact

    def bind(self, model: Counted) -> Counted:
        """The model with the stand-in's gradient."""

        def answer(x: Inputs, rng: Rng) -> Outputs:
            if not torch.is_grad_enabled():
                return model(x, rng)
            with self._standing_in():
                return model(x, rng)

        return self.inner.bind(answer)

    @contextmanager
    def _standing_in(self) -> Iterator[None]:
        """Hooks on the defense, for one call of the model: it sees its input detached, and what it answers gets a gradient."""
        open_calls: list[Tensor] = []
        calls = 0

        def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            nonlocal calls
            calls += 1
            if not (args and isinstance(args[0], Tensor)):
                raise ModelError(f"{type(module).__name__}: Bpda needs a tensor as the defense's first argument.")
            open_calls.append(args[0])
            return (args[0].detach(), *args[1:])

        def after(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            return self._with_gradient(module, open_calls.pop(), out)

        hooks = [self.defense.register_forward_pre_hook(before), self.defense.register_forward_hook(after)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        if not calls:
            raise CompositionError(
                f"the model never called the {type(self.defense).__name__} given to Bpda. Give the very module that stands in "
                "the attacked model (a copy is another one), as net.jpeg or net[0]."
            )

    def _with_gradient(self, module: nn.Module, x: Tensor, out: Any) -> Any:
        """The defense's answer, with the gradient of the stand-in at its input."""
        stand_in = x if self.backward is None else self.backward(x)
        if not isinstance(out, Tensor) or stand_in.shape != out.shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ModelError(
                f"{type(module).__name__} answers with {got} for inputs {tuple(x.shape)}, and the stand-in with "
                f"{tuple(stand_in.shape)}: give Bpda a backward= that answers as the defense does."
            )
        if not out.is_floating_point():
            raise ModelError(
                f"{type(module).__name__} answers with {out.dtype}, which carries no gradient. Give Bpda a module that holds it "
                "together with the layer that turns such answers into real numbers."
            )
        answer: Tensor = _Swapped.apply(stand_in, out)
        return answer


class _Swapped(torch.autograd.Function):
    """The second argument forward, the first one backward."""

    @staticmethod
    def forward(ctx: Any, stand_in: Tensor, out: Tensor) -> Tensor:
        """The defense's own answer."""
        return out.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Everything goes to the stand-in."""
        return grad, None
