"""Random small problems by the thousand through attacks and judge: no witness is outside its set, or fails at batch size 1.

What is measured here shares no code with the library: sizes by formulas of this file in float64, answers by functional
layers on one input at a time in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ironbound as ib

BATCH = 1000
BOXES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
NORMS = {"linf": ib.Linf, "l2": ib.L2, "l1": ib.L1, "l0": ib.L0}
SHARES = (0.0, 1e-6, 0.02, 0.1, 0.3, 1.0, 5.0)
"""Radii as shares of a size that changes many answers; 0, next to nothing, and beyond the box among them."""


def attacks() -> dict[str, Callable[[], ib.Attack]]:
    """By norm: those that know it."""
    found = {
        "pgd": lambda: ib.recipes.pgd(steps=5),
        "apgd": lambda: ib.recipes.apgd(steps=6),
        "fgsm": ib.recipes.fgsm,
        "noise": lambda: ib.recipes.noise(draws=6),
    }
    for name, options in (("square", {"queries": 12}), ("fab", {"steps": 4})):
        if hasattr(ib.recipes, name):
            found[name] = lambda name=name, options=options: getattr(ib.recipes, name)(**options)
    return found


STRONG = ("pgd", "apgd", "fgsm", "square", "fab")
KNOWS = {"l0": ("noise",), "l1": STRONG, "l2": STRONG, "linf": STRONG}


# ------------------------------------------------------------------------------------------------- nets
class Linear(nn.Module):
    """An affine classifier."""

    def __init__(self, d: int, classes: int, draw: torch.Generator) -> None:
        super().__init__()
        self.w, self.b = _weights((classes, d), draw), _weights((classes,), draw)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.w, self.b)


class Mlp(nn.Module):
    """Two layers."""

    def __init__(self, d: int, classes: int, draw: torch.Generator) -> None:
        super().__init__()
        self.w, self.b = _weights((8, d), draw), _weights((8,), draw)
        self.v, self.c = _weights((classes, 8), draw), _weights((classes,), draw)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x.flatten(1), self.w, self.b).relu(), self.v, self.c)


class Conv(nn.Module):
    """A convolution over one channel, rectified, then affine."""

    def __init__(self, d: int, classes: int, draw: torch.Generator) -> None:
        super().__init__()
        self.k, self.v, self.c = _weights((2, 1, 3), draw), _weights((classes, 2 * d), draw), _weights((classes,), draw)

    def forward(self, x: Tensor) -> Tensor:
        h = F.conv1d(x.flatten(1)[:, None], self.k, padding=1).relu()
        return F.linear(h.flatten(1), self.v, self.c)


class Centred(nn.Module):
    """A net that sees its range as [-1, 1]."""

    def __init__(self, net: nn.Module, box: tuple[float, float]) -> None:
        super().__init__()
        self.net, self.middle, self.scale = net, (box[0] + box[1]) / 2, 2 / (box[1] - box[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.middle) * self.scale)


def _weights(shape: tuple[int, ...], draw: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).normal_(0, shape[-1] ** -0.5, generator=draw))


# ------------------------------------------------------------------------------------------------- problems
@dataclass(frozen=True)
class Batch:
    """A thousand problems on one net: inputs, labels, and a radius each."""

    norm: str
    method: str
    net: nn.Module
    box: tuple[float, float]
    x: Tensor
    y: Tensor
    eps: Tensor
    cheap: bool
    """Gradient passes in bfloat16."""


def batches(count: int) -> Iterator[Batch]:
    """Every norm with every attack that knows it, in turn, on nets and data of their own."""
    ways = [(norm, method) for norm in NORMS for method in KNOWS[norm] if method in attacks()]
    for number in range(count):
        draw = torch.Generator().manual_seed(number)
        norm, method = ways[number % len(ways)]
        pick = lambda options: options[int(torch.randint(len(options), (), generator=draw))]  # noqa: B023
        d, classes, box = pick(range(1, 13)), pick(range(2, 6)), pick(BOXES)
        net = Centred(pick((Linear, Mlp, Conv))(d, classes, draw), box).eval()
        width = box[1] - box[0]
        unit = (torch.rand(BATCH, d, generator=draw) * 1.4 - 0.2).clamp(0, 1)  # some at the very ends
        x = (box[0] + unit * width).clamp(*box)
        with torch.no_grad():
            y = net(x).argmax(1)
        reach = {"linf": 1.0, "l2": math.sqrt(d), "l1": float(d), "l0": float(d)}[norm] * (
            1.0 if norm == "l0" else width
        )
        eps = torch.tensor(SHARES, dtype=torch.float64)[torch.randint(len(SHARES), (BATCH,), generator=draw)] * reach
        yield Batch(norm, method, net, box, x, y, eps.round() if norm == "l0" else eps, number % 3 == 0)


@dataclass
class Count:
    """What was found, and what of it does not hold."""

    problems: int = 0
    witnesses: int = 0
    outside: int = 0
    refuted: int = 0

    def add(self, batch: Batch) -> None:
        """Attack, measure anew, ask the net one input at a time."""
        attack = attacks()[batch.method]().replace(set=NORMS[batch.norm](batch.eps), cheap=batch.cheap)
        result = attack(ib.Model(batch.net, range=batch.box), batch.x, batch.y)
        won = result.success.nonzero()[:, 0]
        self.problems += len(batch.y)
        self.witnesses += len(won)
        new, old = result.adversarial[won].double(), batch.x[won].double()
        inside = (sizes(batch.norm, new - old) <= batch.eps[won]) & ((new >= batch.box[0]) & (new <= batch.box[1])).all(
            1
        )
        self.outside += int((~inside).sum())
        with torch.no_grad():
            for i in won.tolist():
                answer = batch.net(result.adversarial[i : i + 1])
                self.refuted += int(answer.argmax(1)) == int(batch.y[i])


def sizes(norm: str, change: Tensor) -> Tensor:
    """The size of each change, float64; correctly rounded sums where sums are compared with a radius."""
    rows = change.tolist()
    match norm:
        case "linf":
            return torch.tensor([max(map(abs, row)) for row in rows] or [0.0], dtype=torch.float64)[: len(rows)]
        case "l1":
            return torch.tensor([math.fsum(map(abs, row)) for row in rows], dtype=torch.float64)
        case "l2":
            return torch.tensor([math.hypot(*row) for row in rows], dtype=torch.float64)
    return torch.tensor([sum(value != 0 for value in row) for row in rows], dtype=torch.float64)


def measured(count: int) -> Count:
    """All batches counted."""
    total = Count()
    for batch in batches(count // BATCH):
        total.add(batch)
    return total


def test_fifty_thousand_small_problems() -> None:
    total = measured(51_000)
    assert (total.outside, total.refuted) == (0, 0), total
    assert total.witnesses > 0.2 * total.problems, total
