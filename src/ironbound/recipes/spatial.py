"""Attacks on the parameters of a change: rotations, translations, flow fields, colours, brightness, blur.

The threat says what may change (Rotation(30), Flow(1.0)); gradient attacks such as pgd work on these sets, too.
"""

from __future__ import annotations

from typing import Literal

from ironbound.core.attack import Attack, TheThreat
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.errors import UsageError
from ironbound.core.protocols import Search
from ironbound.goals import Untargeted
from ironbound.objectives import Margin
from ironbound.oracles import Direct
from ironbound.searches.ascent import Ascent, Uniform
from ironbound.searches.chance import Draws
from ironbound.searches.grid import Grid
from ironbound.searches.moves import Step
from ironbound.searches.smooth_flow import SmoothFlow

Mode = Literal["grid", "random", "gradient"]


def rotation(mode: Mode = "grid", angles: int = 31, shifts: int = 5, draws: int = 10, steps: int = 200) -> Attack:
    """Turn an image until it is misread; the threat is a Rotation, or Spatial, which may shift it as well.

    "grid" tries `angles` angles, with Spatial each at shifts x shifts places; "random" so many `draws` from the set (the
    paper's worst of 10); "gradient" climbs the margin by `steps` of a hundredth of the range from a random point. The loss
    has many maxima in these few parameters: the grid finds far more than the gradient.
    Paper: Engstrom, Tran, Tsipras, Schmidt, Madry 2019, Exploring the Landscape of Spatial Robustness, arXiv 1712.02779,
    section 3. Differs: the gradient's steps are along its sign.
    Cost: at most angles (x shifts x shifts), draws or steps + 1 forward rows a problem, steps backward.
    """
    grid = Grid(angles=angles, shifts=shifts, norms=("rotation", "spatial"))
    return _searched(mode, grid, draws, steps)


def translation(mode: Mode = "grid", angles: int = 31, shifts: int = 5, draws: int = 10, steps: int = 200) -> Attack:
    """Shift an image until it is misread; the threat is a Translation, or Spatial, which may turn it as well.

    "grid" tries shifts x shifts places; shifts=7 are the whole pixels of Translation(3). "random" and "gradient" as for
    `rotation`, whose paper this is: Engstrom et al. 2019, arXiv 1712.02779, section 3.
    Cost: at most shifts x shifts (x angles), draws or steps + 1 forward rows a problem, steps backward.
    """
    grid = Grid(angles=angles, shifts=shifts, norms=("translation", "spatial"))
    return _searched(mode, grid, draws, steps)


def color_shift(mode: Mode = "grid", values: int = 15, draws: int = 1000, steps: int = 100) -> Attack:
    """Shift hue and saturation of a picture, alike at all pixels, until it is misread; the threat is a ColorShift.

    "grid" tries `values` of each; "random" is what the paper does, up to 1000 times; "gradient" climbs the margin.
    Paper: Hosseini, Poovendran 2018, Semantic Adversarial Examples, arXiv 1804.00499, section 3. Differs: the paper's
    saturation is tried from small to large shifts, so that colours stay natural; here the threat says how far both go.
    Cost: at most values x values, draws or steps + 1 forward rows a problem, steps backward.
    """
    return _searched(mode, Grid(values=values, norms=("color",)), draws, steps)


def brightness(mode: Mode = "grid", values: int = 31, draws: int = 10, steps: int = 100) -> Attack:
    """Add the same number to all values of an image until it is misread; the threat is a Brightness.

    Paper: Hendrycks, Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, arXiv
    1903.12261, has it as a corruption of five severities; here the worst of a continuum is looked for.
    Cost: at most values, draws or steps + 1 forward rows a problem, steps backward.
    """
    return _searched(mode, Grid(values=values, norms=("brightness",)), draws, steps)


def blur(mode: Mode = "grid", values: int = 31, draws: int = 10, steps: int = 100) -> Attack:
    """Blur an image by a Gaussian of any width up to the threat's until it is misread; the threat is a Blur.

    Paper: Hendrycks, Dietterich 2019, arXiv 1903.12261, has it as a corruption of five severities; here the worst of a
    continuum is looked for. Cost: at most values, draws or steps + 1 forward rows a problem, steps backward.
    """
    return _searched(mode, Grid(values=values, norms=("blur",)), draws, steps)


def stadv(steps: int = 200, tau: float = 0.05, step: float = 0.1) -> Attack:
    """Bend an image by a smooth flow of its pixels until it is misread, with values unchanged; the threat is a Flow.

    `tau` weighs the roughness of the flow against the margin in logits: less finds more, by rougher flows. `step` is in
    pixels. The first flow that works is the answer; it starts from none, so that it is a small one.
    Paper: Xiao, Zhu, Li, He, Liu, Song 2018, Spatially Transformed Adversarial Examples, arXiv 1801.02612, equations 2 to 4;
    tau = 0.05 as there. Differs: Adam instead of L-BFGS; tau falls to 0 over the second half of the steps; and there is a
    largest displacement, the threat's radius, which the paper has not: Flow(inf).
    Cost: steps + 1 forward, steps backward rows a problem.
    """
    return Attack(TheThreat(), Untargeted(), Margin(), SmoothFlow(steps, tau, step), Direct())


def _searched(mode: Mode, grid: Grid, draws: int, steps: int) -> Attack:
    if mode not in ("grid", "random", "gradient"):
        raise UsageError(f'mode is "grid", "random" or "gradient"; got {mode!r}.')
    search: Search = grid
    if mode == "random":
        search = Draws(draws)
    elif mode == "gradient":
        search = Ascent(steps, Step(0.02, relative=True), Uniform())  # of the radius: a hundredth of the range
    return Attack(TheThreat(), Untargeted(), Margin(), search, Direct())


_ENGSTROM = Paper(
    ("Engstrom, Logan", "Tran, Brandon", "Tsipras, Dimitris", "Schmidt, Ludwig", "Madry, Aleksander"),
    2019, "Exploring the Landscape of Spatial Robustness", "1712.02779", "ICML 2019",
)  # fmt: skip
_XIAO = Paper(
    ("Xiao, Chaowei", "Zhu, Jun-Yan", "Li, Bo", "He, Warren", "Liu, Mingyan", "Song, Dawn"),
    2018, "Spatially Transformed Adversarial Examples", "1801.02612", "ICLR 2018",
)  # fmt: skip
_HOSSEINI = Paper(
    ("Hosseini, Hossein", "Poovendran, Radha"), 2018, "Semantic Adversarial Examples", "1804.00499", "CVPR Workshops 2018",
)  # fmt: skip
_HENDRYCKS = Paper(
    ("Hendrycks, Dan", "Dietterich, Thomas"), 2019,
    "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", "1903.12261", "ICLR 2019",
)  # fmt: skip

ENTRIES = (
    Entry("attack", "rotation", rotation, _ENGSTROM),
    Entry("attack", "translation", translation, _ENGSTROM),
    Entry("attack", "stadv", stadv, _XIAO),
    Entry("attack", "color_shift", color_shift, _HOSSEINI),
    Entry("attack", "brightness", brightness, _HENDRYCKS),
    Entry("attack", "blur", blur, _HENDRYCKS),
)
