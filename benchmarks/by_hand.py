"""PGD as people write it by hand: what the engine is measured against. Same arithmetic: clean start, sign step, clamp.

Both run the whole batch at once, with the model's parameters frozen by the caller, and return the adversarial inputs
with the number of model rows they ran forward.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def floor(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """The passes alone: `steps` forward and backward passes, and one forward."""
    for _ in range(steps):
        p = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(net(p), y, reduction="sum"), p)
    with torch.no_grad():
        net(x)


def pgd(net: nn.Module, x: Tensor, y: Tensor, eps: float, step: float, steps: int) -> tuple[Tensor, int]:
    """Every row is run to the end; the last iterate is the answer."""
    low, high, p = (x - eps).clamp_min(0), (x + eps).clamp_max(1), x
    for _ in range(steps):
        p = p.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net(p), y, reduction="sum"), p)
        p = torch.clamp(p.detach() + step * grad.sign(), low, high)
    with torch.no_grad():
        net(p).argmax(1)
    return p, len(x) * (steps + 1)


def dropping_pgd(net: nn.Module, x: Tensor, y: Tensor, eps: float, step: float, steps: int) -> tuple[Tensor, int]:
    """Rows that are misclassified leave."""
    low, high, p = (x - eps).clamp_min(0), (x + eps).clamp_max(1), x
    adversarial, rows, labels, ran = x.clone(), torch.arange(len(x)), y, 0
    for t in range(steps + 1):
        ran += len(rows)
        with torch.set_grad_enabled(t < steps):
            p = p.detach().requires_grad_(t < steps)
            out = net(p)
            grad = torch.autograd.grad(F.cross_entropy(out, labels, reduction="sum"), p)[0] if t < steps else p
        p, wrong = p.detach(), out.detach().argmax(1) != labels
        if bool(wrong.any()):
            adversarial[rows[wrong]] = p[wrong]
            keep = ~wrong
            rows, p, grad, low, high, labels = (table[keep] for table in (rows, p, grad, low, high, labels))
        if len(rows) == 0 or t == steps:
            break
        p = torch.clamp(p + step * grad.sign(), low, high)
    adversarial[rows] = p
    return adversarial, ran
