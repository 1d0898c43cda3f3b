"""What a pipeline tells about a finished run: what it has to hold, and where it is logged."""

from __future__ import annotations

from typing import Any, ClassVar

from ironbound.cli.settings.fields import Drops, Settings, key

SHARE = "a fraction, 0 to below 1"


class GateSettings(Settings):
    """What a run has to hold. Figures are fractions from 0 to below 1."""

    panel: ClassVar[str] = "Gate"
    attacked_at_least: float | None = key(
        None, "the lower end of the attacked accuracy's interval is at least F", "F", unit=SHARE, absent="not asked"
    )
    certified_at_least: float | None = key(
        None, "the same of the certified accuracy", "F", unit=SHARE, absent="not asked"
    )
    clean_at_least: float | None = key(None, "the same of the clean accuracy", "F", unit=SHARE, absent="not asked")
    no_red_checks: bool = key(False, "fail where a red check failed, or where the checks are pending")
    baseline: str | None = key(
        None, "an earlier run on the same samples, to say what was lost since", "RUN", absent="none", values="runs"
    )
    allow_drop: Drops | None = key(
        None, "the upper end of the paired drop since the baseline is at most F: 0.01, or attacked=0.01,clean=0.02", "F",
        unit="fractions", absent="not asked",
    )  # fmt: skip
    confidence: float = key(0.95, "of all intervals, two-sided", "C", unit="a fraction, 0.5 to below 1")
    junit: str | None = key(
        None, "also write JUnit XML, for Jenkins and GitLab", "FILE", absent="not written", values="files"
    )
    sarif: str | None = key(
        None, "also write SARIF 2.1.0, for code scanning", "FILE", absent="not written", values="files"
    )
    markdown: str | None = key(
        None, "also write Markdown, for a summary or a model card", "FILE", absent="not written", values="files"
    )

    source: str | None = key(
        None,
        "the file of the repository at which SARIF shows findings",
        "FILE",
        absent="the model's own",
        values="files",
    )

    def asked(self) -> dict[str, Any]:
        """What the gate itself is asked."""
        return self.model_dump(exclude={"junit", "sarif", "markdown", "source"})


class LogSettings(Settings):
    """Where a run is logged. Nothing is written to a place that was not named."""

    panel: ClassVar[str] = "Log"
    mlflow: str | None = key(
        None, "the tracking URI of MLflow, such as http://127.0.0.1:5000; env: what MLFLOW_TRACKING_URI says", "URI",
        absent="not logged there",
    )  # fmt: skip
    experiment: str = key("ironbound", "the experiment in MLflow; a new one where there is none", "NAME")
    tensorboard: str | None = key(
        None, "the log folder of TensorBoard, in which the run gets a folder", "FOLDER", absent="not logged there",
        values="files",
    )  # fmt: skip
