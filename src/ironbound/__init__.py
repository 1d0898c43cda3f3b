"""Ironbound: how robust is a model really, how does it become more robust, and what can be proved?

Four verbs of one shape: `attack`, `certify`, `audit`, `harden`. See docs/start.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ironbound.core.version import __version__

if TYPE_CHECKING:
    from ironbound import goals, objectives, oracles, recipes
    from ironbound.applying import Transfer, apply, measure
    from ironbound.asserting.found import NotRobust
    from ironbound.asserting.robust import assert_robust
    from ironbound.certification import bounds
    from ironbound.comparing import Comparison, compare
    from ironbound.core.attack import Attack
    from ironbound.core.cascade import Cascade
    from ironbound.core.errors import IronboundError
    from ironbound.core.protocols import Ask, Budget, Can, Rows, Status, Want
    from ironbound.core.result import Result
    from ironbound.explaining import Attribution, attribute
    from ironbound.goals import Confident, Part, Targeted, TopK, Untargeted
    from ironbound.hardening import Hardened, harden
    from ironbound.merging import merge
    from ironbound.models.averaged import Averaged
    from ironbound.models.model import Model
    from ironbound.models.open import load
    from ironbound.objectives import CrossEntropy, Dlr, Hinged, Margin, ProbabilityMargin, Rescaled
    from ironbound.oracles import Bpda, Direct, Ensemble, Eot, Labels
    from ironbound.probing.verb import Probe, probe
    from ironbound.searches.ascent import Ascent, Clean, Uniform
    from ironbound.searches.guided import Aimed, Away
    from ironbound.searches.moves import Apgd, Momentum, Step
    from ironbound.sets import (
        L0,
        L1,
        L2,
        Blur,
        Brightness,
        ColorShift,
        Corruptions,
        Finite,
        Flow,
        InputRegion,
        Linf,
        Patch,
        Rotation,
        Spatial,
        Translation,
        Union,
        Universal,
        parse_threat,
    )
    from ironbound.showing.seen import show
    from ironbound.tracking import Logged, log
    from ironbound.tuning import Tuned, tune
    from ironbound.verbs import attack, audit, certify, verify

__all__ = [
    "L0",
    "L1",
    "L2",
    "Aimed",
    "Apgd",
    "Ascent",
    "Ask",
    "Attack",
    "Attribution",
    "Averaged",
    "Away",
    "Blur",
    "Bpda",
    "Brightness",
    "Budget",
    "Can",
    "Cascade",
    "Clean",
    "ColorShift",
    "Comparison",
    "Confident",
    "Corruptions",
    "CrossEntropy",
    "Direct",
    "Dlr",
    "Ensemble",
    "Eot",
    "Finite",
    "Flow",
    "Hardened",
    "Hinged",
    "InputRegion",
    "IronboundError",
    "Labels",
    "Linf",
    "Logged",
    "Margin",
    "Model",
    "Momentum",
    "NotRobust",
    "Part",
    "Patch",
    "ProbabilityMargin",
    "Probe",
    "Rescaled",
    "Result",
    "Rotation",
    "Rows",
    "Spatial",
    "Status",
    "Step",
    "Targeted",
    "TopK",
    "Transfer",
    "Translation",
    "Tuned",
    "Uniform",
    "Union",
    "Universal",
    "Untargeted",
    "Want",
    "__version__",
    "apply",
    "assert_robust",
    "attack",
    "attribute",
    "audit",
    "bounds",
    "certify",
    "compare",
    "goals",
    "harden",
    "load",
    "log",
    "measure",
    "merge",
    "objectives",
    "oracles",
    "parse_threat",
    "probe",
    "recipes",
    "show",
    "tune",
    "verify",
]

_HOMES = {
    "applying": "Transfer apply measure",
    "asserting.found": "NotRobust",
    "asserting.robust": "assert_robust",
    "certification.bounds": "bounds",
    "comparing": "Comparison compare",
    "core.attack": "Attack",
    "core.cascade": "Cascade",
    "core.errors": "IronboundError",
    "core.protocols": "Ask Budget Can Rows Status Want",
    "core.result": "Result",
    "explaining": "Attribution attribute",
    "goals": "Confident Part Targeted TopK Untargeted goals",
    "hardening": "Hardened harden",
    "merging": "merge",
    "models.averaged": "Averaged",
    "models.model": "Model",
    "models.open": "load",
    "objectives": "CrossEntropy Dlr Hinged Margin ProbabilityMargin Rescaled objectives",
    "probing.verb": "Probe probe",
    "oracles": "Bpda Direct Ensemble Eot Labels oracles",
    "recipes": "recipes",
    "searches.ascent": "Ascent Clean Uniform",
    "searches.guided": "Aimed Away",
    "searches.moves": "Apgd Momentum Step",
    "showing.seen": "show",
    "sets": "L0 L1 L2 Blur Brightness ColorShift Corruptions Finite Flow "
    "InputRegion Linf Patch Rotation Spatial Translation Union Universal parse_threat",
    "tracking": "Logged log",
    "tuning": "Tuned tune",
    "verbs": "attack audit certify verify",
}
_APART = {"testing"}  # reached as ironbound.testing, and not by `import *`: it needs pytest
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for, so that `ironbound --help` need not wait for torch."""
    if name in _APART:
        return import_module(f"ironbound.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ironbound' has no attribute {name!r}")
    home = import_module(f"ironbound.{_HOME_OF[name]}")
    found = home if _HOME_OF[name].rpartition(".")[2] == name else getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
