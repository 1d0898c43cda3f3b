"""Checks of the record: per-sample worst case, and everything written down that the figures depend on."""

from __future__ import annotations

import numpy as np

from ironbound.auditing.checks.check import CheckResult, Evidence, check

_WRITTEN = ("threat", "plan", "seed", "fingerprints", "environment", "probes")


@check(
    22, "worst case per sample", "Is a sample broken if any attack broke it?", "red",
    "Averaging over attacks, or reporting the best of them alone, overstates robustness.",
)  # fmt: skip
def worst_case(evidence: Evidence) -> CheckResult:
    """Counted again from the rows of all stages."""
    verdicts = evidence.verdicts
    ever = np.zeros(0, np.int64)  # and no set, which takes ten times the memory
    each = []
    for stage in evidence.attacks:
        rows = verdicts.stage_rows(stage.name)
        mine = np.unique(rows["index"][rows["verdict"] == "broken"])
        ever = np.union1d(ever, mine)
        each.append(f"{stage.name} {len(mine)}")
    final = verdicts.index[verdicts.verdict == "broken"]
    kept = bool(np.isin(ever, final).all())
    text = f"Broken by stage: {', '.join(each) or 'no attack'}; {len(final)} samples are broken in all."
    return CheckResult(
        "pass" if kept else "fail",
        text,
        "" if kept else "Report this: results contradict each other.",
    )


@check(
    29, "recorded", "Is everything recorded that the figures depend on?", "amber",
    "Without threat, seeds, versions and fingerprints nobody can repeat the figure.",
)  # fmt: skip
def recorded(evidence: Evidence) -> CheckResult:
    """Threat model, hyper-parameters, seeds, hashes; n and the interval stand beside every figure."""
    manifest = evidence.manifest or {}
    missing = [name for name in _WRITTEN if not manifest.get(name) and manifest.get(name) != 0]
    if missing:
        return CheckResult("fail", f"The manifest lacks {', '.join(missing)}.", "Run the audit into a run folder.")
    return CheckResult(
        "pass",
        f"Threat, plan, seed {manifest['seed']}, fingerprints and versions are in the manifest; n = {len(evidence.verdicts)}.",
    )
