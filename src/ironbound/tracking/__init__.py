"""`log`: what a finished run found, written into the experiment tracker that the user names, and nowhere else."""

from ironbound.tracking.verb import Logged, log

__all__ = ["Logged", "log"]
