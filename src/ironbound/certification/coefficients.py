"""Coefficients of linear functionals, one row a functional, in the form that costs least: a place, a patch, or all of them.

A backward pass begins at single values of a layer. Behind a convolution such a row has coefficients in a small window of
the plane only, and stays a window through further ones; so most rows of a convolutional net never become whole planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Spots:
    """One coefficient a row, at one place of the value."""

    place: Int[Tensor, " R"]
    """In the flattened value of one input."""
    scale: Float[Tensor, " R"]
    shape: tuple[int, ...]
    """(k, ...) of the value, as in Node."""

    def dense(self) -> Tensor:
        """(k R, ...)."""
        rows = len(self.place)
        flat = self.scale.new_zeros(rows, prod(self.shape)).scatter(1, self.place[:, None], self.scale[:, None])
        return flat.view(rows * self.shape[0], *self.shape[1:])

    def times(self, factor: float) -> Spots:
        """All coefficients by a number."""
        return replace(self, scale=self.scale * factor)


@dataclass(frozen=True, eq=False)
class Strips:
    """Planes with a margin as wide as a window, laid out so that a line of any window is one piece of memory."""

    flat: Tensor
    lines: int
    """Lines of a window: one for each of its rows; with channels first for each channel and row."""
    channels: int
    size: Pair
    padded: Pair
    wide: bool
    """Whether the channels are last."""

    @staticmethod
    def of(plane: Float[Tensor, "n channels height width"], size: Pair, wide: bool, edge: bool = True) -> Strips:
        """Of planes for windows of a size; beyond the plane its edge, or zeros."""
        (high, across), channels = size, plane.shape[1]
        padded = pad(plane, (across, across, high, high), "replicate" if edge else "constant")
        shape = padded.shape[2], padded.shape[3]
        flat = (padded.permute(0, 2, 3, 1) if wide else padded).reshape(-1)
        return Strips(flat, high if wide else high * channels, channels, size, shape, wide)

    def taken(self, owner: Int[Tensor, " R"], top: Int[Tensor, " R"], left: Int[Tensor, " R"]) -> Tensor:
        """The windows (R, channels, h, w) of these planes at these corners, counted from the margin's."""
        (high, across), (height, width), channels = self.size, self.padded, self.channels
        length = across * channels if self.wide else across
        table = self.flat.as_strided((len(self.flat) - length + 1, length), (1, 1))
        steps = torch.arange(high, device=owner.device) * width
        if self.wide:
            first = ((owner * height + top) * width + left) * channels
            found = table.index_select(0, (first[:, None] + steps * channels).flatten())
            return found.view(-1, high, across, channels).permute(0, 3, 1, 2)
        first = (owner * (channels * height) + top) * width + left
        steps = (torch.arange(channels, device=owner.device)[:, None] * (height * width) + steps).flatten()
        return table.index_select(0, (first[:, None] + steps).flatten()).view(-1, channels, high, across)


