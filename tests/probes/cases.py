"""The table of compositions on which every promise of the engine is tried, with small nets and data for them."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ironbound.core.attack import Attack
from ironbound.core.protocols import Budget, Want
from ironbound.core.rng import Rng
from ironbound.data import load
from ironbound.goals import Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct, Eot, Labels
from ironbound.recipes import apgd, i_fgsm, mi_fgsm, noise, pgd
from ironbound.searches.ascent import Ascent
from ironbound.searches.boundary import HopSkipJump
from ironbound.searches.moves import Step
from ironbound.sets import L2, Linf
from ironbound.testing import RowWise, Trial, WhiteNoise
from probes.carlini_wagner import CarliniWagner
from probes.deepfool import DeepFool
from probes.greedy import Greedy
from probes.nes import Estimated, Nes
from probes.square import Square
from probes.tokens import HotFlip, Swaps
from probes.trees import Both, Branch, Lengths, TreeAscent
from probes.universal import Universal, UniversalAscent
from probes.words import Substitutions

GOAL = Untargeted()


# ------------------------------------------------------------------------------------------------- data and nets
@cache
def digits(split: str = "test") -> tuple[Tensor, Tensor]:
    data = load(f"digits:{split}")
    return data.x, data.y


@cache
def trained() -> nn.Module:
    """A small convolutional net with batch norm and dropout, trained once a session; copy it before use."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 10)
    )  # fmt: skip
    for weight in net.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
        else:
            weight.data.fill_(float(weight is net[1].weight))
    net[4].eval()
    x, y = digits("train")
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(6):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(x[batch]), y[batch]).backward()
            optimiser.step()
    net.zero_grad(set_to_none=True)
    return net.train()


def net_of(kind: torch.dtype) -> nn.Module:
    """A copy; in float64 one whose rows do not feel each other at all, so that what differs is the engine's doing."""
    net = copy.deepcopy(trained()).to(kind)
    if kind == torch.float64:
        linear = nn.utils.skip_init(RowWise, 512, 10, dtype=kind)
        linear.load_state_dict(net[5].state_dict())
        net[5] = linear
    return net


class Draws(nn.Module):
    """A random model that is reproducible row by row: keyed noise in front of a net."""

    def __init__(self, net: nn.Module, sigma: float) -> None:
        super().__init__()
        self.net, self.noise = net, WhiteNoise(sigma)

    def forward(self, x: Tensor, rng: Rng) -> Tensor:
        return self.net(self.noise(x, rng))


class BagOfWords(nn.Module):
    WORDS = ("great", "good", "bad", "fine", "meh")

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        weights = [[2.0, -2.0], [1.2, -1.2], [-1.3, 1.3], [0.3, -0.3], [-0.2, 0.2]]
        self.weights = nn.Parameter(torch.tensor(weights, dtype=kind))

    def forward(self, texts: list[str]) -> Tensor:
        counts = [[text.split().count(word) for word in self.WORDS] for text in texts]
        return torch.tensor(counts, dtype=self.weights.dtype) @ self.weights


class TokenNet(nn.Module):
    """Takes ids (n, length) or their one-hot rows (n, length, vocabulary)."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Parameter(torch.empty(12, 6, dtype=kind).normal_(generator=generator))
        self.head = nn.Parameter(torch.empty(6, 3, dtype=kind).normal_(generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        vectors = x.to(self.embedding.dtype) @ self.embedding if x.is_floating_point() else self.embedding[x]
        return vectors.tanh().mean(1) @ self.head


class TwoBranches(nn.Module):
    """Takes {"image", "extra"}."""

    def __init__(self, net: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.net = net
        extra = torch.empty(5, 10, dtype=kind).normal_(generator=torch.Generator().manual_seed(2))
        self.extra = nn.Parameter(extra)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.net(x["image"]) + x["extra"] @ self.extra


class Waves(nn.Module):
    """Takes a list of signals of different lengths."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.kernel = nn.Parameter(torch.empty(4, 1, 5, dtype=kind).normal_(generator=generator))
        self.head = nn.Parameter(torch.empty(4, 3, dtype=kind).normal_(generator=generator))

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.stack([F.conv1d(row[None], self.kernel).relu().mean(1) for row in x]) @ self.head


# ------------------------------------------------------------------------------------------------- the table
def case(attack: Attack, build: Any, problems: int, regroup: Any = None) -> Trial:
    """A trial whose witnesses are measured as these sets need it."""
    return Trial(attack, build, problems, regroup, measured)


