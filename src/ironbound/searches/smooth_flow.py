"""Adam on a flow field that is to fool the model and to stay smooth."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task, Terms
from ironbound.searches.grid import must_be

ROUND = 1e-8
"""Added under the root, whose derivative at 0 is infinite; in squared pixels."""


@dataclass(frozen=True)
class SmoothFlow:
    """Descend tau * roughness(flow) - min(objective, kappa) by Adam from no flow, each step projected onto the set.

    Paper: Xiao, Zhu, Li, He, Liu, Song 2018, Spatially Transformed Adversarial Examples, arXiv 1801.02612, equations 2 to 4:
    the roughness is the sum over pixels and their four neighbours of the Euclidean distance of both flows.
    Differs: Adam with projections instead of L-BFGS, whose line search would have to know the set. tau, which is in logits
    a pixel and fits models with margins of some logits, falls to 0 over the second half of the steps, so that a model of
    small logits is not saved by it.
    """

    steps: int
    tau: float
    step: float
    """In pixels: how far about each displacement moves at a step."""
    kappa: float = 0.0

    needs = Can.GRADIENT | Can.SCORES | Can.PROJECT
    norms = ("flow",)

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.tau >= 0 or not self.step > 0:
            raise UsageError(
                f"steps is at least 1, tau a weight >= 0, step a number of pixels > 0; got {self.steps}, {self.tau}, "
                f"{self.step}."
            )

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """Ask for the gradient of the loss, step, project; every flow on the way may be the witness."""
        must_be(task.region, self.norms, self)
        p = task.region.identity()
        s = task.state(p=p, mean=torch.zeros_like(p), square=torch.zeros_like(p))
        for t in range(1, self.steps + 1):
            task.compact()
            tau = self.tau * min(1.0, 2 * (1 - t / self.steps))
            answer = yield Ask(s.p, grad=True, loss=partial(self.loss, tau=tau))
            s.mean = torch.lerp(answer.grad, s.mean, 0.9)
            s.square = torch.lerp(answer.grad.square(), s.square, 0.999)
            size = (s.square / (1 - 0.999**t)).sqrt() + 1e-12
            s.p = task.region.project(s.p + self.step * (s.mean / (1 - 0.9**t)) / size)
        task.compact()
        yield Ask(s.p)

    def loss(self, terms: Terms, tau: float) -> Float[Tensor, " m"]:
        """Up is better: what is climbed, up to kappa, less tau times the roughness."""
        return terms.objective.clamp_max(self.kappa) - tau * roughness(terms.points).to(terms.objective.dtype)


def roughness(flow: Float[Tensor, "m 2 h w"]) -> Float[Tensor, " m"]:
    """The sum over pixels p and their neighbours q of |flow_p - flow_q|, each pair seen from both sides (equation 4)."""
    down = flow[:, :, 1:] - flow[:, :, :-1]
    right = flow[:, :, :, 1:] - flow[:, :, :, :-1]
    length = lambda step: (step.square().sum(1) + ROUND).sqrt().flatten(1).sum(1)
    return 2 * (length(down) + length(right))
