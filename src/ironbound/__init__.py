"""Ironbound: how robust is a model really, how does it become more robust, and what can be proved?

Four verbs of one shape: `attack`, `certify`, `audit`, `harden`. See docs/start.md.
"""

from ironbound import goals, objectives, oracles, recipes
from ironbound.core.attack import Attack
from ironbound.core.errors import IronboundError
from ironbound.core.protocols import Ask, Budget, Can, Rows, Status, Want
from ironbound.core.result import Result
from ironbound.core.version import __version__
from ironbound.goals import Targeted, Untargeted
from ironbound.models.model import Model
from ironbound.models.open import load
from ironbound.objectives import CrossEntropy, Margin
from ironbound.oracles import Direct, Eot, Labels
from ironbound.searches.ascent import Ascent, Clean, Uniform
from ironbound.searches.moves import Apgd, Momentum, Step
from ironbound.sets import L2, Linf, parse_threat
from ironbound.verbs import Hardened, attack, audit, certify, harden, verify

__all__ = [
    "L2",
    "Apgd",
    "Ascent",
    "Ask",
    "Attack",
    "Budget",
    "Can",
    "Clean",
    "CrossEntropy",
    "Direct",
    "Eot",
    "Hardened",
    "IronboundError",
    "Labels",
    "Linf",
    "Margin",
    "Model",
    "Momentum",
    "Result",
    "Rows",
    "Status",
    "Step",
    "Targeted",
    "Uniform",
    "Untargeted",
    "Want",
    "__version__",
    "attack",
    "audit",
    "certify",
    "goals",
    "harden",
    "load",
    "objectives",
    "oracles",
    "parse_threat",
    "recipes",
    "verify",
]
