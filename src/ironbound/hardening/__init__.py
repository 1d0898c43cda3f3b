"""The verb `harden`, and what a hardening leaves in its folder."""

from ironbound.hardening.verb import Hardened, harden, parted

__all__ = ["Hardened", "harden", "parted"]
