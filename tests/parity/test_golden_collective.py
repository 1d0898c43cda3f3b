"""Universal perturbations beside ART's, on digits: the shares of images that neither side has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ironbound as ib
from parity.small_net import with_weights

PATH = Path(__file__).parent / "golden" / "collective.npz"
FIT, FEW, EPS = 200, 50, 0.2


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(PATH) as file:
        tables = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    return tables | {"x": tables["x"].double() / 16, "y": tables["y"].long()}


@pytest.mark.parametrize("by", ["deepfool", "sgd"])
def test_it_fools_more_unseen_digits_than_arts_after_one_pass(golden: dict[str, Tensor], by: str) -> None:
    net, x, y = with_weights(golden), golden["x"], golden["y"]
    theirs = golden["universal"].double()
    assert float(theirs.abs().max()) <= EPS + 1e-6
    method = ib.recipes.universal(by=by, passes=1, steps=40)
    ours = ib.attack(net, x[:FEW], y[:FEW], threat=ib.Linf(EPS), method=method)
    seen = ib.measure(net, ours, x[FIT:], y[FIT:])
    with torch.no_grad():
        right, fooled = net(x).argmax(1) == y, net((x + theirs).clamp(0, 1)).argmax(1) != y
    known = right[FIT:]
    assert seen.works.total == int(known.sum())
    assert seen.works.fraction >= float(fooled[FIT:][known].double().mean()) - 0.01
    assert seen.works.count > seen.random.count
