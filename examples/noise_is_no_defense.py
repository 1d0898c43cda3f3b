"""The classic tutorial: a network "made robust" by training on noise. Its accuracy on noise says so; the audit does not.

Run it: python examples/noise_is_no_defense.py [mnist/train.parquet mnist/test.parquet]
"""

import sys

import torch

import ironbound as ib
from ironbound.data import load
from ironbound.models.zoo import digits_cnn, mnist_cnn

net, eps = (mnist_cnn(), 0.3) if sys.argv[1:] else (digits_cnn(), 0.2)
train, test = (load(file) for file in sys.argv[1:] or ["digits:train", "digits:test"])


def noisy(x: torch.Tensor) -> torch.Tensor:
    """A sign drawn for each pixel, as large as the attacker's change may be."""
    return (x + eps * torch.empty_like(x).normal_().sign()).clamp(0, 1)


optimiser = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(5):
    for x, y in zip(train.x.split(64), train.y.split(64), strict=True):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(noisy(x)), y).backward()  # what tutorials call adversarial training
        optimiser.step()

print(f"on noise of size {eps}: {(net(noisy(test.x)).argmax(1) == test.y).double().mean():.1%} right")
print(ib.audit(net, test.subset(100, 0), threat=ib.Linf(eps), method="quick"))
