"""Small nets, honest ones and such as deceive, and run folders that are tampered with: for the tests of the audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from ironbound.auditing.checks import Evidence
from ironbound.auditing.folder import RunFolder
from ironbound.auditing.plan import Attacking, Plan
from ironbound.auditing.run import run
from ironbound.auditing.verdicts import Verdicts
from ironbound.data import Data, load
from ironbound.data.dataset import Data as DataClass
from ironbound.models.model import Model
from ironbound.recipes import pgd
from ironbound.sets import Linf


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.empty(*shape).uniform_(generator=torch.Generator().manual_seed(seed))


def mlp(*widths: int, seed: int = 0) -> nn.Sequential:
    """An untrained net whose weights are a function of the seed alone."""
    parts: list[nn.Module] = [nn.Flatten()]
    for wide, next_ in zip(widths, widths[1:], strict=False):
        parts += [nn.Linear(wide, next_), nn.ReLU()]
    net = nn.Sequential(*parts[:-1])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            bound = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.05
            weight.uniform_(-bound, bound, generator=generator)
    return net


@cache
def _trained() -> dict[str, Tensor]:
    net, data = mlp(64, 24, 10), load("digits:train")
    optimiser = torch.optim.Adam(net.parameters(), 1e-2, weight_decay=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(data.x), data.y).backward()
        optimiser.step()
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def digits_net() -> nn.Sequential:
    """A net that knows the digits, of which interval bounds can prove something; always the same weights."""
    net = mlp(64, 24, 10)
    net.load_state_dict(_trained())
    return net.eval()


def digits(samples: int = 40) -> Data:
    return load("digits:test", samples=samples)


def labelled(net: nn.Module, x: Tensor) -> Tensor:
    """The net's own answers: with them every sample is right when clean."""
    with torch.no_grad():
        return net(x).argmax(1)


def data_of(x: Tensor, y: Tensor, **fields: Any) -> Data:
    whole = {"columns": {}, "index": torch.arange(len(y)), "classes": None, "name": "made"}
    return DataClass(x=x, y=y, **{**whole, **fields})


class Wrap(nn.Module):
    """A net with something behind (or in front of) it."""

    def __init__(
        self, net: nn.Module, after: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] | None = None
    ):
        super().__init__()
        self.net, self.after, self.before = net, after, before or (lambda x: x)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.net(self.before(x)))


class Drawing(nn.Module):
    """A net that adds noise to its logits, from the streams it is given."""

    def __init__(self, net: nn.Module, sigma: float) -> None:
        super().__init__()
        self.net, self.sigma = net, sigma

    def forward(self, x: Tensor, rng: Any) -> Tensor:
        out = self.net(x)
        return out + self.sigma * rng.fold("noise").normal(tuple(out.shape[1:]), out.dtype)


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


PGD = Plan("pgd", (Attacking("pgd", pgd(steps=5)),))


def evidence(net: Any, plan: Plan = PGD, threat: Any = None, x: Tensor | None = None) -> Evidence:
    """What checks see of a finished run on samples that are right when clean; no check has run yet."""
    x = digits(16).x if x is None else x
    model, threat = Model.of(net), Linf(0.05) if threat is None else threat
    out = model.net(x).detach()
    data = data_of(x, out.argmax(1) if out.is_floating_point() else out)
    folder = run(model, data, threat, plan)
    return Evidence(model, data, threat, plan.against(threat), Verdicts.of(folder), lambda i: None)


# -------------------------------------------------------------------------------------------------------- tampering
def reseal(folder: Path) -> None:
    """Make the digests true again, as a forger would: what is deeper has to notice."""
    RunFolder(folder, {}).seal()


def rewritten(folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], number: int = 0) -> None:
    """A part of the results with other rows, resealed."""
    path = folder / "results" / f"part-{number:05d}.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)
    reseal(folder)


def edited(path: Path, change: Callable[[Any], None]) -> None:
    """A JSON file with a change, and the folder resealed."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2))
    reseal(path.parent)


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))
