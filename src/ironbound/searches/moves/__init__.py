"""Moves of an ascent: how to step from the point just asked to the next."""

from ironbound.searches.moves.adam import Adam
from ironbound.searches.moves.alma import Alma
from ironbound.searches.moves.apgd import Apgd, checkpoints
from ironbound.searches.moves.apgd_l1 import ApgdL1
from ironbound.searches.moves.ddn import Ddn
from ironbound.searches.moves.fmn import Fmn
from ironbound.searches.moves.move import Move, Shared
from ironbound.searches.moves.pdpgd import Pdpgd
from ironbound.searches.moves.steps import Momentum, Nesterov, Slide, Step
from ironbound.searches.moves.vertex import FrankWolfe, Vertex

__all__ = [
    "Adam", "Alma", "Apgd", "ApgdL1", "Ddn", "Fmn", "FrankWolfe", "Momentum", "Move", "Nesterov", "Pdpgd", "Shared",
    "Slide", "Step", "Vertex", "checkpoints",
]  # fmt: skip
