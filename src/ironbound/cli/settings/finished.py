"""What is told about runs that are finished: to check, to put together, to compare."""

from __future__ import annotations

from typing import ClassVar, Literal

from ironbound.cli.settings.fields import ATTRIBUTIONS, CHECKS, Count, Lists, Names, Positive, Settings, Texts, key
from ironbound.cli.settings.running import DataSettings, ModelSettings


class VerifySettings(DataSettings, ModelSettings):
    """Another place of model or data than the one that the run recorded."""

    model: str | None = key(  # type: ignore[assignment]
        None, "the network, where the recorded one is gone or another", "FILE:NAME", absent="the recorded one",
        values="files",
    )  # fmt: skip
    data: str | None = key(  # type: ignore[assignment]
        None, "the data, where the recorded ones are gone or others", "PATH", absent="the recorded ones", values="data"
    )
    samples: Count = key(None, "how many of --data were audited", "N", unit="samples", absent="as recorded")


class MergeSettings(VerifySettings):
    """Where the whole run goes, and what its checks need."""

    panel: ClassVar[str] = "Run"
    out: str = key(..., "the folder of the whole run", "FOLDER", values="runs")
    method: Names | None = key(
        None, "the plan of the shards, where it is a file", "NAME", absent="the recorded one", values="audit"
    )
    curve: bool | None = key(None, "find robust accuracy against radius too", absent="as the plan says")
    attributions: Names = key(("gradient", "integrated"), ATTRIBUTIONS, "NAME,..", values="attribution")
    resume: bool = key(False, "go on with a merge that was interrupted, or was made without the model")
    rows: Positive | None = key(
        None, "the most in one pass; changes no verdict", "N", unit="model rows", absent="what fits into memory"
    )
    checks: Literal["budget", "full"] = key("budget", CHECKS, "HOW")


class CompareSettings(Settings):
    """What every model of the runs is audited by, beside what its run says of it."""

    threat: Texts = key(
        (), "a further threat, such as a norm not trained on; may be repeated; radii in input units", "SET:RADIUS",
        absent="none", several=True, values="threat",
    )  # fmt: skip
    method: Lists = key(
        (), "attacks, each alone against the run's own threat", "NAME,..", absent="none", several=True, values="attack"
    )
    audit: str = key("standard", "the plan of the audits under further threats", "PLAN", values="audit")
    transfer: bool = key(False, "try the witnesses of each model on the others")
    baseline: str | None = key(
        None, "the model that the clean accuracy of all others is held against", "NAME",
        absent="the one that each training began with",
    )  # fmt: skip
    out: str | None = key(
        None, "the folder of compare.html, compare.json and further audits", "FOLDER",
        absent="nothing is written; further audits: a new one below runs/", values="runs",
    )  # fmt: skip
    resume: bool = key(False, "go on with the comparison in --out")
