"""Audit a network of your own: a bracket of its robust accuracy, a verdict per sample, checks, a report.

Run it: python examples/audit_your_model.py
"""

import torch
from torch import nn

import ironbound as ib
from ironbound.data import load


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Your training, in place of this one."""
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net((x - 0.3) / 0.4), y).backward()
        optimiser.step()


data = load("digits:train")
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train(net, data.x, data.y)

# The range of the inputs and the normalisation belong to the model: a radius is measured in the range.
model = ib.Model(net, range=(0, 1), mean=0.3, std=0.4)
report = ib.audit(model, load("digits:test", samples=200), threat="linf:0.06", method="quick")

print(report)
for check in report.checks:
    if check["result"] == "fail":
        print(f"Check {check['name']!r} failed: {check['evidence']} {check['next']}")
index, adversarial = report.witnesses()
print(f"{len(index)} adversarial inputs of shape {tuple(adversarial.shape[1:])}; read {report.folder}/report.html")
