"""Coefficients of linear functionals, one row a functional, in the form that costs least: a place, a patch, or all of them.

A backward pass begins at single values of a layer. Behind a convolution such a row has coefficients in a small window of
the plane only, and stays a window through further ones; so most rows of a convolutional net never become whole planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from jaxtyping import Bool, Float, Int
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
class Window:
    """Where the windows of all rows lie in a plane: their upper left corners are base * stride + offset.

    Where two paths meet again, windows of one origin can be laid over each other without looking at where they are.
    """

    base: Int[Tensor, "R 2"]
    """Where in its own plane, of size `grid`, each row began: row and column."""
    grid: Pair
    stride: Pair
    offset: Pair
    size: Pair
    plane: tuple[int, int, int]
    """Channels, height and width of the plane that they are windows of."""

    @cached_property
    def origin(self) -> Int[Tensor, " R"]:
        """Which place of the grid each row began at."""
        return self.base[:, 0] * self.grid[1] + self.base[:, 1]

    @property
    def places(self) -> tuple[Int[Tensor, "R pixels"], Bool[Tensor, "R pixels"]]:
        """Where in the flattened plane each pixel lies, clamped to it, and whether it lies there."""
        (_, height, width), at, ok = self.plane, [], []
        for axis, size in ((0, height), (1, width)):
            steps = torch.arange(self.size[axis], device=self.base.device)
            place = (self.base[:, axis] * self.stride[axis] + self.offset[axis])[:, None] + steps
            at.append(place.clamp(0, size - 1))
            ok.append((place >= 0) & (place < size))
        inside = ok[0][:, :, None] & ok[1][:, None, :]
        return (at[0][:, :, None] * width + at[1][:, None, :]).flatten(1), inside.flatten(1)

    def cuts(self, planes: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n places entries"]:
        """All windows that there can be of some planes, one after the other; beyond the plane 0."""
        (top, left), (rows, columns) = self.offset, self.grid
        ends = [(self.grid[axis] - 1) * self.stride[axis] + self.offset[axis] + self.size[axis] for axis in (0, 1)]
        padded = pad(planes, (-left, ends[1] - planes.shape[3], -top, ends[0] - planes.shape[2]))
        cut = padded.unfold(2, self.size[0], self.stride[0]).unfold(3, self.size[1], self.stride[1])
        return cut.permute(0, 2, 3, 1, 4, 5).reshape(len(planes), rows * columns, -1)

    def picked(self, planes: Float[Tensor, "n channels height width"], owner: Int[Tensor, " R"]) -> Tensor:
        """The windows of all rows pixel by pixel: for few rows of many planes; beyond the plane 0."""
        n, channels, height, width = planes.shape
        places, inside = self.places
        pixels = planes.transpose(0, 1).reshape(channels, n * height * width)
        found = pixels.index_select(1, (places + owner[:, None] * (height * width)).flatten())
        return found.view(channels, len(owner), *self.size).transpose(0, 1) * inside.view(-1, 1, *self.size)

    def taken(self, cuts: Float[Tensor, "n places entries"], owner: Int[Tensor, " R"] | None) -> Tensor:
        """The windows of all rows, (R, channels, h, w), copied whole: a tenth of the time of picking pixels.

        owner: which of the n planes; None where there is one for all.
        """
        place = self.origin if owner is None else self.origin + owner * cuts.shape[1]
        return cuts.flatten(0, 1).index_select(0, place).view(len(place), -1, *self.size)

    @property
    def small(self) -> bool:
        """Whether it is smaller than the plane, so that it is worth being one."""
        return self.size[0] * self.size[1] < self.plane[1] * self.plane[2]

    @property
    def within(self) -> bool:
        """Whether every window lies in the plane, wherever it began."""
        last = [(self.grid[axis] - 1) * self.stride[axis] + self.offset[axis] + self.size[axis] for axis in (0, 1)]
        return min(self.offset) >= 0 and last[0] <= self.plane[1] and last[1] <= self.plane[2]

    def meets(self, other: Window) -> bool:
        """Whether both have one origin, so that windows can be added as such."""
        return self.base is other.base and self.stride == other.stride and self.plane == other.plane

    def around(self, other: Window) -> Window:
        """The smallest window around both."""
        low = (min(self.offset[0], other.offset[0]), min(self.offset[1], other.offset[1]))
        high = [max(one.offset[axis] + one.size[axis] for one in (self, other)) for axis in (0, 1)]
        return replace(self, offset=low, size=(high[0] - low[0], high[1] - low[1]))

    def edges(self, outer: Window) -> tuple[int, int, int, int]:
        """What to pad to fill a larger window: left, right, top, bottom."""
        top, left = (mine - theirs for mine, theirs in zip(self.offset, outer.offset, strict=True))
        return left, outer.size[1] - self.size[1] - left, top, outer.size[0] - self.size[0] - top


@dataclass(frozen=True, eq=False)
class Patches:
    """A window of a plane (channels, height, width) in each row, all of one size; coefficients beyond the plane are 0."""

    values: Float[Tensor, "R channels h w"]
    window: Window

    @staticmethod
    def cut(values: Tensor, window: Window) -> Patches:
        """Without what lies beyond the plane: padding, which is constant zero."""
        if not window.within:
            values = values * Patches(values, window).under(values.new_ones(1, 1, *window.plane[1:]))
        return Patches(values, window)

    def dense(self) -> Tensor:
        """(R, channels, height, width)."""
        rows, (channels, height, width) = len(self.values), self.window.plane
        columns = self.values.permute(0, 2, 3, 1).flatten(1, 2)
        places = self.window.places[0][:, :, None].expand_as(columns)
        spread = self.values.new_zeros(rows, height * width, channels).scatter_add(1, places, columns)
        return spread.view(rows, height, width, channels).permute(0, 3, 1, 2)

    def under(self, plane: Float[Tensor, "1 channels height width"]) -> Tensor:
        """What lies under each window of one plane for all rows, (R, channels, h, w); beyond the plane 0."""
        return self.window.taken(self.window.cuts(plane), None)

    def times(self, factor: float) -> Patches:
        """All coefficients by a number."""
        return Patches(self.values * factor, self.window)

    def over(self, other: Patches) -> Patches:
        """The sum of two windows that meet, in the smallest window around both."""
        window = self.window.around(other.window)
        laid = [pad(one.values, one.window.edges(window)) for one in (self, other)]
        return Patches(laid[0] + laid[1], window)


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
    if isinstance(a, Patches) and isinstance(b, Patches) and a.window.meets(b.window):
        return a.over(b)
    return Dense(a.dense() + b.dense())
