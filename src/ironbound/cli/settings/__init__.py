"""What a run is told, at the prompt or in a YAML file: the same keys, validated once, with messages that name the key."""

from ironbound.cli.settings.fields import Settings
from ironbound.cli.settings.finished import CompareSettings, MergeSettings, VerifySettings
from ironbound.cli.settings.hardening import HardenSettings
from ironbound.cli.settings.pipeline import GateSettings, LogSettings
from ironbound.cli.settings.reading import read_yaml, settings_of
from ironbound.cli.settings.running import (
    AttackSettings,
    CertifySettings,
    DataSettings,
    ModelSettings,
    ProbeSettings,
    RunSettings,
    ThreatSettings,
)

__all__ = [
    "AttackSettings",
    "CertifySettings",
    "CompareSettings",
    "DataSettings",
    "GateSettings",
    "HardenSettings",
    "LogSettings",
    "MergeSettings",
    "ModelSettings",
    "ProbeSettings",
    "RunSettings",
    "Settings",
    "ThreatSettings",
    "VerifySettings",
    "read_yaml",
    "settings_of",
]
