"""Hardened models side by side: what each holds, what it cost, and which are worth having. Read comparison.py first."""

from ironbound.comparing.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
