"""Square Attack: random search by square windows, from scores alone."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.protocols import Answer, Ask, Can, Task
from ironbound.searches.proposals import proposals_for

SCHEDULE = 10_000  # queries for which the paper gives the steps below
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
BLOCK = 32  # steps whose random numbers are hashed at once: on few rows hashing has the price of a small net's pass


@dataclass(frozen=True)
class Square:
    """Change one square window at a time (L2, L1: move change from one window to another), keep it where it gains.

    Works on images (n, channels, height, width) and on vectors (n, d) in a ball of Linf, L2 or L1; another set or shape
    raises CompositionError. `queries` rows a problem are asked, the start among them; `p` is the share of the pixels
    that a window covers at first, halved at fixed shares of `queries`, or, where not `rescaled`, at those of 10,000 as in
    AutoAttack: then 5,000 queries end with larger windows. On vectors, and on images of one row or column,
    which the paper does not treat, a window is a line that covers this share. What is climbed is the attack's objective:
    the margin in AutoAttack.

    Paper: Andriushchenko, Croce, Flammarion, Hein 2020, Square Attack, arXiv 1912.00049, algorithms 1 to 3; L1: Croce,
    Hein 2021, Mind the Box, arXiv 2103.01208, in the form of AutoAttack's code.
    Differs: every problem draws windows, colours and directions of its own, where AutoAttack's code draws one for all of
    a batch. A window may lie at the last row and column, as in the paper; AutoAttack's code leaves them out. A Linf
    window that would change nothing takes another colour, as in the authors' first code. In L2 and L1 what is asked is
    the exact projection onto ball and box.
    """

    queries: int = 5000
    p: float = 0.8
    rescaled: bool = True

    needs = Can.SCORES | Can.PROJECT
    norms = ("linf", "l2", "l1")  # other sets are refused when it runs

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise UsageError(f"Square asks at least once; got queries={self.queries}.")
        if not 0 < self.p <= 1:
            raise UsageError(f"p is the share of the pixels that a window covers, in (0, 1]; got p={self.p}.")

    def run(self, task: Task) -> Generator[Ask, Answer, None]:
        """The start, then one proposal a problem and query."""
        proposals = proposals_for(task.region)
        start = proposals.start(task.region, task.rng.fold("start"))
        every = torch.arange(task.n, device=start.device)
        s = task.state(
            p=start.clone(memory_format=torch.contiguous_format), size=proposals.sizes(task.region, start, every)
        )  # s.p is written to: never asked
        answer = yield Ask(start)
        s.value = answer.value.nan_to_num(nan=-math.inf)
        for t in range(self.queries - 1):
            task.compact()
            if t % BLOCK == 0:
                s.draws = _draws(task, t // BLOCK, proposals.numbers(task.region))
            q = proposals.propose(task.region, s.p, s.size, self.share(t), s.draws[:, t % BLOCK])
            answer = yield Ask(q)
            row = (answer.value > s.value).nonzero()[:, 0]
            if len(row):
                better = q.index_select(0, row)
                s.p.index_copy_(0, row, better)
                s.size.index_copy_(0, row, proposals.sizes(task.region, better, row))
                s.value.index_copy_(0, row, answer.value.index_select(0, row))

    def share(self, t: int) -> float:
        """The share of the pixels in the windows of proposal t (from 0): p, halved after 0.1%, 0.5%, 2%, ... of the queries."""
        place = t * SCHEDULE // self.queries if self.rescaled else t
        return self.p / 2 ** sum(place > at for at in HALVED)


def _draws(task: Task, block: int, numbers: int) -> Float[Tensor, "n steps numbers"]:
    """Uniform numbers for the next steps: functions of the problem and the number of the step."""
    streams = task.rng.fold("window").fold(block).repeat(BLOCK * numbers)
    return streams.unit().view(task.n, BLOCK, numbers)
