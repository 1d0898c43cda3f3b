"""The trainer's inner attack visits the very points that the engine's ascent visits."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from ironbound.core.attack import Attack
from ironbound.core.protocols import Answer, Ask, Can
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train.fused import ascend
from ironbound.defenses.train.objective import cross_entropy
from ironbound.goals import Untargeted
from ironbound.models.model import Model
from ironbound.objectives import CrossEntropy
from ironbound.oracles.direct import Direct
from ironbound.searches.ascent import Ascent, Clean, Uniform
from ironbound.searches.moves import Step
from ironbound.sets import L2, Linf
from training_samples import images, same, small_net, state_of

STEPS = 6


@dataclass(frozen=True)
class Never(Untargeted):
    """A goal that is never reached, so that every problem takes all steps."""

    def margin(self, out: Tensor, y: Tensor) -> Tensor:
        return torch.full((len(out),), -1.0, dtype=out.dtype)


@dataclass(frozen=True)
class Recorded:
    """A search that notes where another one looks."""

    inner: Ascent
    points: list[Tensor] = field(default_factory=list)

    @property
    def needs(self) -> Can:
        return self.inner.needs

    def run(self, task: Any) -> Generator[Ask, Answer, None]:
        search = self.inner.run(task)
        ask = next(search)
        while True:
            assert isinstance(ask.points, Tensor)
            self.points.append(ask.points.detach().clone())
            answer = yield ask
            try:
                ask = search.send(answer)
            except StopIteration:
                return


@pytest.mark.parametrize("threat", [Linf(0.12), L2(0.7)], ids=["linf", "l2"])
@pytest.mark.parametrize("start", [Clean(), Uniform()], ids=["clean", "uniform"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 0.0), (torch.float32, 1e-6)], ids=["float64", "float32"]
)
def test_points_are_those_of_the_engine(
    threat: Linf | L2, start: Clean | Uniform, dtype: torch.dtype, tolerance: float
) -> None:
    x, y = images(24)
    net = small_net().to(dtype)
    with torch.no_grad():
        net(x.to(dtype))  # statistics of its own, and training mode as a user's net may be in
    before, x, model, size = state_of(net), x.to(dtype), Model(net), threat.eps / 4
    search = Recorded(Ascent(STEPS, Step(size), start))
    Attack(threat, Never(), CrossEntropy(), search, Direct())(model, x, y, seed=3)
    visited = search.points

    region, rng = threat.at(x, model.box), Rng.of(3, content_keys(x, y))
    for steps in (0, 1, STEPS):
        got = ascend(
            model, region, lambda logits: cross_entropy(logits, y), visited[0], steps=steps, size=size, rng=rng
        )
        assert (got - visited[steps]).abs().max().item() <= tolerance
    assert len(visited) == STEPS + 1
    assert (visited[-1] - visited[0]).abs().max() > size / 2
    assert region.contains(visited[-1]).all()
    assert same(before, state_of(net))
    assert net.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
