"""Golden files of rotations and shifts: which samples Foolbox's grid breaks, and what ART makes of pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import foolbox
import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from art.attacks.evasion import SpatialTransformation
    from art.estimators.classification import PyTorchClassifier

GRIDS = {
    "both": {"max_translation": 0.25, "num_translations": 3, "max_rotation": 12, "num_rotations": 13},
    "turned": {"max_translation": 0, "num_translations": 1, "max_rotation": 30, "num_rotations": 13},
    "shifted": {"max_translation": 0.5, "num_translations": 3, "max_rotation": 0, "num_rotations": 1},
}


def make(write: Callable[..., None], net: nn.Module, x: Tensor, y: Tensor) -> None:
    net, x = net.to(torch.float32), x.to(torch.float32)
    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    tables: dict[str, Any] = {"x": x, "y": y}
    for name, grid in GRIDS.items():
        tables[f"foolbox_{name}"] = foolbox.attacks.SpatialAttack(**grid)(model, x, y)[2]
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1))
    attack = SpatialTransformation(classifier, max_translation=100 / 8, num_translations=3, verbose=False)
    tables["art_shift"] = torch.from_numpy(attack._perturb(x[:4].numpy(), 2, -1, 0.0))
    tables["art_turn"] = torch.from_numpy(attack._perturb(x[:4].numpy(), 0, 0, 90.0))
    attack.generate(x.numpy())
    tables["art_found"] = torch.tensor([attack.attack_trans_x, attack.attack_trans_y])
    write("spatial", tables, net)