def measured(threat: Any, x: Any, result: Any) -> list[tuple[Tensor, float]]:
    """The sizes of the changes, one a row, and the radius that they must stay in, one entry a part of the set."""
    new = result.adversarial
    match type(threat).__name__:
        case "Substitutions":
            edits = [
                sum(a != b for a, b in zip(t.split(), n.split(), strict=True)) for t, n in zip(x, new, strict=True)
            ]
            return [(torch.tensor(edits), threat.edits)]
        case "Swaps":
            return [((new != x).sum(1), threat.edits)]
        case "Branch":
            name = threat.name
            assert all(torch.equal(new[other], x[other]) for other in x if other != name)
            return [_sized(new[name], x[name], threat.set)]
        case "Both":
            return [_sized(new[name], x[name], part) for name, part in threat.sets.items()]
        case "Lengths":
            changes = [float((a.double() - b.double()).abs().max()) for a, b in zip(new, x, strict=True)]
            return [(torch.tensor(changes, dtype=torch.float64), threat.eps)]
    return [_sized(new, x, threat)]


def _sized(new: Tensor, x: Tensor, ball: Any) -> tuple[Tensor, float]:
    change = (new.double() - x.double()).flatten(1)
    l2 = getattr(ball, "norm", "linf") == "l2"
    return change.square().sum(1).sqrt() if l2 else change.abs().amax(1), ball.eps


N, FEW = 16, 6


def _images(kind: torch.dtype) -> tuple[Model, Tensor, Tensor]:
    x, y = digits()
    return Model(net_of(kind)), x[:N].to(kind), y[:N]


def _few_images(kind: torch.dtype) -> tuple[Model, Tensor, Tensor]:
    model, x, y = _images(kind)
    return model, x[:FEW], y[:FEW]


def _random(kind: torch.dtype) -> tuple[Model, Tensor, Tensor]:
    _, x, y = _images(kind)
    return Model(Draws(net_of(kind), 0.15), random=True), x, y


TEXTS = [
    "a great film",
    "good and fine",
    "meh but good",
    "bad bad film",
    "great great good",
    "bad and meh",
    "good film",
]
TABLE = {
    "great": ("good", "fine"), "good": ("fine", "meh"), "fine": ("meh",), "bad": ("meh", "fine"), "meh": ("bad",),
}  # fmt: skip


def _texts(kind: torch.dtype) -> tuple[Model, list[str], Tensor]:
    return Model(BagOfWords(kind), range=None), list(TEXTS), torch.tensor([0, 0, 0, 1, 0, 1, 0])


