"""A defense that rounds its inputs looks robust, until the attack is adapted to it.

Run it: python examples/attack_through_a_defense.py
"""

import torch
from torch import nn

import ironbound as ib
from ironbound.data import load
from ironbound.defenses.train import train, training_named
from ironbound.models.zoo import digits_cnn


class Coarse(nn.Module):
    """Forward eight levels of grey; backward a gradient of zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x * 8) / 8


test = load("digits:test", samples=60)
plain = train(ib.Model(digits_cnn()), load("digits:train"), None, training_named("standard", epochs=3)).model
coarse = ib.Model(nn.Sequential(Coarse(), plain.net), outputs="logits")
apgd = ib.recipes.apgd(steps=20)
adapted = apgd.replace(oracle=ib.Bpda(coarse.net[0]))  # the identity stands in for the gradient of rounding
for name, attack in {"as it comes": apgd, "adapted": adapted}.items():
    found = ib.attack(coarse, test.x, test.y, threat="linf:0.15", method=attack)
    print(f"{name}: {int(found.success.sum())} of {len(test)} fooled")
