"""Training by hand, ART's trainer, and the passes of both: what Ironbound's trainer is compared with."""

from __future__ import annotations

import copy
import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
import torch.nn.functional as F
from bare import gradients
from torch import Tensor, nn

from ironbound.models.cheap import layout_kept

RATE, MOMENTUM = 1e-3, 0.9
LAYOUTS = (torch.contiguous_format, torch.channels_last)


@dataclass(frozen=True)
class Task:
    """A net, and the images that one epoch here is made of."""

    name: str
    net: nn.Module
    x: Tensor
    y: Tensor
    eps: float
    batch: int

    @property
    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches."""
        return zip(self.x.split(self.batch), self.y.split(self.batch), strict=True)


def counted(net: nn.Module, work: Callable[[], object]) -> Counter[str]:
    """Rows that went through the net (or a copy that the work makes of it), by kind of pass.

    "update" has parameters in the graph, "gradient" the input alone, "forward" nothing.
    """
    rows: Counter[str] = Counter()

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled():
            kind = "forward"
        else:
            kind = "update" if any(p.requires_grad for p in module.parameters()) else "gradient"
        rows[kind] += len(given[0])

    handle = net.register_forward_pre_hook(note)
    try:
        work()
    finally:
        handle.remove()
    return rows


def standard(task: Task) -> None:
    """One epoch of standard training in float32, as people write it: the unit of all figures."""
    net, optimiser = _fresh(task.net)
    for x, y in task.parts:
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()


@dataclass(frozen=True)
class Kind:
    """What the passes of a training are."""

    steps: int
    """Of the inner attack."""
    cheap: bool = False
    """Whether the inner attack's passes are in bfloat16,"""
    half: bool = False
    """and whether the update's are."""

    def __str__(self) -> str:
        return f"passes of {self.steps} steps{', bf16 attack' * self.cheap}{', bf16 update' * self.half}"


class Floor:
    """The passes of one epoch and nothing else: `steps` forward passes with an input gradient, and an update, a batch.

    The weights lie plain or channels-last, whichever is faster here, with pools that keep that layout. The points stay
    where they are: no start, no step, no projection, no history.
    """

    def __init__(self, task: Task, kind: Kind) -> None:
        self.task, self.kind = task, kind
        x, y = next(task.parts)
        self.attacked, _ = min(
            (_fresh(task.net, layout) for layout in LAYOUTS), key=lambda m: self._spent(m, x, y, True)
        )
        self.attacked.eval().requires_grad_(False)
        self.net, self.optimiser = min(
            (_fresh(task.net, layout) for layout in LAYOUTS), key=lambda m: self._spent(m, x, y, False)
        )

    def __call__(self) -> None:
        for x, y in self.task.parts:
            if self.kind.steps:
                self._climb(self.attacked, x, y)
            self._update(self.net, self.optimiser, x, y)

    def rows(self) -> Counter[str]:
        """What one epoch of it takes."""
        n = len(self.task.x)
        return Counter({"gradient": self.kind.steps * n, "update": n} if self.kind.steps else {"update": n})

    def _climb(self, net: nn.Module, x: Tensor, y: Tensor) -> None:
        with layout_kept(net), torch.autocast("cpu", torch.bfloat16, enabled=self.kind.cheap):
            gradients(net, x, y, self.kind.steps)

    def _update(self, net: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        with layout_kept(net), torch.autocast("cpu", torch.bfloat16, enabled=self.kind.half):
            out = net(x)
        F.cross_entropy(out.float(), y).backward()
        optimiser.step()

    def _spent(self, made: tuple[nn.Module, torch.optim.Optimizer], x: Tensor, y: Tensor, climbing: bool) -> float:
        net, optimiser = made
        if climbing:
            net.eval().requires_grad_(False)
        work = (lambda: self._climb(net, x, y)) if climbing else (lambda: self._update(net, optimiser, x, y))
        work()
        spent = []
        for _ in range(3):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
        return min(spent)


def _fresh(net: nn.Module, layout: torch.memory_format = LAYOUTS[0]) -> tuple[nn.Module, torch.optim.Optimizer]:
    own = copy.deepcopy(net).train().to(memory_format=layout)
    return own, torch.optim.SGD(own.parameters(), RATE, momentum=MOMENTUM)


def art_is_there() -> bool:
    """Whether the adversarial-robustness-toolbox is installed."""
    return importlib.util.find_spec("art") is not None


def art(task: Task, steps: int) -> Callable[[], None]:
    """One epoch of ART's trainer after Madry et al., as it ships, with the same radius, steps and optimiser."""
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    x, y = task.x.numpy(), task.y.numpy()

    def work() -> None:
        net, optimiser = _fresh(
            task.net
        )  # and one module within another, since ART calls the parts of a Sequential itself
        classifier = PyTorchClassifier(
            nn.Sequential(net),
            nn.CrossEntropyLoss(),
            x.shape[1:],
            10,
            optimiser,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        trainer = AdversarialTrainerMadryPGD(
            classifier,
            nb_epochs=1,
            batch_size=task.batch,
            eps=task.eps,
            eps_step=2.5 * task.eps / steps,
            max_iter=steps,
        )
        with redirect_stderr(StringIO()):  # its progress bars
            trainer.fit(x, y)

    return work
