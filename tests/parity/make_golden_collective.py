"""Golden file of universal perturbations: what ART's DeepFool makes of 50 digits in one pass.

    PYTHONPATH=tests:src python tests/parity/make_golden_collective.py

A run of its own beside make_golden.py, in the same environment: it trains on scikit-learn's digits, of which it needs more.
"""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from parity.make_golden import write
from parity.small_net import small_net

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from art.attacks.evasion import UniversalPerturbation
    from art.estimators.classification import PyTorchClassifier

FEW, EPS = 50, 0.2


def main() -> None:
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    whole = torch.from_numpy(digits.images[order]).to(torch.uint8)[:, None]
    images, labels = whole.float() / 16, torch.from_numpy(digits.target[order])
    net = _trained(small_net(), images[1000:], labels[1000:])
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu")
    random.seed(0)
    inner = {"max_iter": 10, "epsilon": 0.02, "verbose": False, "batch_size": 1}
    attack = UniversalPerturbation(
        classifier, "deepfool", inner, delta=0.2, max_iter=1, eps=EPS, norm=np.inf, verbose=False
    )
    attack.generate(images[:FEW].numpy())
    write("collective", {"x": whole[:1000], "y": labels[:1000], "universal": torch.from_numpy(attack.noise)}, net)


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
