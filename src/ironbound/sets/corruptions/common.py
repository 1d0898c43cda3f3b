"""The common corruptions as finite sets: each severity of each is one change of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.catalogue import normal
from ironbound.core.errors import UnknownName, UsageError
from ironbound.core.protocols import Box
from ironbound.core.rng import Rng, content_keys
from ironbound.sets.bounds import inner_box
from ironbound.sets.corruptions import blurs, digital, noise, weather
from ironbound.sets.corruptions.constants import constants
from ironbound.sets.finite import Finite, FiniteRegion
from ironbound.sets.parameters import images

FUNCTIONS: dict[str, Callable[[Tensor, tuple[float, ...], Rng], Tensor]] = {
    "gaussian_noise": noise.gaussian_noise, "shot_noise": noise.shot_noise, "impulse_noise": noise.impulse_noise,
    "defocus_blur": blurs.defocus_blur, "glass_blur": blurs.glass_blur, "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur, "snow": weather.snow, "frost": weather.frost, "fog": weather.fog,
    "brightness": weather.brightness, "contrast": digital.contrast, "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate, "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise, "gaussian_blur": blurs.gaussian_blur, "spatter": weather.spatter,
    "saturate": digital.saturate,
}  # fmt: skip
ALL = tuple(FUNCTIONS)
COMMON, EXTRA = ALL[:15], ALL[15:]
"""The fifteen of the benchmark, and the four that its authors keep for validation."""
SAID = {"frost": "frost (procedural)"}
"""Names in reports where they say more."""


@dataclass(frozen=True)
class Corruption:
    """One corruption of images (n, c, h, w) at a severity from 1 to 5, the same every time.

    Noise is drawn from the content of each image, the same at all severities, and scaled. `within` takes the range that
    stands for black to white; called as a function, that is [0, 1].
    """

    name: str
    severity: int

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return self.within(x, (0.0, 1.0))

    def within(self, x: Float[Tensor, "n c h w"], box: Box) -> Float[Tensor, "n c h w"]:
        """The corrupted images, in x's own type and within the range."""
        low, high = _range(box)
        wide = images(x, self.name).to(torch.promote_types(x.dtype, torch.float32))
        draws = Rng.of(0, content_keys(x, None).to(x.device)).fold(self.name)
        numbers = constants(self.name, self.severity, min(x.shape[2:]))
        unit = ((wide - low) / (high - low)).contiguous()
        out = FUNCTIONS[self.name](unit, numbers, draws).clamp(0, 1)
        return (low + out * (high - low)).to(x.dtype).clamp(*inner_box(box, x.dtype))

    @property
    def __name__(self) -> str:
        return SAID.get(self.name, self.name)


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Corruptions(Finite):
    """An image as it is, or after one of some common corruptions at a severity from 1 (slight) to 5 (heavy).

    which: a name or several of `Corruptions.known()`, or "all" for the fifteen of the benchmark.

    For images of any size and range, of one channel or three. Strengths are those of CIFAR-10-C for images whose shorter
    side is at most 64 pixels and those of ImageNet-C for larger ones, lengths in proportion to that side
    (sets/corruptions/constants.py). Each corruption is deterministic: what it draws, it draws from the image's content.
    Paper: Hendrycks, Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, arXiv
    1903.12261. Differs: frost is procedural, since the authors' is made of photographs; water in spatter is simpler; taps of
    motion blurs lie between pixels; nothing but JPEG is rounded to 8 bits. So figures are near those of CIFAR-10-C and no
    substitute for them: to report these, audit the published files.

    Raises UnknownName for a corruption there is not, UsageError for another severity.

    >>> Corruptions("fog", 3)
    Corruptions('fog', 3)
    """

    def __init__(self, which: str | Sequence[str], severity: int) -> None:
        names = [which] if isinstance(which, str) else list(which) if isinstance(which, Sequence) else []
        if not names or not all(isinstance(one, str) for one in names):
            raise UsageError(f'corruptions are a name or several, such as Corruptions("fog", 3); got {which!r}.')
        chosen = [name for one in names for name in (COMMON if normal(one) == "all" else (_known(one),))]
        if isinstance(severity, bool) or not isinstance(severity, int) or not 1 <= severity <= 5:
            raise UsageError(f"a severity is a whole number from 1 to 5; got {severity!r}.")
        if len(set(chosen)) != len(chosen):
            raise UsageError(f"name no corruption twice, and none beside all; got {which!r}.")
        changes = tuple(Corruption(name, severity) for name in chosen)
        object.__setattr__(self, "changes", changes)
        object.__setattr__(self, "names", tuple(change.__name__ for change in changes))
        self.__post_init__()

    @staticmethod
    def all(severity: int, extra: bool = False) -> Corruptions:
        """The fifteen of the benchmark; with `extra` the four for validation, too."""
        return Corruptions(ALL if extra else COMMON, severity)

    @staticmethod
    def known() -> tuple[str, ...]:
        """All names."""
        return ALL

    @property
    def which(self) -> tuple[str, ...]:
        """The names of the corruptions."""
        return tuple(change.name for change in self.changes if isinstance(change, Corruption))

    @property
    def severity(self) -> int:
        """From 1 to 5."""
        first = self.changes[0]
        return first.severity if isinstance(first, Corruption) else 0

    @property
    def spec(self) -> str:
        """The text that `parse_threat` reads as this set."""
        return f"corruption:{'all' if self.which == COMMON else ','.join(self.which)}:{self.severity}"

    @property
    def sentence(self) -> str:
        """What one may change, in words."""
        names = self.names or ()
        some = names[0] if len(names) == 1 else f"one of {', '.join(names)}"
        return f"an image may suffer {some}, at severity {self.severity} of 5"

    def __repr__(self) -> str:
        which = "all" if self.which == COMMON else self.which[0] if len(self.which) == 1 else list(self.which)
        return f"Corruptions({which!r}, {self.severity})"

    def at(self, x: Float[Tensor, "n c h w"], box: Box) -> FiniteRegion:
        """The region around x. Raises InputError for what is no batch of images, UsageError without a range."""
        _range(box)
        return super().at(images(x, "Corruptions"), box)


def _range(box: Box) -> tuple[float, float]:
    if box is None:
        raise UsageError("corruptions need the model's range, which says where black and white are: Model(range=).")
    return box


def _known(name: str) -> str:
    known = {normal(one): one for one in ALL}
    known |= {normal(short): f"{short}_{rest}" for short, rest in (("elastic", "transform"), ("jpeg", "compression"))}
    name = name.replace(" ", "_")
    if normal(name) not in known:
        near = get_close_matches(normal(name), known, n=1)
        meant = f" Did you mean {known[near[0]]!r}?" if near else ""
        raise UnknownName(
            f"no corruption is called {name!r}.{meant} There are all (the first fifteen), {', '.join(ALL)}."
        )
    return known[normal(name)]
