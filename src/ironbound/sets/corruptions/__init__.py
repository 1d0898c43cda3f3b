"""The common corruptions of images as finite sets: noise, blur, weather, compression, at five severities."""

from ironbound.sets.corruptions.common import ALL, COMMON, EXTRA, Corruption, Corruptions

__all__ = ["ALL", "COMMON", "EXTRA", "Corruption", "Corruptions"]
