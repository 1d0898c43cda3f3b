"""Write an attack: a search is a generator that asks for points and hears how near each is. The engine does all else.

Run it to see how many of 50 digits it fools, beside others; its tests are inherited: pytest examples/write_your_own_attack.py"""

from dataclasses import dataclass

import torch

import ironbound as ib
from ironbound import data, testing
from ironbound.core.rows import choose
from ironbound.models.zoo import digits_cnn


@dataclass(frozen=True)
class Corners:  # from corner to corner of the set, a tenth of the values at a time, kept where it helps; no gradients
    steps: int = 150
    needs = ib.Can.SCORES | ib.Can.SUPPORT | ib.Can.PROJECT

    def run(self, task):
        s = task.state(p=task.region.identity(), value=torch.full((task.n,), -torch.inf))
        for _ in range(self.steps):
            task.compact()  # samples that are fooled leave
            corner, _ = task.region.support(task.fresh.fold("corner").normal(tuple(s.p.shape[1:]), s.p.dtype))
            some = task.fresh.fold("some").uniform(tuple(s.p.shape[1:]), s.p.dtype, 0, 1) < 0.1
            q = task.region.project(torch.where(some, corner, s.p))
            value = (yield ib.Ask(q)).value
            s.p, s.value = choose(value > s.value, q, s.p), torch.maximum(value, s.value)


class TestCorners(testing.SearchConformance):
    attacks = [ib.Attack(ib.Linf(0.15), ib.Untargeted(), ib.Margin(), Corners(10), ib.Direct())]


if __name__ == "__main__":
    test, own = data.load("digits:test", samples=50), TestCorners.attacks[0].replace(search=Corners())
    net = ib.harden(digits_cnn(), "digits:train", threat="linf:0.15", method="standard", epochs=2, audit=None).model
    for attack in (own, ib.recipes.square(queries=150), ib.recipes.pma(steps=75)):
        print(attack.search, ib.attack(net, test.x, test.y, threat="linf:0.15", method=attack))
