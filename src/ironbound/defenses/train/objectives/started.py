"""Starting from a model that was trained, robustly, on another task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ironbound.core.errors import UsageError
from ironbound.defenses.train.initial import must_redraw, redrawn
from ironbound.defenses.train.objective import Batch, Outcome, Scene
from ironbound.defenses.train.objectives.wrapped import Wrapped
from ironbound.defenses.train.randomness import one


@dataclass(frozen=True)
class Started(Wrapped):
    """A robust model as the start for a new task: its weights wherever names and shapes fit, and a head drawn anew.

    The head is the last linear layer, or what `head` names. With frozen=True it alone is trained, with the features in
    evaluation mode (no dropout, running statistics of batch normalisation as they are in the source); else all weights
    are. What is minimised is the base: on attacked inputs, or, with base="standard", on clean ones.

    Papers: Shafahi et al. 2020 (arXiv 1905.08232): robustness is in the features, and stays when a head is trained on them;
    Salman et al. 2020 (arXiv 2007.08489): robust models transfer better, frozen and fine-tuned.
    """

    frozen: bool = False
    head: str | None = None
    """The name of the module that is drawn anew; None is the last linear layer."""

    name: ClassVar[str] = "robust-transfer"
    uses: ClassVar[tuple[str, ...]] = ("source",)

    def check(self, scene: Scene) -> None:
        """There must be weights that fit; frozen features must all have them."""
        super().check(scene)
        net, source = scene.model.net, scene.given.source
        if source is None:
            raise UsageError(
                "robust-transfer starts from a trained model, and none is given. Pass source=model or its weights (at the "
                "prompt --start-from W.safetensors)."
            )
        head = self.head_of(net)
        must_redraw(net.get_submodule(head))
        own = {name for name in net.state_dict() if not _inside(name, head)}
        fits = self.fitting(net, source)
        if not fits:
            raise UsageError(
                f"no weight to start from fits {type(net).__name__} in name and shape: it has {_first(own)}, and they are "
                f"{_first(source)}."
            )
        missing = own - set(fits)
        if self.frozen and missing:
            raise UsageError(
                f"features are frozen, and there are no weights to start from for {_first(missing)}: they would stay at "
                "chance. Give a source of the same architecture, or say frozen=False."
            )

    def prepare(self, scene: Scene) -> None:
        """Put the weights in, draw the head, and freeze the features where they are to be."""
        super().prepare(scene)
        net, source = scene.model.net, scene.given.source
        assert source is not None
        head = self.head_of(net)
        own = net.state_dict()
        with torch.no_grad():
            for name, tensor in self.fitting(net, source).items():
                own[name].copy_(tensor)
        redrawn(net.get_submodule(head), int(one(scene.seed, "head").keys))
        if not self.frozen:
            return
        for name, parameter in net.named_parameters():
            if not _inside(name, head):
                parameter.requires_grad_(False)
        if not net.training:
            net.train()
        for name, part in net.named_modules():
            if name and not _inside(name, head) and not _inside(head, name):
                part.training = False

    def loss(self, scene: Scene, batch: Batch) -> Outcome:
        """What the base says."""
        return self.base.loss(scene, batch)

    def head_of(self, net: nn.Module) -> str:
        """The name of the head. Raises UsageError where there is none of that name, or no linear layer."""
        parts = dict(net.named_modules())
        if self.head is not None:
            if self.head not in parts or not self.head:
                raise UsageError(f"head names a part of the model; got {self.head!r}. There are {_first(parts)}.")
            return self.head
        linear = [name for name, part in parts.items() if isinstance(part, nn.Linear) and name]
        if not linear:
            raise UsageError(
                f"{type(net).__name__} has no linear layer to be its head; say which part is drawn anew by head=NAME, one "
                f"of {_first(parts)}."
            )
        return linear[-1]

    def fitting(self, net: nn.Module, source: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights of the source that fit the net outside its head."""
        head = self.head_of(net)
        return {
            name: source[name]
            for name, tensor in net.state_dict().items()
            if name in source and source[name].shape == tensor.shape and not _inside(name, head)
        }


def _inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _first(names: object) -> str:
    known = sorted(name for name in names if name)  # type: ignore[attr-defined]
    return ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