@dataclass(frozen=True, eq=False)
class Patches:
    """A window of a plane (channels, height, width) in each row, all of one size; coefficients beyond the plane are 0.

    The window's upper left corner is base * stride + offset: where two paths meet again, windows of one origin can be
    laid over each other without looking at where they are.
    """

    values: Float[Tensor, "R channels h w"]
    base: Int[Tensor, "R 2"]
    """Where in its own plane the row began: row and column."""
    stride: Pair
    offset: Pair
    plane: tuple[int, int, int]

    def dense(self) -> Tensor:
        """(R, channels, height, width)."""
        rows, (channels, height, width) = len(self.values), self.plane
        places, inside = self.places
        places = torch.where(inside, places, height * width)  # a place more, which is cut off
        spread = self.values.new_zeros(rows, height * width + 1, channels)
        columns = self.values.permute(0, 2, 3, 1).flatten(1, 2)
        spread = spread.scatter(1, places[:, :, None].expand_as(columns), columns)
        return spread[:, :-1].reshape(rows, height, width, channels).permute(0, 3, 1, 2)

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where in the flattened plane each pixel of the window lies, clamped to it, and whether it does; (R, h w)."""
        (_, height, width), at, ok = self.plane, [], []
        for axis, size in ((0, height), (1, width)):
            steps = torch.arange(self.values.shape[2 + axis], device=self.base.device)
            place = (self.base[:, axis] * self.stride[axis] + self.offset[axis])[:, None] + steps
            at.append(place.clamp(0, size - 1))
            ok.append((place >= 0) & (place < size))
        inside = ok[0][:, :, None] & ok[1][:, None, :]
        return (at[0][:, :, None] * width + at[1][:, None, :]).flatten(1), inside.flatten(1)

    def gathered(self, plane: Float[Tensor, "n channels height width"], owner: Int[Tensor, " R"]) -> Tensor:
        """The part of its owner's plane that lies under each window, (R, channels, h, w); beyond the plane its edge."""
        n, channels, height, width = plane.shape
        if not plane.requires_grad:
            return self.under(Strips.of(plane, self.size, self.wide), owner)
        places, _ = self.places
        pixels = plane.permute(0, 2, 3, 1).reshape(n * height * width, channels)
        found = pixels.index_select(0, (owner[:, None] * (height * width) + places).flatten())
        return found.view(len(places), *self.values.shape[2:], channels).permute(0, 3, 1, 2)

    def under(self, strips: Strips, owner: Int[Tensor, " R"]) -> Tensor:
        """The same from strips of the plane in the layout of the values: one copy for each line of a window."""
        (height, width), (high, wide) = self.plane[1:], self.size
        top = (self.base[:, 0] * self.stride[0] + self.offset[0]).clamp(-high, height) + high
        left = (self.base[:, 1] * self.stride[1] + self.offset[1]).clamp(-wide, width) + wide
        return strips.taken(owner, top, left)

    @property
    def size(self) -> Pair:
        """Height and width of the windows."""
        return self.values.shape[2], self.values.shape[3]

    @property
    def wide(self) -> bool:
        """Whether the values have their channels last, so that what meets them should, too."""
        return not self.values.is_contiguous()

    def masked(self) -> Patches:
        """Without what lies beyond the plane: padding, which is constant zero."""
        ones = self.values.new_ones(1, 1, *self.plane[1:])
        inside = self.under(Strips.of(ones, self.size, False, edge=False), torch.zeros_like(self.base[:, 0]))
        return replace(self, values=self.values * inside)

    def times(self, factor: float) -> Patches:
        """All coefficients by a number."""
        return replace(self, values=self.values * factor)

    def meets(self, other: Patches) -> bool:
        """Whether both are windows of one origin, so that they can be added as such."""
        return self.base is other.base and self.stride == other.stride and self.plane == other.plane

    def over(self, other: Patches) -> Patches:
        """The sum of two windows that meet, in the smallest window around both."""
        low = (min(self.offset[0], other.offset[0]), min(self.offset[1], other.offset[1]))
        high = [
            max(one.offset[axis] + one.values.shape[2 + axis] for one in (self, other)) for axis in (0, 1)
        ]  # exclusive

        def laid(one: Patches) -> Tensor:
            (top, left), (height, width) = one.offset, one.values.shape[2:]
            edges = (left - low[1], high[1] - left - width, top - low[0], high[0] - top - height)
            return pad(one.values, edges) if any(edges) else one.values

        return replace(self, values=laid(self) + laid(other), offset=low)


@dataclass(frozen=True, eq=False)
class Dense:
    """All coefficients, (k R, ...): the shape that the value would have if the rows were a batch."""

    values: Tensor

    def dense(self) -> Tensor:
        """(k R, ...)."""
        return self.values

    def times(self, factor: float) -> Dense:
        """All coefficients by a number."""
        return Dense(self.values * factor)


Coefficients = Spots | Patches | Dense


def plus(a: Coefficients | None, b: Coefficients) -> Coefficients:
    """The sum; windows and places stay what they are where they can."""
    if a is None:
        return b
    if isinstance(a, Patches) and isinstance(b, Patches) and a.meets(b):
        return a.over(b)
    return Dense(a.dense() + b.dense())
