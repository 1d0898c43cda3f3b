"""The four verbs. What each does is in the module that it imports when it runs."""

from __future__ import annotations

from ironbound.cli.flags import with_flags
from ironbound.cli.settings import AttackSettings, CertifySettings, HardenSettings, RunSettings
from ironbound.cli.stopping import Interrupted
from ironbound.cli.terminal import Terminal


def _stages(verb: str, settings: RunSettings, terminal: Terminal) -> int:
    from ironbound.cli.runs import place_of, run_audit

    folder = place_of(verb, settings.out, settings.resume)
    try:
        return run_audit(verb, settings, terminal, folder)
    except KeyboardInterrupt:
        raise Interrupted(folder) from None


@with_flags(RunSettings)
def audit(settings: RunSettings, terminal: Terminal) -> int:
    """Bracket the true robust accuracy: certified <= true <= attacked, with checks and a report."""
    return _stages("audit", settings, terminal)


@with_flags(AttackSettings)
def attack(settings: AttackSettings, terminal: Terminal) -> int:
    """Search for adversarial examples: an audit of attacks alone, or one change for all samples (universal, patch)."""
    from ironbound.cli.collective import for_many, run_for_many
    from ironbound.cli.runs import place_of

    if for_many(settings):
        return run_for_many(settings, terminal, place_of("attack", settings.out, settings.resume))
    return _stages("attack", settings, terminal)


@with_flags(CertifySettings)
def certify(settings: CertifySettings, terminal: Terminal) -> int:
    """Prove that samples cannot be broken: an audit of bounds alone."""
    return _stages("certify", settings, terminal)


@with_flags(HardenSettings)
def harden(settings: HardenSettings, terminal: Terminal) -> int:
    """Train a copy of the model so that its bracket rises, and audit it before and after."""
    from ironbound.cli.runs import place_of, run_harden

    folder = place_of("harden", settings.out, settings.resume)
    try:
        return run_harden(settings, terminal, folder)
    except KeyboardInterrupt:
        raise Interrupted(folder) from None
