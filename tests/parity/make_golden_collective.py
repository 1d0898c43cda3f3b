"""Golden files of universal perturbations and patches on digits: what ART makes of 200 of them, and its share of others.

    PYTHONPATH=tests:src python tests/parity/make_golden_collective.py

A run of its own beside make_golden.py: ART's patch needs the real torchvision (0.28.0, by `pip install --no-deps`), of which
it uses the Python code alone. Its compiled operators, which want a build for the same torch, are declared and never called.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from parity.make_golden import write
from parity.small_net import small_net

OPERATORS = torch.library.Library("torchvision", "DEF")
for operator in (
    "nms", "qnms", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align",
    "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d", "_deform_conv2d_backward",
):  # fmt: skip
    OPERATORS.define(f"{operator}(Tensor x) -> Tensor")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from art.attacks.evasion import AdversarialPatchPyTorch, UniversalPerturbation
    from art.estimators.classification import PyTorchClassifier

FIT, FEW, EPS, SCALE, STEPS = 200, 50, 0.2, 1 / 2, 40
TARGETS = (1, 8)


def main() -> None:
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    whole = torch.from_numpy(digits.images[order]).to(torch.uint8)[:, None]
    images, labels = whole.float() / 16, torch.from_numpy(digits.target[order])
    x, y = images[:1000], labels[:1000]
    net = _trained(small_net(), images[1000:], labels[1000:])
    heard = {"forward": 0, "backward": 0}
    net[-1].register_forward_hook(lambda _, __, out: _count(heard, out))
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu")
    tables: dict[str, Any] = {"x": whole[:1000], "y": y}

    random.seed(0)
    inner = {"max_iter": 10, "epsilon": 0.02, "verbose": False, "batch_size": 1}
    attack = UniversalPerturbation(
        classifier, "deepfool", inner, delta=0.2, max_iter=1, eps=EPS, norm=np.inf, verbose=False
    )
    attack.generate(x[:FEW].numpy())
    tables["universal"] = torch.from_numpy(attack.noise)
    tables["universal_rows"] = torch.tensor([heard["forward"], heard["backward"]])

    rates, covered = [], []
    for target in TARGETS:
        np.random.seed(0)  # noqa: NPY002  ART draws from it
        torch.manual_seed(0)
        patch = AdversarialPatchPyTorch(
            classifier, rotation_max=0.0, scale_min=SCALE, scale_max=SCALE, learning_rate=0.1, max_iter=STEPS,
            batch_size=FIT, patch_shape=(1, 8, 8), patch_type="square", optimizer="Adam", targeted=True, verbose=False,
        )  # fmt: skip
        heard.update(forward=0, backward=0)
        patch.generate(x[:FIT].numpy(), np.full(FIT, target))
        tables[f"patch_rows_{target}"] = torch.tensor([heard["forward"], heard["backward"]])
        black = patch.apply_patch(np.full((50, 1, 8, 8), -1, dtype=np.float32), scale=SCALE)
        covered.append(float((black != -1).mean() * 64))
        rates.append(_share(net, patch, x[FIT:], y[FIT:], target))
    tables["patch_rates"], tables["patch_pixels"] = torch.tensor(rates), torch.tensor(covered)
    write("collective", tables, net)


def _share(net: nn.Module, patch: AdversarialPatchPyTorch, x: Tensor, y: Tensor, target: int) -> float:
    """Of the images neither of the target class nor taken for it; each at five places."""
    with torch.no_grad():
        left = (net(x).argmax(1) != target) & (y != target)
        won = [net(torch.from_numpy(patch.apply_patch(x.numpy(), scale=SCALE))).argmax(1) == target for _ in range(5)]
    return float(torch.stack(won)[:, left].float().mean())


def _count(heard: dict[str, int], out: Tensor) -> None:
    heard["forward"] += len(out)
    if out.requires_grad:
        out.register_hook(lambda grad: heard.update(backward=heard["backward"] + len(grad)))


def _trained(net: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    torch.manual_seed(0)
    steps = torch.optim.Adam(net.train().parameters(), 5e-3)
    for _ in range(300):
        pick = torch.randint(len(x), (128,))
        steps.zero_grad()
        nn.functional.cross_entropy(net(x[pick]), y[pick]).backward()
        steps.step()
    return net.eval().requires_grad_(False)


if __name__ == "__main__":
    main()
