"""The user's model with what belongs to it: input range, preprocessing, kind of output, device, dtype."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ironbound.core import rows
from ironbound.core.errors import ModelError, UsageError
from ironbound.core.memory import Chunks, is_memory
from ironbound.core.protocols import WHITE_BOX, Box, Can, Counted
from ironbound.core.rng import Rng, forked
from ironbound.models.admission import admitted_inputs, admitted_labels, admitted_tree
from ironbound.models.cheap import Cheap, layout_kept
from ironbound.models.held import held
from ironbound.models.outputs import KINDS, LogitsOf, kind_of, probes


class Model:
    """A PyTorch module as Ironbound attacks, certifies and trains it: inputs in `range` in, logits out.

    Parameters
    ----------
    net: the user's module. It is never copied; mode, buffers, `requires_grad` and `.grad` are as before after every call.
    range: the lowest and highest valid input value, (0, 1) by default; None where inputs have none (text, tokens).
    mean, std: a normalisation that belongs in front of the net, one number or one a channel (dimension 1 of a batch).
        Perturbations are measured before it, in `range`.
    outputs: "logits", "probabilities", "logit" or "probability" (of class 1, one column), "decisions" (integers);
        "auto" finds out from inputs of its own, see outputs.py. "anything": embeddings, maps, boxes or several of these in
        a dict or tuple, one row an input, which the goal reads; labels are then whatever the goal reads, too.
    random: whether two passes of one input may differ (dropout at inference, smoothing). A module whose `forward` takes
        `rng` draws from it and is reproducible row by row; another draws from torch's global generator, which is
        seeded for the pass and restored.

    >>> Model(nn.Linear(4, 3), range=(0, 255)).box
    (0.0, 255.0)
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        range: tuple[float, float] | None = (0.0, 1.0),  # noqa: A002 - the field's own word
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        outputs: str = "auto",
        random: bool = False,
        name: str | None = None,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise UsageError(f"Model wraps a torch.nn.Module; got {type(net).__name__}.")
        if any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers())):
            raise UsageError("the net has lazy layers without weights yet; run one batch through it first.")
        if outputs not in ("auto", *KINDS):
            raise UsageError(f"outputs is one of auto, {', '.join(KINDS)}; got {outputs!r}.")
        self.net, self.random = net, random
        self.name = name or type(net).__name__
        self.device, self.dtype = _home(net)
        self.box = _checked_range(range, self.dtype)
        self.classes: int | None = None
        self._declared = {"outputs": outputs, "mean": mean, "std": std}
        self._settled: torch.Size | None = None
        self.module = Wrapped(net, mean, std, outputs, self.device, self.dtype)
        self.keyed = random and "rng" in inspect.signature(net.forward).parameters
        """Whether the net draws from the streams it is given, row by row."""

    @staticmethod
    def of(model: Any) -> Model:
        """What a user passes as a model: a Model as it is, a module wrapped with the range [0, 1]."""
        return model if isinstance(model, Model) else Model(model)

    def around(self, net: nn.Module) -> Model:
        """A model like this one around another net of the same inputs and outputs, such as a copy on another device."""
        mean, std = (None if numbers is None else numbers.tolist() for numbers in (self.module.mean, self.module.std))
        other = Model(net, range=self.box, mean=mean, std=std, outputs=self.outputs, random=self.random, name=self.name)
        other.classes = self.classes
        return other

    @property
    def outputs(self) -> str:
        """The kind of output: "auto" until `settle` has found out."""
        return self.module.kind

    @property
    def key(self) -> Any:
        """What tells it from other models, for descriptions of parts that hold models of their own."""
        return {"net": self.net, "range": self.box, "random": self.random, **self._declared}

    @property
    def gives(self) -> Can:
        """What the model can tell an attacker."""
        return Can.DECISIONS if self.outputs == "decisions" else WHITE_BOX

    def admit(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Inputs and labels checked, on the model's device and in its type.

        Raises InputError for inputs outside the range (the message carries the line that mends it), NaN, integers,
        labels of other classes; ModelError where the model cannot take inputs of this shape. Labels for outputs that are
        "anything" are a tree of tensors, or of lists of them (boxes), one row an input; numbers keep their type.
        """
        x = admitted_inputs(x, self.box, self.device, self.dtype)
        self.settle(x)
        if self.outputs == "anything":
            return x, admitted_tree(y, rows.count(x), self.device)
        return x, admitted_labels(y, rows.count(x), self.classes, self.device)

    def settle(self, example: Any) -> None:
        """Find out kind and number of outputs with inputs of the example's shape (none of the data), once a shape."""
        if not isinstance(example, Tensor) or self.box is None or example.shape[1:] == self._settled:
            return
        with torch.no_grad(), held(self.net), self._drawing(0):
            questions = probes(example, self.box)
            chunks = Chunks(len(questions), self.device)
            out = rows.join(chunks.run(len(questions), lambda at: self._answer_to(questions[at])))
            if self.outputs == "auto":
                self.module.kind = kind_of(out)
            out = self.module.logits_of(out)
        numbers = [leaf for leaf in rows.leaves(out) if leaf.is_floating_point() and leaf.numel()]
        if numbers and not any(bool(torch.isfinite(leaf).any()) for leaf in numbers):
            raise ModelError("the model answers NaN or infinity to every input of its range that was tried.")
        self._count(out, len(questions))
        logits = self.outputs != "anything" and out.ndim == 2
        self.classes = out.shape[1] if logits else None
        self._settled = example.shape[1:]

    def _count(self, out: Any, asked: int) -> None:
        got = (
            {leaf.shape[0] if leaf.ndim else 0 for leaf in rows.leaves(out)}
            if not isinstance(out, list)
            else {len(out)}
        )
        if got != {asked} and self.outputs == "anything":
            raise ModelError(
                f"the model answers {asked} inputs with {sorted(got)} rows; one row an input is expected in every part: "
                "tensors (n, ...), a dict or tuple of them, or a list of n objects."
            )

    def _answer_to(self, x: Tensor) -> Any:
        streams = (Rng.of(0, torch.arange(len(x), device=x.device)),) if self.keyed else ()
        try:
            return self.module.raw(x, *streams)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            if is_memory(error):
                raise
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"the model {self.name} fails on inputs of shape {tuple(x.shape)} ({self.dtype}): {first}. "
                "Rows are samples: check channels, height and width, and whether a batch dimension is missing."
            ) from error

    @contextmanager
    def opened(self, cheap: bool = False) -> Iterator[Counted]:
        """The model as a function of (inputs, rng), in evaluation mode, with parameters out of the graph.

        `cheap` runs in bfloat16 (see models/cheap.py), and answers in the model's own type.
        """
        with held(self.net):

            def answer(x: Any, rng: Rng) -> Any:
                with self._drawing(rng):
                    return self.module(x, rng) if self.keyed else self.module(x)

            if not cheap:
                yield answer
                return
            swapped = Cheap(self.module)

            def answer_cheaply(x: Any, rng: Rng) -> Any:
                with swapped.weights(), torch.autocast(self.device.type, torch.bfloat16):
                    out = answer(x, rng)
                return rows.each(lambda part: part.to(self.dtype) if part.is_floating_point() else part, out)

            with layout_kept(self.module):
                yield answer_cheaply

    def _drawing(self, rng: Rng | int) -> Any:
        """A random module that knows no streams: seed the global generator for this pass, and give it back after."""
        if not self.random or self.keyed:
            return nullcontext()
        return forked(rng if isinstance(rng, int) else int(rng.keys[0]), self.device)

    def __repr__(self) -> str:
        return f"Model({self.name}, range={self.box}, outputs={self.outputs!r}, device={self.device})"