def _tokens(kind: torch.dtype) -> tuple[Model, Tensor, Tensor]:
    net = TokenNet(kind)
    x = torch.randint(0, 12, (10, 7), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        return Model(net, range=None), x, net(x).argmax(1)


def _branches(kind: torch.dtype) -> tuple[Model, dict[str, Tensor], Tensor]:
    _, image, _ = _images(kind)
    x = {"image": image[:10], "extra": torch.rand(10, 5, generator=torch.Generator().manual_seed(5)).to(kind)}
    net = TwoBranches(net_of(kind), kind).eval()
    with torch.no_grad():
        return Model(net.train()), x, net.eval()(x).argmax(1)


def _waves(kind: torch.dtype) -> tuple[Model, list[Tensor], Tensor]:
    generator, net = torch.Generator().manual_seed(6), Waves(kind)
    x = [torch.rand(length, generator=generator).to(kind) for length in (9, 17, 6, 30, 9, 12, 21, 8)]
    with torch.no_grad():
        return Model(net), x, net(x).argmax(1)


GROUPS = (0, 1, 2, 0, 1, 2, 2, 1, 2, 2, 0, 2, 2, 1, 1, 2)  # 3, 5 and 8 items


def _some_groups(attack: Attack, index: Tensor) -> tuple[Attack, Tensor]:
    owner = torch.tensor(GROUPS)
    inputs = [(owner == group).nonzero()[:, 0] for group in index.tolist()]
    numbers = tuple(new for new, mine in enumerate(inputs) for _ in mine)
    return attack.replace(set=Universal(attack.set.eps, numbers)), torch.cat(inputs)


def _all_or_nothing(attack: Attack, index: Tensor) -> tuple[Attack, Tensor]:
    return attack, torch.arange(N)


MINIBATCHES = UniversalAscent(5, 4, 0.05)

CASES: dict[str, Trial] = {
    "pgd_linf": case(pgd(12, step=0.02).replace(set=Linf(0.08)), _images, N),
    "pgd_l2": case(pgd(10, restarts=2).replace(set=L2(0.5)), _images, N),
    "pgd_targeted": case(pgd(12).replace(set=Linf(0.2), goal=Targeted(3), objective=Margin()), _images, N),
    "apgd_linf": case(apgd(20, restarts=2).replace(set=Linf(0.08)), _images, N),
    "apgd_l2": case(apgd(20).replace(set=L2(0.5), objective=Margin(), want=Want.STRONGEST), _images, N),
    "mi_fgsm": case(mi_fgsm(8).replace(set=Linf(0.08), want=Want.SMALLEST), _images, N),
    "noise": case(noise(30).replace(set=Linf(0.25)), _images, N),
    "carlini_wagner": case(Attack(L2(), GOAL, Margin(), CarliniWagner(3, 20), Direct(), Want.SMALLEST), _images, N),
    "deepfool": case(Attack(L2(1.0), GOAL, Margin(), DeepFool(10, 0.1), Direct(), Want.SMALLEST), _images, N),
    "square": case(Attack(Linf(0.1), GOAL, Margin(), Square(60), Direct(), budget=Budget(forward=50)), _images, N),
    "hopskipjump": case(
        Attack(L2(), GOAL, Margin(), HopSkipJump(3, 15, bisections=8, starts=3, halvings=6),
               Eot(Labels(), WhiteNoise(0.05), 4), Want.SMALLEST, Budget(forward=400)), _few_images, FEW,
    ),
    "hopskipjump_first": case(
        Attack(L2(2.0), GOAL, Margin(), HopSkipJump(3, 15, bisections=8, starts=1, halvings=6),
               Eot(Labels(), WhiteNoise(0.05), 4), budget=Budget(forward=400)), _few_images, FEW,
    ),
    "universal": case(
        Attack(Universal(0.35), GOAL, CrossEntropy(), MINIBATCHES, Direct(), Want.STRONGEST, share=0.5), _images, 1,
        _all_or_nothing,
    ),
    "universal_groups": case(
        Attack(Universal(0.35, GROUPS), GOAL, CrossEntropy(), MINIBATCHES, Direct(), share=0.6), _images, 3,
        _some_groups,
    ),
    "universal_eot": case(
        Attack(Universal(0.35, GROUPS), GOAL, CrossEntropy(), MINIBATCHES, Eot(Direct(), WhiteNoise(0.05), 3), share=0.4),
        _images, 3, _some_groups,
    ),
    "universal_ascent": case(
        Attack(Universal(0.35, GROUPS), GOAL, CrossEntropy(), Ascent(5, Step(0.1)), Direct(), share=0.6), _images, 3,
        _some_groups,
    ),
    "greedy": case(
        Attack(Substitutions(TABLE, 2), GOAL, Margin(), Greedy(2), Direct(), budget=Budget(forward=9)), _texts, 7
    ),
    "tokens": case(Attack(Swaps(12, 2), GOAL, Margin(), HotFlip(2), Direct()), _tokens, 10),
    "nes": case(Attack(Linf(0.15), GOAL, Margin(), Estimated(Ascent(6, Step(0.03)), Nes(20, 0.01)), Direct()), _images, N),
    "nes_eot": case(
        Attack(Linf(0.15), GOAL, Margin(), Estimated(Ascent(3, Step(0.05)), Nes(10, 0.01)), Eot(Direct(), WhiteNoise(0.05), 3)),
        _images, N,
    ),
    "random_model": case(
        i_fgsm(6, 0.04).replace(set=Linf(0.15), oracle=Eot(Direct(), None, 3), votes=20), _random, N
    ),
    "branch": case(pgd(8).replace(set=Branch("extra", Linf(0.6))), _branches, 10),
    "tree": case(
        Attack(Both({"image": Linf(0.08), "extra": L2(1.2)}), GOAL, CrossEntropy(), TreeAscent(8, 0.06), Direct()),
        _branches, 10,
    ),
    "ragged": case(Attack(Lengths(0.3), GOAL, CrossEntropy(), TreeAscent(8, 0.08), Direct()), _waves, 8),
}  # fmt: skip
