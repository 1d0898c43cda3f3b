"""Recipes: attacks named after their papers, as functions that return a composition."""

from ironbound.recipes import collective, ensembles, linear, minimum, penalty, sparse, spatial, vision
from ironbound.recipes.collective import patch, universal
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
from ironbound.recipes.linear import deepfool, sparsefool, superdeepfool, trust_region
from ironbound.recipes.minimum import alma, ddn, fmn, pdpgd
from ironbound.recipes.penalty import convex_surrogate, cw, ead, lbfgs
from ironbound.recipes.sparse import greedy_l0, jsma, sigma_zero, vfga
from ironbound.recipes.spatial import blur, brightness, color_shift, rotation, stadv, translation
from ironbound.recipes.vision import exhaustive, fab, fab_targeted, hopskipjump, noise, square

ENTRIES = (
    *vision.ENTRIES,
    *ensembles.ENTRIES,
    *minimum.ENTRIES,
    *penalty.ENTRIES,
    *linear.ENTRIES,
    *sparse.ENTRIES,
    *spatial.ENTRIES,
    *collective.ENTRIES,
)
"""All attacks of the catalogue."""

__all__ = [
    "ENTRIES",
    "adam_pgd",
    "alma",
    "apgd",
    "apgd_narrowed",
    "apgd_targeted",
    "autoattack",
    "blur",
    "brightness",
    "color_shift",
    "convex_surrogate",
    "cw",
    "ddn",
    "deepfool",
    "ead",
    "exhaustive",
    "fab",
    "fab_targeted",
    "fgsm",
    "fmn",
    "frank_wolfe",
    "gama_pgd",
    "greedy_l0",
    "hopskipjump",
    "i_fgsm",
    "jsma",
    "lbfgs",
    "malt",
    "mi_fgsm",
    "ni_fgsm",
    "noise",
    "patch",
    "pdpgd",
    "pgd",
    "pgd_kl",
    "pma",
    "r_fgsm",
    "rotation",
    "sigma_zero",
    "sparsefool",
    "square",
    "stadv",
    "superdeepfool",
    "translation",
    "trust_region",
    "universal",
    "vfga",
]
