"""Recipes: attacks named after their papers, as functions that return a composition."""

from ironbound.recipes import ensembles, minimum, vision
from ironbound.recipes.ensembles import apgd_narrowed, autoattack, malt, pma
from ironbound.recipes.gradient import (
    adam_pgd,
    apgd,
    apgd_targeted,
    fgsm,
    frank_wolfe,
    gama_pgd,
    i_fgsm,
    mi_fgsm,
    ni_fgsm,
    pgd,
    pgd_kl,
    r_fgsm,
)
from ironbound.recipes.minimum import alma, ddn, fmn, pdpgd
from ironbound.recipes.vision import exhaustive, fab, fab_targeted, hopskipjump, noise, square

ENTRIES = (*vision.ENTRIES, *ensembles.ENTRIES, *minimum.ENTRIES)
"""All attacks of the catalogue."""

__all__ = [
    "ENTRIES",
    "adam_pgd",
    "alma",
    "apgd",
    "apgd_narrowed",
    "apgd_targeted",
    "autoattack",
    "ddn",
    "exhaustive",
    "fab",
    "fab_targeted",
    "fgsm",
    "fmn",
    "frank_wolfe",
    "gama_pgd",
    "hopskipjump",
    "i_fgsm",
    "malt",
    "mi_fgsm",
    "ni_fgsm",
    "noise",
    "pdpgd",
    "pgd",
    "pgd_kl",
    "pma",
    "r_fgsm",
    "square",
]
