"""Moves of an ascent: how to step from the point just asked to the next."""

from ironbound.searches.moves.adam import Adam
from ironbound.searches.moves.apgd import Apgd, checkpoints
from ironbound.searches.moves.apgd_l1 import ApgdL1
from ironbound.searches.moves.move import Move, Shared
from ironbound.searches.moves.steps import Momentum, Nesterov, Slide, Step
from ironbound.searches.moves.vertex import FrankWolfe, Vertex

__all__ = [
    "Adam", "Apgd", "ApgdL1", "FrankWolfe", "Momentum", "Move", "Nesterov", "Shared", "Slide", "Step", "Vertex", "checkpoints",
]  # fmt: skip
