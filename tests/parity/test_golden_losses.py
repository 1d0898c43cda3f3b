"""DLR and targeted DLR against the code of AutoAttack's authors and adv-lib's, on random logits with ties."""

from __future__ import annotations

import pytest
import torch

from ironbound.goals import Untargeted
from ironbound.objectives import Dlr, TargetDlr
from parity.hearing import golden


@pytest.mark.parametrize("classes", [3, 4, 10, 1000])
def test_dlr_is_that_of_its_authors(classes: int) -> None:
    g = golden("dlr")
    z, y = g[f"logits.{classes}"], g[f"y.{classes}"]
    ours = Dlr()(z, y, Untargeted())
    torch.testing.assert_close(ours, g[f"dlr.{classes}"], rtol=1e-14, atol=1e-14)
    # adv-lib adds 1e-8 where the authors add 1e-12: quotients differ by that share of the gap, which ties make 0
    top = z.topk(3, dim=1).values
    gap = top[:, 0] - top[:, 2] > 0.01
    torch.testing.assert_close(ours[gap], g[f"adv_lib.{classes}"][gap], rtol=1e-6, atol=0)
    assert int(gap.sum()) > len(gap) // 2


@pytest.mark.parametrize("classes", [4, 10, 1000])
def test_targeted_dlr_is_that_of_its_authors(classes: int) -> None:
    g = golden("dlr")
    ours = TargetDlr()(g[f"logits.{classes}"], g[f"y.{classes}"], g[f"target.{classes}"])
    torch.testing.assert_close(ours, g[f"dlr_targeted.{classes}"], rtol=1e-14, atol=1e-14)
