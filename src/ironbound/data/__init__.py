"""Whatever a user has as data, as rows with labels: `load` reads it, `Data` holds it."""

from ironbound.data.dataset import Data
from ironbound.data.load import load

__all__ = ["Data", "load"]
