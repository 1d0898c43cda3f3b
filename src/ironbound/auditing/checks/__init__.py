"""Checks: can this evaluation be believed? Each gives a result, its evidence and the next step.

Importing this package registers all of them; docs/checks.md lists them with their sources.
"""

from ironbound.auditing.checks import attacks, blackbox, effort, gradients, model, reach, record, witnesses
from ironbound.auditing.checks.check import CHECKS, Check, CheckResult, Evidence, run_checks

__all__ = [
    "CHECKS", "Check", "CheckResult", "Evidence", "attacks", "blackbox", "effort", "gradients", "model", "reach", "record",
    "run_checks", "witnesses",
]  # fmt: skip
