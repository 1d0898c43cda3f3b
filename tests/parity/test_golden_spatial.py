"""Rotations and shifts beside Foolbox's grid and ART's pictures.

Foolbox tries the same angles and shifts for each sample, and reads between pixels as we do. Its shifts are too short: it
divides them by half of the image's side and lays the outer pixels at -1 and 1, so that t pixels of 8 become 7/8 t; with that
we break the same samples. It shifts before it turns. ART reads by cubic splines,
takes one transformation for the whole batch, and (1.20.1) reads the size of channels-first images at the wrong places: the
"height" of an (n, 1, h, w) batch is 1, so that it never shifts along the first axis. Its pictures at whole pixels and
quarters of a turn are exact, and ours equal them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ironbound as ib
from parity.small_net import with_weights

PATH = Path(__file__).parent / "golden" / "spatial.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(PATH) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


SHORT = 7 / 8
GRIDS = {
    "both": (ib.Spatial(12, 0.25 * SHORT), ib.recipes.rotation(angles=13, shifts=3)),
    "turned": (ib.Rotation(30), ib.recipes.rotation(angles=13)),
    "shifted": (ib.Translation(0.5 * SHORT), ib.recipes.translation(shifts=3)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_grid_breaks_what_foolboxs_breaks(golden: dict[str, Tensor], name: str) -> None:
    net, (threat, method) = with_weights(golden), GRIDS[name]
    ours = ib.attack(ib.Model(net), golden["x"].double(), golden["y"], threat=threat, method=method).success
    theirs = golden[f"foolbox_{name}"].bool()
    assert 0 < int(theirs.sum()) < len(theirs)
    assert int((ours != theirs).sum()) <= (name == "both")  # whose shifts are turned: one sample lies at the boundary


def test_whole_shifts_and_quarter_turns_are_arts_pictures(golden: dict[str, Tensor]) -> None:
    x = golden["x"][:4].double()
    shift = ib.Translation(2).at(x, (0.0, 1.0)).apply(torch.tensor([[2.0, -1.0]] * 4, dtype=torch.float64))
    torch.testing.assert_close(shift, golden["art_shift"].double(), rtol=0, atol=1e-6)
    turn = ib.Rotation(90).at(x, (0.0, 1.0)).apply(torch.full((4, 1), 90.0, dtype=torch.float64))
    torch.testing.assert_close(turn, golden["art_turn"].double(), rtol=0, atol=1e-6)


def test_arts_search_does_not_shift_downwards(golden: dict[str, Tensor]) -> None:
    assert int(golden["art_found"][0]) == 0
