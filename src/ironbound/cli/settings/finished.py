"""What is told about runs that are finished: to check, to put together, to compare."""

from __future__ import annotations

from typing import Literal

from ironbound.cli.settings.fields import CHECKS, Count, Lists, Names, Positive, Settings, Texts, key
from ironbound.cli.settings.running import DataSettings, ModelSettings


class VerifySettings(DataSettings, ModelSettings):
    """Another place of model or data than the one that the run recorded."""

    model: str | None = key(None, "the network, where the recorded one is gone or another", "FILE:NAME")  # type: ignore[assignment]
    data: str | None = key(None, "the data, where the recorded ones are gone or others", "PATH")  # type: ignore[assignment]
    samples: Count = key(None, "how many samples of --data were audited", "N")


class MergeSettings(VerifySettings):
    """Where the whole run goes, and what its checks need."""

    out: str = key(..., "the folder of the whole run", "FOLDER")
    method: Names | None = key(None, "the plan of the shards, where it is a file", "NAME")
    curve: bool | None = key(None, "find robust accuracy against radius too; by default as the plan says")
    resume: bool = key(False, "go on with a merge that was interrupted, or was made without the model")
    rows: Positive | None = key(None, "model rows in one pass; changes no verdict", "N")
    checks: Literal["budget", "full"] = key("budget", CHECKS)


class CompareSettings(Settings):
    """What every model of the runs is audited by, beside what its run says of it."""

    threat: Texts = key((), "a further threat, such as a norm not trained on; may be repeated", "SET:RADIUS", True)
    method: Lists = key((), "attacks, each alone against the run's own threat", "NAME,..", True)
    audit: str = key("standard", "the plan of the audits under further threats", "PLAN")
    transfer: bool = key(False, "try the witnesses of each model on the others")
    out: str | None = key(None, "the folder of compare.json and of further audits", "FOLDER")
    resume: bool = key(False, "go on with the comparison in --out")
