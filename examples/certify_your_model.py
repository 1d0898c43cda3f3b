"""Prove something about a ResNet with batch norm: intervals prove little, lines most of its right answers.

Run it: python examples/certify_your_model.py
"""

import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.data import load


class Block(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return torch.relu(x + self.second(self.first(x)))


stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
net, data = nn.Sequential(stem, Block(), nn.Flatten(), nn.Linear(128, 10)), load("digits:train")
optimiser = torch.optim.Adam(net.parameters(), 1e-2)
for step in range(60):
    x, y = (part[step % 8 :: 8] for part in (data.x, data.y))
    optimiser.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimiser.step()

test = load("digits:test", samples=24)
for method in ("ibp", "crown-ibp", "crown"):
    print(f"{method}:", ib.certify(net, test.x, test.y, threat="linf:3/255", method=method, radii=False))
