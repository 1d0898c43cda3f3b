"""Gates: may a model pass, by the figures of its audit and by what they were before? A yes or no with its reason."""

from ironbound.auditing.gate.verdict import Gate, gate

__all__ = ["Gate", "gate"]
