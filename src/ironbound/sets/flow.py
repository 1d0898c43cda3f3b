"""Flow fields: every pixel of an image is read from a place near its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.protocols import Box
from ironbound.sets.parameters import ParameterRegion, Parametric, checked, images, written
from ironbound.sets.warp import bilinear


@dataclass(frozen=True)
class Flow(Parametric):
    """All images of which each pixel is read at most `eps` pixels away along each axis, with bilinear interpolation.

    Points are flow fields (n, 2, height, width) of displacements downwards and to the right, in pixels: the value at
    (i, j) becomes that at (i + flow[0, i, j], j + flow[1, i, j]); beyond the image lies its edge. They are float32, or
    float64 of inputs in float64. The size is the largest displacement along an axis. It says nothing of how smooth a
    flow is, which the attack `stadv` weighs against its success; the paper knows no radius at all: Flow(inf).
    Paper: Xiao, Zhu, Li, He, Liu, Song 2018, Spatially Transformed Adversarial Examples, arXiv 1801.02612, section 3.
    """

    eps: float = math.inf

    norm = "flow"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checked(self.eps, "Flow", "eps is the largest displacement in pixels"))

    @property
    def spec(self) -> str:
        return f"flow:{written(self.eps)}"

    @property
    def sentence(self) -> str:
        if math.isinf(self.eps):
            return "each pixel of an image may be read from anywhere"
        return f"each pixel of an image may be read from at most {self.eps:g} pixels away along each axis"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> FlowRegion:
        """The region around x. Raises InputError for what is no batch of images."""
        side = float(max(images(x, "Flow").shape[2:]))
        return FlowRegion.around(x, box, self.eps, (1.0,), (side,))


@dataclass(frozen=True)
class FlowRegion(ParameterRegion):
    """A flow field for each image."""

    norm = "flow"
    axes = ()

    @staticmethod
    def _kind(x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, torch.float32)

    @staticmethod
    def _shape(x: Tensor, count: int) -> tuple[int, ...]:
        return 1, 1, 1

    def identity(self) -> Tensor:
        """No displacement anywhere."""
        return self.most.new_zeros(len(self.x), 2, *self.x.shape[2:])

    def changed(self, x: Tensor, p: Tensor) -> Tensor:
        high, wide = x.shape[-2:]
        row = torch.arange(high, dtype=p.dtype, device=p.device)[:, None]
        column = torch.arange(wide, dtype=p.dtype, device=p.device)
        return bilinear(x, row + p[:, 0], column + p[:, 1])
