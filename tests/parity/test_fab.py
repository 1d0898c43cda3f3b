"""FAB against its authors' code, step by step and by what is found at the end; and both against adv-lib's projections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound.core.attack import Attack
from ironbound.core.protocols import Want
from ironbound.goals import Untargeted
from ironbound.models.model import Model
from ironbound.objectives import Margin, TargetMargin
from ironbound.oracles import Direct
from ironbound.searches.fab import Fab
from ironbound.searches.guided import Aimed, Likely
from ironbound.searches.hyperplane import Planes
from ironbound.sets import L1, L2, Linf
from parity.hearing import Overheard, golden
from parity.small_net import with_weights

NORMS = pytest.mark.parametrize(("norm", "threat"), [("linf", Linf()), ("l2", L2()), ("l1", L1())])
AIMS = pytest.mark.parametrize("aimed", [False, True], ids=["untargeted", "targeted"])
ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}


def walked(norm: str, threat: Any, aimed: bool, steps: int, final: int = 0) -> tuple[Any, Overheard, dict[str, Tensor]]:
    """FAB as the authors' code walks it, on the points that the net answers rightly: towards one class, or the nearest."""
    tables = golden(f"fab_{norm}")
    net = with_weights(tables)
    right = net(tables["x"]).argmax(1) == tables["y"]
    tables |= {name: tables[name][right] for name in ("x", "y", *(k for k in tables if "after" in k))}
    watch = Overheard(Fab(steps, towards=aimed, final=final))
    search = Aimed(watch, TargetMargin(), Likely(1)) if aimed else watch  # type: ignore[arg-type]
    attack = Attack(threat, Untargeted(), Margin(), search if not final else _plain(search), Direct(), Want.SMALLEST)
    return attack(Model(net), tables["x"], tables["y"]), watch, tables


def _plain(search: Any) -> Any:
    """The same search without anybody listening: the final looks are asked of some problems only."""
    return Aimed(search.search.search, search.loss, search.targets) if isinstance(search, Aimed) else search.search


@NORMS
@AIMS
def test_the_walk_is_that_of_the_authors(norm: str, threat: Any, aimed: bool) -> None:
    _, watch, tables = walked(norm, threat, aimed, 10)
    path = tables["targeted_path" if aimed else "path"]
    ours = torch.stack(watch.points[1::2])[:, : path.shape[1]]  # where gradients were taken
    assert ours.shape == path.shape
    assert torch.allclose(ours, path, rtol=0, atol=1e-9)


@NORMS
@AIMS
@pytest.mark.parametrize("steps", [10, 40])
def test_the_same_is_found_and_the_final_looks_shorten_it(norm: str, threat: Any, aimed: bool, steps: int) -> None:
    _, watch, tables = walked(norm, threat, aimed, steps)
    theirs = tables[("targeted_" if aimed else "") + f"after_{steps}"] - tables["x"]
    size = torch.linalg.vector_norm(theirs.flatten(1), ord=ORDERS[norm], dim=1)
    length = lambda points: torch.linalg.vector_norm((points - tables["x"]).flatten(1), ord=ORDERS[norm], dim=1)
    led = zip(watch.points[2::2], watch.won[2::2], strict=True)  # where the steps led; the authors look nowhere else
    found = torch.stack([torch.where(won, length(points), torch.inf) for points, won in led]).amin(0)
    found = torch.where(torch.isfinite(found), found, 0.0)
    away = (found / size - 1).abs()[size > 0]
    assert int((away > 1e-9).sum()) <= (
        norm == "l1"
    )  # one walk lands on the boundary itself, where the last bit decides
    assert float(away.max()) < 0.01
    assert bool((found[size == 0] == 0).all())
    result, _, _ = walked(norm, threat, aimed, steps, final=3)
    ratio = result.size[size > 0] / size[size > 0]
    assert float(ratio.median()) < 1
    assert float(ratio.min()) > 0.9
    assert float(ratio.max()) < 1.1  # a witness must win by a margin, where a bare argmax is enough for theirs


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("size", [5, 48])
@pytest.mark.parametrize("who", ["", "adv_lib_"])
def test_projections_are_as_short_and_as_near(norm: str, size: int, who: str) -> None:
    tables = golden("hyperplane")
    x, w, b, theirs = (tables[f"{name}.{size}"] for name in ("x", "w", "b", who + norm))
    gap = b - (w * x).sum(1)
    ours, length = Planes(norm, w, 0.0, 1.0).nearest(x, gap)
    miss = lambda change: ((w * change).sum(1) - gap).abs()
    assert bool((miss(ours) <= miss(theirs) + 1e-9).all())
    assert torch.allclose(length, torch.linalg.vector_norm(theirs, ord=ORDERS[norm], dim=1), rtol=1e-9, atol=1e-9)
