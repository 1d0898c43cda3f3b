"""The plans that have a name: quick, standard, thorough; and exhaustive, for sets whose points can be listed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ironbound import recipes
from ironbound.auditing.plan import Attacking, Bounds, Plan
from ironbound.certification.alpha import AlphaCrown
from ironbound.certification.crown import Crown
from ironbound.certification.exhaustive import Exhaustive
from ironbound.certification.ibp import Ibp
from ironbound.core.attack import Attack
from ironbound.core.catalogue import Entry
from ironbound.core.protocols import Want
from ironbound.objectives import Margin
from ironbound.searches.grid import AXES, Grid
from ironbound.searches.starts import Vertices

SOME = 64
"""Survivors on which Square is a witness against masked gradients."""
NEAR = 0.6
"""Corners and vertices are for samples that others brought so far. On adversarially trained MNIST at 0.3 those that corners
broke, 38 of 493, had come 71% of the way at least; 0.6 leaves a margin, and saves them for half of the samples of other nets."""
AFFORDED = 5000.0
"""Forward rows a sample that a bound may be expected to cost, a little more than all attacks of the plan together: where no
pilot knows what these cost. The estimate is an upper one."""
HOPEFUL = 0.5
"""Slopes are optimised for samples that CROWN left half of their clean margin below zero at most; those that this proved then,
on the nets of benchmarks/cascade.py, were left a fifth of it at most."""


def standard() -> Plan:
    """As strong as AutoAttack for a fraction of its passes: what pays first, as a pilot of 16 samples finds it.

    Bounds from intervals to CROWN, with optimised slopes where CROWN came near; short APGDs on the margin from vertices of the
    bounds, and on the probability margin (PMA) from four starts in the ball; where these came near, from sixteen of its corners:
    many short climbs find more than a long one. Then APGD
    towards nine targets in MALT's order, longer for the three that came nearest; FAB where it finds something. Square with
    1,000 queries on 64 survivors is a witness that gradients are not masked; where it breaks one, it runs on all of them with
    5,000. FGSM and noise are witnesses too. On L0 balls greedy search and sigma-zero stand in for the climbs,
    on angles, shifts, colours and blurs a grid.
    """
    return Plan(
        "standard",
        (
            *_bounds(AFFORDED, "last", HOPEFUL),
            _own("pma", _short("probability", 4)),
            _own("pma_corners", _short("probability", 16, corners=True), near=NEAR),
            _own("margin_vertices", _from_vertices(_short("margin", 2)), near=NEAR),
            _own("apgd_narrowed", recipes.apgd_narrowed()),
            _own("fab", recipes.fab_targeted(steps=50, targets=3), optional=True),
            *_sparse(greedy_l0=recipes.greedy_l0(50), sigma_zero=recipes.sigma_zero(200)),
            _grid(),
            *_witnesses(),
            _own("square", recipes.square(1000), witness=True, optional=True, most=SOME),
            _own("square on all", recipes.square(5000), witness=True, optional=True, after="square"),
        ),
        adaptive=True,
        curve=True,
    )


def thorough() -> Plan:
    """Everything on everybody, several times: a few times AutoAttack's cost, for figures that are to be published.

    Interval bounds with radii, linear ones up to optimised slopes of all layers; PGD; APGD from vertices of the bounds; PMA and
    APGD on cross-entropy and DLR from five starts, PMA from sixteen corners; MALT; APGD-T; FAB-T; Square with 5,000 queries on
    all survivors. On L0 balls greedy search, sigma-zero, VFGA and JSMA.
    Nothing is left to a pilot.
    """
    return Plan(
        "thorough",
        (
            Bounds("ibp", Ibp(), radii=True),
            *_bounds(10 * AFFORDED, "all", 4 * HOPEFUL)[1:],
            _pgd(100),
            _own("margin_vertices", _from_vertices(recipes.apgd(loss="margin", restarts=3, large_radii=True))),
            _own("pma", recipes.pma(restarts=5)),
            _own("pma_corners", _short("probability", 16, corners=True)),
            _own("apgd_ce", recipes.apgd(loss="ce", restarts=5, large_radii=True)),
            _own("apgd_dlr", recipes.apgd(loss="dlr", restarts=5, large_radii=True)),
            _own("malt", recipes.malt()),
            _own("apgd_t", recipes.apgd_targeted(large_radii=True)),
            _own("fab_t", recipes.fab_targeted(), optional=True),
            *_sparse(
                greedy_l0=recipes.greedy_l0(200),
                greedy_slow=recipes.greedy_l0(200, share=0.2),
                sigma_zero=recipes.sigma_zero(1000),
                vfga=recipes.vfga(),
                jsma=recipes.jsma(gamma=1.0, probabilities=True),
            ),
            _own("square", recipes.square(5000), optional=True),
            *_witnesses(),
        ),
        curve=True,
    )


def quick() -> Plan:
    """Interval bounds and ten steps of PGD (on L0 of greedy search): a first look, with FGSM and noise as witnesses."""
    sparse = _sparse(greedy_l0=recipes.greedy_l0(10))
    return Plan("quick", (Bounds("ibp", Ibp()), _pgd(10), *sparse, *_witnesses()))


def exhaustive() -> Plan:
    """Every point of a finite set: each sample ends as certified or broken, but for margins within rounding."""
    return Plan("exhaustive", (Bounds("exhaustive", Exhaustive()), Attacking("search", recipes.exhaustive())))


def _bounds(most: float, layers: str, near: float) -> tuple[Bounds, ...]:
    """The cheapest first; each is left out where it would cost more forward rows a sample than `most`."""
    return (
        Bounds("ibp", Ibp(), optional=True),
        Bounds("crown-ibp", Crown(intermediate="ibp"), optional=True, most=most),
        Bounds("crown", Crown(), optional=True, most=most),
        Bounds("alpha-crown", AlphaCrown(layers), optional=True, most=most, near=near, of="crown"),
    )


def _from_vertices(attack: Attack) -> Attack:
    """A climb that begins where linear bounds are least, towards another class with each restart."""
    search: Any = attack.search
    return attack.replace(search=replace(search, start=Vertices(times=3.0)))


def _pgd(steps: int) -> Attacking:
    """On the margin, which is not flat where the model is sure."""
    return Attacking("pgd", recipes.pgd(steps=steps).replace(objective=Margin()))


def _own(name: str, attack: Attack, **rest: bool | int | float | str | tuple[str, ...]) -> Attacking:
    """A stage with random streams of its own: two attacks would else begin at the same points."""
    return Attacking(name, attack.replace(stream=name), **rest)  # type: ignore[arg-type]


def _short(loss: str, restarts: int, corners: bool = False) -> Attack:
    return recipes.apgd(steps=25, restarts=restarts, loss=loss, large_radii=True, corners=corners)


def _sparse(**attacks: Attack) -> list[Attacking]:
    """The stages on L0 balls, where the first witness will do: gradient climbs have no steepest direction there."""
    return [_own(name, attack.replace(want=Want.FIRST), norms=("l0",)) for name, attack in attacks.items()]


def _grid() -> Attacking:
    """Instead of climbs on sets of a few parameters: the loss has many maxima, and gradients lead to the next one only."""
    return _own("grid", recipes.rotation().replace(search=Grid()), norms=tuple(AXES))


def _witnesses() -> tuple[Attacking, Attacking]:
    return Attacking("fgsm", recipes.fgsm(), witness=True), Attacking("noise", recipes.noise(20), witness=True)


ENTRIES = (
    Entry("audit", "standard", standard, None),
    Entry("audit", "quick", quick, None),
    Entry("audit", "thorough", thorough, None),
    Entry("audit", "exhaustive", exhaustive, None),
)
