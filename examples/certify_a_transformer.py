"""Prove something about a transformer: interval bounds prove nothing for it, linear bounds most of its right answers.

A token for each row of pixels, positions, and one layer of attention and GELU.

Run it: python examples/certify_a_transformer.py
"""

import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.data import load


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(8, 16), nn.Parameter(torch.empty(8, 16).normal_(0, 0.1))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0, "gelu", batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x[:, 0]) + self.places).mean(1))


net, data = Transformer(), load("digits:train")
optimiser = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
for step in range(100):
    x, y = (part[step % 8 :: 8] for part in (data.x, data.y))
    optimiser.zero_grad()
    nn.functional.cross_entropy(net(x + torch.empty_like(x).normal_(0, 0.1)), y).backward()
    optimiser.step()

test = load("digits:test", samples=6)
right = net.eval()(test.x).argmax(1) == test.y
for radius in (0.005, 0.015):
    for method in ("ibp", "crown"):
        proof = ib.certify(net, test.x, test.y, threat=ib.Linf(radius), method=method, radii=False)
        print(f"Linf {radius}: {method} proves {int(proof.certified.sum())} of {int(right.sum())} right answers")
