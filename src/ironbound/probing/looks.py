"""What can be seen of a model and its data by trying: each function looks at one thing and says what it saw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.auditing.checks.model import Look
from ironbound.auditing.intervals import Share
from ironbound.core.attack import Attack
from ironbound.core.errors import IronboundError
from ironbound.core.predict import predict
from ironbound.core.protocols import Can, Want
from ironbound.core.rng import Rng, content_keys, forked
from ironbound.goals import Untargeted
from ironbound.models.admission import KNOWN
from ironbound.models.held import held
from ironbound.models.model import Model
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.sets import Linf

FEW = 32
"""Inputs of which answers are compared."""
SPEED = 0.2
"""Seconds that a measurement of speed takes, about."""
MODES = {nn.Dropout: "dropout", nn.modules.dropout._DropoutNd: "dropout", nn.modules.batchnorm._BatchNorm: "batch norm"}


@dataclass(frozen=True)
class Guess:
    """A preprocessing that may be missing, and what the model is worth with it."""

    words: str
    python: str
    flags: str
    share: Share


def answers(model: Model, x: Any, rows: int | None = None) -> Any:
    """The model's answers to admitted inputs."""
    return predict(model, x, Rng.of(0, content_keys(x, torch.zeros(len(x))).to(model.device)), rows=rows)


def right(model: Model, x: Any, y: Tensor, rows: int | None = None) -> Share:
    """How many inputs the model answers with their label."""
    out = answers(model, x, rows)
    found = (out if out.ndim == 1 else out.argmax(1)).cpu() == y.cpu()
    return Share.of(int(found.sum()), len(y))


def guesses(model: Model, x: Tensor, y: Tensor, rows: int | None = None) -> list[Guess]:
    """The model with other ranges and normalisations in front, on the data as they are; the best first.

    x as the data have it, whatever the declared range. What the model cannot take is left out.
    """
    low, high = (float(end) for end in x.aminmax())
    channels = x.shape[1] if x.ndim > 2 else 1
    tried: list[tuple[str, dict[str, Any], str]] = []
    if low >= 0 and high > 2:
        top = 255.0 if 127 < high <= 255 else high
        tried += [(f"as numbers up to {top:g}", {"range": (0.0, top)}, f"--range 0,{top:g}"),
                  (f"divided by {top:g}", {"range": (0.0, top), "std": top}, f"--range 0,{top:g} --std {top:g}")]  # fmt: skip
    if low < 0:
        span = _round(low, high)
        tried.append((f"in their own range {list(span)}", {"range": span}, f"--range={span[0]:g},{span[1]:g}"))
    for name, (mean, std) in KNOWN.items() if low >= 0 and high <= 1 else ():
        if len(mean) in (1, channels):
            options: dict[str, Any] = {"mean": mean, "std": std}
            flags = f"--mean {','.join(map(str, mean))} --std {','.join(map(str, std))}"
            tried.append((f"normalised as for {name}", options, flags))
    found = []
    for words, options, flags in tried:
        try:
            other = Model(model.net, outputs=model._declared["outputs"], random=model.random, **options)  # type: ignore[arg-type]
            inputs, labels = other.admit(x, y)
            share = right(other, inputs, labels, rows)
        except (IronboundError, RuntimeError):
            continue
        said = ", ".join(
            f"{name}={value if not isinstance(value, float) else f'{value:g}'}" for name, value in options.items()
        )
        found.append(Guess(words, f"ironbound.Model(net, {said})", flags, share))
    return sorted(found, key=lambda guess: -guess.share.count)


def _round(low: float, high: float) -> tuple[float, float]:
    """A range that holds the data, with few digits."""
    return (-1.0, 1.0) if low >= -1 and high <= 1 else (float(int(low) - 1), float(int(high) + 1))


def unsteady(model: Model, x: Tensor) -> tuple[float, float]:
    """By how much two passes of the same inputs differ, and one by one from all at once; shares of the largest answer."""
    x = x[:FEW]
    first, again = (answers(model, x).double().nan_to_num() for _ in range(2))
    alone = answers(model, x[: FEW // 2], rows=1).double().nan_to_num()
    scale = first.abs().amax().clamp_min(1e-12)
    return float((again - first).abs().amax() / scale), float((alone - first[: FEW // 2]).abs().amax() / scale)


def moody(model: Model, x: Tensor) -> tuple[dict[str, int], bool]:
    """Layers that do something else while training, by kind; and whether the answers differ then."""
    kinds: dict[str, int] = {}
    for part in model.net.modules():
        for kind, name in MODES.items():
            if isinstance(part, kind):
                kinds[name] = kinds.get(name, 0) + 1
                break
    calm = answers(model, x[:FEW]).double()
    if model.random:  # two passes differ in any mode
        return kinds, bool(kinds)
    with held(model.net), forked(0, model.device), torch.no_grad():  # running statistics are put back behind it
        model.net.train()
        try:
            wild = model.module(x[:FEW]).double()
        except (RuntimeError, ValueError):
            return kinds, True
    return kinds, not torch.allclose(calm, wild, rtol=1e-4, atol=1e-6, equal_nan=True)


def dead_gradients(model: Model, x: Tensor, y: Tensor, rows: int | None = None) -> dict[str, int] | None:
    """Of how many inputs the margin's gradient is zero, or NaN or infinite; None where there are no gradients."""
    if Can.GRADIENT not in model.gives or model.random or not x.is_floating_point():
        return None
    norms: list[Tensor] = []
    width = 1.0 if model.box is None else model.box[1] - model.box[0]
    Attack(Linf(width / 1000), Untargeted(), Margin(), Look(norms, True), Direct(), Want.STRONGEST)(
        model, x, y, rows=rows
    )
    seen = torch.stack(norms)
    return {
        "of": len(x), "zero": int((seen == 0).any(0).sum()), "not finite": int((~torch.isfinite(seen)).any(0).sum()),
    }  # fmt: skip


def speed(model: Model, x: Tensor, y: Tensor, rows: int | None = None) -> dict[str, float | None]:
    """Forward and backward rows a second, by a clock, and the bytes that one row keeps for its backward pass."""
    forward = _rate(len(x), model, lambda: answers(model, x, rows))
    if Can.GRADIENT not in model.gives or model.random or not x.is_floating_point():
        return {"forward": forward, "backward": None, "bytes": None}
    width = 1.0 if model.box is None else model.box[1] - model.box[0]
    look = lambda: Attack(Linf(width / 1000), Untargeted(), Margin(), Look([], False), Direct(), Want.STRONGEST)(
        model, x, y, rows=rows
    )
    both = _rate(len(x), model, look)
    backward = 1 / max(1 / both - 1 / forward, 1e-12) if both < forward else both
    return {"forward": forward, "backward": backward, "bytes": _kept(model, x)}


def _rate(count: int, model: Model, work: Any) -> float:
    work()  # the first pass warms up
    done, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < SPEED or not done:
        work()
        done += count
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
    return done / max(took, 1e-9)


def _kept(model: Model, x: Tensor) -> float | None:
    """Bytes a row that autograd keeps between the passes."""
    some = x[:8]
    kept: dict[int, int] = {}
    own = {t.untyped_storage().data_ptr() for t in (*model.net.parameters(), *model.net.buffers())}

    def weigh(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:  # transposed weights are views of them
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    with held(model.net), torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        model.module(some.detach().requires_grad_(True))
    return sum(kept.values()) / len(some) if kept else None
