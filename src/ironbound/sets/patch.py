"""A patch pasted over inputs at places, sizes, angles and in light that nobody knows beforehand: drawn anew at each look."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from ironbound.core.errors import InputError, UsageError
from ironbound.core.protocols import Box, Can
from ironbound.core.rng import Rng
from ironbound.core.rows import column, flat
from ironbound.sets.bounds import inner_box
from ironbound.sets.collective import Grouped, checked_groups, items_of

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Patch(Grouped):
    """A patch of `area` (a share of the picture) or `size` (height, width in pixels), pasted over images (n, c, h, w).

    A point is the patch itself, (c, height, width) in the model's range. Where it goes is drawn for each look at each
    image: anywhere in the picture, or always at `place` (row, column of its upper left corner); `scale` times as large,
    turned by `rotation` degrees, in light that adds `brightness` (a share of the range) to colours whose distance from the
    middle of the range is multiplied by `contrast`. Each is a range (lowest, highest) drawn from uniformly; of a patch
    neither scaled nor turned each pixel covers a pixel exactly.

    It works on an image if it does where it was drawn for the judge, and is as good as the share of images on which it does.
    No patch leaves an image as it is: the identity is a grey one. Brown, Mane, Roy, Abadi, Gilmer 2017, Adversarial Patch,
    arXiv 1712.09665; expectation over transformations: Athalye et al. 2018, arXiv 1707.07397; the ranges of colours that can
    be printed: Sharif, Bhagavatula, Bauer, Reiter 2016, Accessorize to a Crime, section 5.2.2.
    """

    area: float | None = None
    size: tuple[int, int] | None = None
    shape: str | Tensor = "square"
    """ "square" (the rectangle of `size`), "circle" (an ellipse in it), or a bool mask (height, width): stickers."""
    place: tuple[int, int] | None = None
    scale: Range = (1.0, 1.0)
    rotation: Range = (0.0, 0.0)
    brightness: Range = (0.0, 0.0)
    contrast: Range = (1.0, 1.0)
    colours: Tensor | None = None
    """The only colours a pixel may have, shape (k, c), in the model's range; None: any."""
    groups: Any = None
    """Whole numbers, one an image: images with the same number share a patch. None: all do."""

    can = Can.PROJECT | Can.SAMPLE | Can.STEER | Can.SUPPORT
    random = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", checked_groups(self.groups))
        own = isinstance(self.shape, Tensor)
        if (self.area is None) + (self.size is None) + own != (2 if own else 1) + own:
            raise UsageError(
                "a patch has an area (a share of the picture) or a size (height, width), or a mask of its own."
            )
        if self.area is not None and not (isinstance(self.area, (int, float)) and 0 < self.area < 1):
            raise UsageError(f"area is the share of the picture that is covered, between 0 and 1; got {self.area!r}.")
        if isinstance(self.shape, Tensor):
            if self.shape.ndim != 2 or self.shape.dtype != torch.bool or not bool(self.shape.any()):
                raise UsageError("a mask of a patch is a bool tensor (height, width), True where it covers, somewhere.")
        elif self.shape not in ("square", "circle"):
            raise UsageError(f'shape is "square", "circle" or a bool mask; got {self.shape!r}.')
        for name in ("scale", "rotation", "brightness", "contrast"):
            low, high = getattr(self, name)
            if not (low <= high and math.isfinite(low) and math.isfinite(high)) or (
                name in ("scale", "contrast") and low <= 0
            ):
                raise UsageError(f"{name} is a range (lowest, highest), scale and contrast above 0; got {(low, high)}.")
        if self.colours is not None and not (self.colours.ndim == 2 and len(self.colours) > 0):
            raise UsageError(f"colours have the shape (k, channels); got {tuple(self.colours.shape)}.")

    def __repr__(self) -> str:
        own = (
            f"{name}={getattr(self, name)!r}" for name in ("area", "size", "place") if getattr(self, name) is not None
        )
        kind = self.shape if isinstance(self.shape, str) else f"<{int(self.shape.sum())} pixels>"
        return f"Patch({', '.join([*own, f'shape={kind!r}'])})"

    @property
    def still(self) -> bool:
        """Whether a patch is neither scaled nor turned."""
        return self.scale == (1.0, 1.0) and self.rotation == (0.0, 0.0)

    def mask(self, height: int, width: int) -> Bool[Tensor, "h w"]:
        """Which pixels of the patch there are, for pictures of this size. Raises InputError where it does not fit into one."""
        if isinstance(self.shape, Tensor):
            mask = self.shape
        elif self.size is not None:
            mask = _ellipse(*self.size) if self.shape == "circle" else torch.ones(self.size, dtype=torch.bool)
        else:
            assert self.area is not None  # one of the three is there
            mask = _of_area(self.shape, self.area * height * width, min(height, width))
        high, wide = mask.shape
        row, col = self.place or (0, 0)
        if (
            high > height
            or wide > width
            or mask.numel() == 0
            or not (0 <= row <= height - high and 0 <= col <= width - wide)
        ):
            where = "" if self.place is None else f" at {self.place}"
            raise InputError(
                f"a patch of {high} x {wide} pixels{where} does not fit into pictures of {height} x {width}."
            )
        return mask

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> PatchRegion:
        """The patches for these images, one a group."""
        items, names = items_of(self.groups, x)
        if x.ndim != 4 or box is None:
            raise InputError(f"a patch is for images (n, c, h, w) with a range; got {tuple(x.shape)}, range {box}.")
        mask, (low, high) = self.mask(*x.shape[2:]).to(x.device), inner_box(box, x.dtype)
        colours = None if self.colours is None else self.colours.to(x)
        if colours is not None and (colours.shape[1] != x.shape[1] or bool(((colours < low) | (colours > high)).any())):
            raise InputError(
                f"colours have {x.shape[1]} channels in {list(box)}; got {tuple(colours.shape)}, some outside."
            )
        middle = x.new_full((x.shape[1],), (low + high) / 2)
        if colours is not None:
            middle = colours[(colours - middle).square().sum(1).argmin()]
        blank = middle.view(1, -1, 1, 1).expand(len(names), -1, *mask.shape).contiguous()
        return PatchRegion(blank, self, mask, colours, x, items, box, names)