class Wrapped(nn.Module):
    """Normalisation, net and output adapter as one module: what is called, and what is traced for bounds."""

    wraps = "net"
    """What is the user's own in here: errors give names of modules from there on."""
    mean: Tensor | None
    std: Tensor | None

    def __init__(self, net: nn.Module, mean: Any, std: Any, kind: str, device: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.kind = net, kind
        self.training = net.training  # and not train(), which would write into the net
        for name, value in (("mean", mean), ("std", std)):
            numbers = None if value is None else torch.as_tensor(value, dtype=dtype, device=device).flatten()
            self.register_buffer(name, numbers, persistent=False)
        if self.std is not None and not bool((self.std > 0).all()):
            raise UsageError(f"std must be positive in every channel; got {std!r}.")

    def forward(self, x: Any, *rng: Rng) -> Any:
        """Logits (n, classes) for inputs x in the model's range."""
        return self.logits_of(self.raw(x, *rng))

    @property
    def logits_of(self) -> LogitsOf:
        """The adapter from the net's own answers."""
        return LogitsOf(self.kind)

    def raw(self, x: Any, *rng: Rng) -> Any:
        """The net's own answer."""
        if self.mean is not None:
            x = x - _channelwise(self.mean, x)
        if self.std is not None:
            x = x / _channelwise(self.std, x)
        return self.net(x, *rng)


def _channelwise(numbers: Tensor, x: Tensor) -> Tensor:
    if len(numbers) not in (1, x.shape[1]):
        raise ModelError(
            f"mean and std have {len(numbers)} channels, but inputs of shape {tuple(x.shape)} have {x.shape[1]} (dimension 1)."
        )
    return numbers.view(-1, *[1] * (x.ndim - 2))


def _checked_range(limits: tuple[float, float] | None, dtype: torch.dtype) -> Box:
    """The range as the model's own numbers: data clamped to (-1.7, 2.3) in float32 end at -1.70000005."""
    if limits is None:
        return None
    low, high = torch.tensor(limits, dtype=torch.float64).to(dtype).tolist()
    if not low < high:
        raise UsageError(f"range is (lowest, highest) valid input value; got {limits!r}.")
    return low, high


def _home(net: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where the net lives: the device and type of its first floating-point parameter or buffer."""
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32
