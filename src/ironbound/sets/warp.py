"""Images read at places between pixels: what rotations, translations and flow fields share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def bilinear(
    x: Float[Tensor, "n c h w"],
    rows: Float[Tensor, "n a b"],
    columns: Float[Tensor, "n a b"],
    fill: float | None = None,
) -> Float[Tensor, "n c a b"]:
    """The values of x at rows and columns counted in pixels from 0, weighted between the four neighbours.

    Beyond the image lies `fill`; None: the nearest pixel of its edge. Differentiable in rows and columns, with the
    derivative from the right where these are whole. At whole places values are exact, which torch's grid_sample, whose
    coordinates are shares of the image, does not promise; each row is summed by itself.
    """
    high, wide = x.shape[-2:]
    if fill is None:
        rows, columns = rows.clamp(0, high - 1), columns.clamp(0, wide - 1)
    top, left = rows.detach().floor(), columns.detach().floor()
    down, right = rows - top, columns - left
    pixels, shape = x.flatten(2), (len(x), 1, *rows.shape[1:])
    total: Tensor | None = None
    for i, vertical in ((0, 1 - down), (1, down)):
        for j, across in ((0, 1 - right), (1, right)):
            r, c = top + i, left + j
            index = r.clamp(0, high - 1).long() * wide + c.clamp(0, wide - 1).long()
            value = pixels.gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view(
                *x.shape[:2], *shape[2:]
            )
            if fill is not None:
                inside = ((r >= 0) & (r <= high - 1) & (c >= 0) & (c <= wide - 1))[:, None]
                value = torch.where(inside, value, fill)
            part = (vertical * across).to(x.dtype)[:, None] * value
            total = part if total is None else total + part
    assert total is not None
    return total