@dataclass(frozen=True)
class PatchRegion:
    """Patches in the model's range, a row a problem, (p, c, height, width)."""

    blank: Tensor
    look: Patch
    mask: Bool[Tensor, "h w"]
    colours: Tensor | None
    x: Tensor
    """All images, of all problems."""
    items: Int[Tensor, " inputs"]
    within: Box
    names: tuple[int, ...]

    random = True
    """Two looks at one point differ: it is pasted elsewhere."""
    covers = True
    """A grey patch is a change, too."""

    def __len__(self) -> int:
        return len(self.blank)

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some problems; the images stay."""
        return replace(self, blank=self.blank.index_select(0, index))

    @property
    def box(self) -> Box:
        """The range of the colours."""
        return self.within

    @property
    def radius(self) -> Float[Tensor, " n"]:
        """Half the range: what steps that are a share of a radius are shares of."""
        low, high = self._ends
        return torch.full((len(self),), (high - low) / 2, dtype=torch.float64, device=self.blank.device)

    @property
    def relaxed(self) -> Self:
        """The same with any colours: where a search walks that is to end at one of the given ones."""
        return replace(self, colours=None)

    def identity(self) -> Tensor:
        """A grey patch: there is none that changes nothing."""
        return self.blank

    def leaf(self, p: Tensor) -> Tensor:
        """The patch itself."""
        return p

    def contains(self, p: Tensor) -> Bool[Tensor, " m"]:
        """In the range, of the given colours if there are any, and grey where the mask has no pixel."""
        low, high = self._ends
        covered = (p == self.blank) | self.mask
        inside = flat((p >= low) & (p <= high) & covered).all(1)
        if self.colours is None:
            return inside
        known = (p[:, None] == self.colours[None, :, :, None, None]).all(2).any(1)
        return inside & (known | ~self.mask).flatten(1).all(1)

    def project(self, p: Tensor) -> Tensor:
        """The nearest patch of the set: clamped, or of each pixel the nearest colour."""
        low, high = self._ends
        if self.colours is None:
            return torch.where(self.mask, p.clamp(low, high), self.blank)
        apart = (p.double()[:, None] - self.colours.double()[None, :, :, None, None]).square().sum(2)
        return self._painted(apart.argmin(1))

    def sample(self, rng: Rng) -> Tensor:
        """Random colours, pixel by pixel."""
        low, high = self._ends
        if self.colours is None:
            return self.project(rng.uniform(tuple(self.blank.shape[1:]), self.blank.dtype, low, high))
        share = rng.uniform(tuple(self.mask.shape), torch.float64, 0, 1)
        return self._painted((share * len(self.colours)).long())

    rival = sample

    def steepest(self, g: Tensor) -> Tensor:
        """The sign of the gradient, where the mask has a pixel."""
        return torch.where(self.mask, g.sign(), 0.0)

    def support(self, g: Tensor) -> tuple[Tensor, Float[Tensor, " m"]]:
        """Each value at the end that the gradient points to; each pixel of the colour furthest along it."""
        low, high = self._ends
        if self.colours is not None:
            p = self._painted((g.double()[:, None] * self.colours.double()[None, :, :, None, None]).sum(2).argmax(1))
        else:
            ends = torch.where(g > 0, high, torch.where(g < 0, low, self.blank))
            p = torch.where(self.mask, ends, self.blank)
        return p, flat(g.double() * p.double()).sum(1)

    def size(self, p: Tensor) -> Float[Tensor, " m"]:
        """The largest difference of a value from the grey patch, float64."""
        return flat(p.double() - self.blank).abs().amax(1)

    def distance(self, p: Tensor) -> Float[Tensor, " m"]:
        """The Euclidean distance to the nearest patch of the set, float64."""
        return torch.linalg.vector_norm(flat(p.double() - self.project(p).double()), dim=1)

    def unprintable(self, p: Tensor) -> Float[Tensor, " m"]:
        """The non-printability score, a mean over pixels: the product of each one's distances from all given colours.

        Sharif et al. 2016, section 5.2.2, where it is a sum; 0 for colours that are given, and where any may be used.
        """
        if self.colours is None:
            return p.new_zeros(len(p))
        apart = (p[:, None] - self.colours[None, :, :, None, None]).square().sum(2)  # roots have no gradient at 0
        return torch.where(self.mask, apart.prod(1), 0.0).flatten(1).sum(1) / self.mask.sum()

    def apply(self, p: Tensor, rng: Rng, items: Int[Tensor, " m"] | None = None) -> Tensor:
        """The images with the patch pasted over them, each where, as and in the light that its own stream draws."""
        x = self.x if items is None else self.x.index_select(0, items)
        lit = self._lit(p, rng.fold("light"))
        covered, colours = (self._pasted if self.look.still else self._turned)(lit, rng.fold("place"), x.shape[2:])
        return torch.where(covered[:, None], colours, x)

    def record(self) -> dict[str, Any]:
        """What it takes to paste a patch on other images, as plain data."""
        look = self.look
        ranges = {name: list(getattr(look, name)) for name in ("scale", "rotation", "brightness", "contrast")}
        place = None if look.place is None else list(look.place)
        colours = None if self.colours is None else self.colours.double().tolist()
        drawn = {"mask": self.mask.int().tolist(), "place": place, "colours": colours, **ranges}
        assert self.within is not None  # `at` has looked
        return {"set": "patch", **drawn, "groups": list(self.names), "box": [*self.within]}

    # ------------------------------------------------------------------------------------------------ light and place
    def _lit(self, p: Tensor, rng: Rng) -> Tensor:
        look, (low, high) = self.look, self._ends
        if look.brightness == (0.0, 0.0) and look.contrast == (1.0, 1.0):
            return p
        middle, width = (low + high) / 2, high - low
        more = column(_between(look.brightness, rng.fold("brightness")) * width, p)
        times = column(_between(look.contrast, rng.fold("contrast")), p)
        return (middle + times * (p - middle) + more).clamp(low, high)

    def _pasted(self, p: Tensor, rng: Rng, picture: torch.Size) -> tuple[Tensor, Tensor]:
        """Pixel on pixel: which pixels are covered, and the colours there."""
        (height, width), (high, wide) = picture, self.mask.shape
        place = self.look.place
        top = _corner(rng.fold("row"), height - high) if place is None else torch.full_like(rng.keys, place[0])
        left = _corner(rng.fold("column"), width - wide) if place is None else torch.full_like(rng.keys, place[1])
        row = torch.arange(height, device=p.device) - top[:, None]
        col = torch.arange(width, device=p.device) - left[:, None]
        inside = ((row >= 0) & (row < high))[:, :, None] & ((col >= 0) & (col < wide))[:, None, :]
        at = row.clamp(0, high - 1)[:, :, None] * wide + col.clamp(0, wide - 1)[:, None, :]
        colours = flat_pixels(p).gather(2, at.flatten(1)[:, None].expand(-1, p.shape[1], -1))
        return inside & self.mask.flatten()[at], colours.unflatten(2, (height, width))

    def _turned(self, p: Tensor, rng: Rng, picture: torch.Size) -> tuple[Tensor, Tensor]:
        """Scaled and turned: colours between those of the pixels (bilinear), and the pixels whose middle is covered."""
        (height, width), (high, wide), look = picture, self.mask.shape, self.look
        scale = _between(look.scale, rng.fold("scale"))
        angle = _between(look.rotation, rng.fold("rotation")) * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        tall, broad = scale * (cos.abs() * high + sin.abs() * wide), scale * (sin.abs() * high + cos.abs() * wide)
        y, x = _middle(rng.fold("row"), height, tall), _middle(rng.fold("column"), width, broad)
        if look.place is not None:
            y, x = torch.full_like(y, look.place[0] + high / 2), torch.full_like(x, look.place[1] + wide / 2)
        down = (torch.arange(height, device=p.device) + 0.5 - y[:, None])[:, :, None]
        along = (torch.arange(width, device=p.device) + 0.5 - x[:, None])[:, None, :]
        c, s, k = (t[:, None, None] for t in (cos, sin, scale))
        u, v = (c * down + s * along) / k + high / 2, (c * along - s * down) / k + wide / 2
        inside = (u >= 0) & (u < high) & (v >= 0) & (v < wide)
        at = u.floor().long().clamp(0, high - 1) * wide + v.floor().long().clamp(0, wide - 1)
        wider = torch.promote_types(p.dtype, torch.float32)
        grid = torch.stack([2 * v / wide - 1, 2 * u / high - 1], -1).to(wider)
        colours = grid_sample(p.to(wider), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return inside & self.mask.flatten()[at], colours.to(p.dtype).clamp(*self._ends)

    def _painted(self, which: Int[Tensor, "m h w"]) -> Tensor:
        """The patches whose pixels have the colours of these numbers."""
        assert self.colours is not None  # the callers have looked
        return torch.where(self.mask, self.colours[which].movedim(-1, 1), self.blank)

    @property
    def _ends(self) -> tuple[float, float]:
        return inner_box(self.within, self.blank.dtype)


def flat_pixels(p: Tensor) -> Tensor:
    """(m, channels, pixels)."""
    return p.reshape(*p.shape[:2], -1)


def _between(ends: Range, rng: Rng) -> Float[Tensor, " m"]:
    return ends[0] + (ends[1] - ends[0]) * rng.unit()


def _corner(rng: Rng, room: int) -> Int[Tensor, " m"]:
    return rng.integers(0, room + 1)


def _middle(rng: Rng, length: int, extent: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Where the middle of something of this extent goes, so that it lies in the picture; in its middle where it cannot."""
    room = (length - extent).clamp_min(0)
    return (length - room) / 2 + room * rng.unit()


def _ellipse(height: int, width: int) -> Bool[Tensor, "h w"]:
    """The pixels whose middle lies in the ellipse that touches the four sides."""
    y = (torch.arange(height) + 0.5) * 2 / height - 1
    x = (torch.arange(width) + 0.5) * 2 / width - 1
    return y[:, None].square() + x.square() <= 1


def _of_area(shape: str, pixels: float, most: int) -> Bool[Tensor, "h w"]:
    """The largest square, or circle, of no more pixels than these, at least one."""
    made = _ellipse if shape == "circle" else (lambda h, w: torch.ones(h, w, dtype=torch.bool))
    side = max((s for s in range(1, most + 1) if int(made(s, s).sum()) <= pixels + 1e-9), default=1)
    return made(side, side)
