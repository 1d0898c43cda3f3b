"""Moosavi-Dezfooli, Fawzi, Frossard 2016, DeepFool, arXiv 1511.04599, algorithm 2 (L2): steps from the Jacobian."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.core.rows import column


@dataclass(frozen=True)
class DeepFool:
    """Linearise all classes, walk to the nearest of the planes between them and y, a little beyond."""

    steps: int = 20
    overshoot: float = 0.02

    needs = Can.GRADIENT | Can.SCORES | Can.PROJECT

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        s = task.state(p=task.region.identity())
        answer = yield Ask(s.p)
        if answer.outputs is None:  # nobody could pay even this
            return
        classes = answer.outputs.shape[1]
        for _ in range(self.steps):
            task.compact()
            answer = yield Ask(s.p, jac=torch.arange(classes).expand(task.n, classes))
            row, y = torch.arange(task.n), task.y
            w = answer.jac - answer.jac[row, y][:, None]
            f = answer.outputs - answer.outputs[row, y][:, None]
            norm = torch.linalg.vector_norm(w.flatten(2), dim=2)
            nearest = (f.abs() / norm).nan_to_num(torch.inf).scatter(1, y[:, None], torch.inf).argmin(1)
            w, f, norm = w[row, nearest], f[row, nearest].abs(), norm[row, nearest]
            step = column((1 + self.overshoot) * (f + 1e-4) / norm.square().clamp_min(1e-12), w) * w
            s.p = task.region.project(s.p + step)
        task.compact()
        yield Ask(s.p)
