"""Makes the golden files of the parity tests from the peers' own code, run on the same net, inputs and starts.

    PYTHONPATH=tests:src python tests/parity/make_golden.py

It runs in an environment of its own, since the peers' declared dependencies clash; nothing of it is needed to run the
tests. Python 3.11 with torch 2.13.0 for the CPU and numpy 2.4.6, what Ironbound itself needs, and, each by
`pip install --no-deps`:

    foolbox 3.3.4, eagerpy 0.30.0, GitPython 3.2.1, gitdb 4.0.12, smmap 5.0.3, requests 2.34.2, urllib3 2.8.0,
    certifi 2026.10.18, charset-normalizer 3.5.2, idna 3.20
    torchattacks 3.5.1
    adv-lib 0.2.8, setuptools 65.5.0 (for distutils)
    adversarial-robustness-toolbox 1.20.1, scikit-learn 1.9.1, six 1.17.0, tqdm 4.70.1, joblib 1.6.0,
    threadpoolctl 3.8.0, narwhals 2.29.0
    pyautoattack 0.2.0: the code of AutoAttack's authors (fra31/auto-attack a392200) under another signature

adv-lib imports torchvision and visdom, which nothing used here needs: empty modules stand in for them. Everything runs in
float64, so that the kernels' last bits decide nothing; for this the authors' `.float()` is made to mean `.double()`.
"""

from __future__ import annotations

import importlib.metadata
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ironbound.data import load
from parity.small_net import small_net, with_weights

HERE = Path(__file__).parent / "golden"
COUNT = 20
PEERS = {
    "foolbox": "3.3.4", "torchattacks": "3.5.1", "adv-lib": "0.2.8", "adversarial-robustness-toolbox": "1.20.1",
    "pyautoattack": "0.2.0",
}  # fmt: skip


def stand_in(*names: str) -> None:
    """Modules that give an empty class for whatever is asked of them."""

    def anything(attribute: str) -> type:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return type(attribute, (), {})

    for name in names:
        module = types.ModuleType(name)
        module.__getattr__ = anything  # type: ignore[method-assign]
        module.__path__, module.__spec__ = [], ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module


def trained(file: str, low: float, high: float) -> nn.Sequential:
    """The small net after a few hundred steps on the training digits, squeezed into [low, high].

    Where the golden file is there its weights are taken, since training ends elsewhere with another number of threads.
    """
    if (HERE / file).exists():
        with np.load(HERE / file) as arrays:
            return with_weights({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    data = load("digits:train")
    pictures = low + (high - low) * data.x
    torch.manual_seed(0)
    net = small_net().train()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(300):
        rows = torch.randint(len(data.y), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pictures[rows]), data.y[rows]).backward()
        optimizer.step()
    return net.eval().to(torch.float64)


def write(name: str, tables: dict[str, Tensor], net: nn.Module | None = None) -> None:
    """One file of arrays, with the net's weights in single precision, in which it was trained."""
    parts = {} if net is None else {f"net.{key}": value.to(torch.float32) for key, value in net.state_dict().items()}
    arrays: dict[str, Any] = {key: np.asarray(value.detach()) for key, value in (parts | tables).items()}
    np.savez_compressed(HERE / f"{name}.npz", **arrays)
    sys.stdout.write(f"{name}.npz  {(HERE / f'{name}.npz').stat().st_size // 1024} kB\n")


def main() -> None:
    for name, version in PEERS.items():
        if importlib.metadata.version(name) != version:
            raise SystemExit(f"{name} is {importlib.metadata.version(name)}; the golden files are made with {version}.")
    stand_in("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.datasets", "visdom")
    from parity import (
        make_golden_autoattack,
        make_golden_gradient,
        make_golden_linear,
        make_golden_minimum,
        make_golden_penalty,
        make_golden_sets,
        make_golden_sparse,
        make_golden_spatial,
    )

    net, grey = trained("fgsm_family.npz", 0.0, 1.0), trained("apgd_l2.npz", 0.4, 0.6)
    torch.set_default_dtype(torch.float64)  # the official code keeps losses and step sizes in the default type
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]
    data = load("digits:test")
    x, y = data.x[:COUNT].double(), data.y[:COUNT]
    inner = 0.4 + 0.2 * x  # whose balls do not reach the box, where the peers' projections are not the nearest point
    make_golden_gradient.make(write, net, grey, x, inner, y)
    make_golden_autoattack.make(write, net, grey, x, inner, y)
    make_golden_sets.make(write)
    make_golden_sparse.make(write, net, x, y)
    make_golden_minimum.make(write, net, x, y)
    make_golden_linear.make(write, net, grey, x, inner, y)
    make_golden_spatial.make(write, net, x, y)
    make_golden_penalty.make(write, net, x, y)


if __name__ == "__main__":
    main()
