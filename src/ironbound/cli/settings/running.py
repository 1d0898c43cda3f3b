"""What the verbs are told: a model, data, a threat, a folder, and how to run."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ironbound.cli.settings.fields import (
    ATTRIBUTIONS,
    CHECKS,
    Count,
    Limits,
    Lists,
    Names,
    Numbers,
    Positive,
    Settings,
    assigned,
    key,
)

RAW = "input units"


class ModelSettings(Settings):
    """How to open a model."""

    panel: ClassVar[str] = "Model"
    model: str = key(..., "the network: file.py:function, or package.module:function", "FILE:NAME", values="files")
    weights: str | None = key(
        None, "its weights: .safetensors, or .pt with nothing but weights", "FILE",
        absent="as the function makes them", values="files",
    )  # fmt: skip
    range: Limits = key((0.0, 1.0), "lowest and highest valid input value, or none", "LOW,HIGH", unit=RAW)
    mean: Numbers | None = key(
        None, "normalisation in front of the network: one number, or one a channel", "M,..", unit=RAW, absent="none"
    )
    std: Numbers | None = key(None, "the same, what is divided by", "S,..", unit=RAW, absent="none")
    outputs: Literal["auto", "logits", "probabilities", "logit", "probability", "decisions"] = key(
        "auto", "what the network answers", "KIND"
    )
    random: bool = key(False, "the network draws: two passes of one input may differ")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto takes a GPU where there is one",
                        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
                        json_schema_extra={"metavar": "NAME", "values": "device"})  # fmt: skip


class DataSettings(Settings):
    """How to load data."""

    panel: ClassVar[str] = "Data"
    data: str = key(..., "a .parquet or .npz file, a folder of .npy files or of pictures, or digits", "PATH",
                    values="data")  # fmt: skip
    split: str = key("test", "the part that is meant, where the data have parts", "NAME", values="split")
    input: Names | None = key(
        None, "the input column; several make one vector", "COL,..", absent="found by name and kind"
    )
    label: str | None = key(None, "the label column", "COL", absent="found by name")
    samples: Count = key(1000, "how many samples, chosen by the seed; or all", "N", unit="samples")
    seed: int = key(0, "what all draws depend on", "N", unit="any whole number")
    stream: bool = key(False, "read inputs from disk as they are needed; done anyway where they would fill the memory")


class ProbeSettings(DataSettings, ModelSettings):
    """What is looked at before anything is attacked."""

    samples: Count = key(256, "how many samples are looked at, chosen by the seed; or all", "N", unit="samples")
    threat: str | None = key(
        None, "a threat, to hear which attacks and bounds go with it: linf:8/255; radii in input units", "SET:RADIUS",
        absent="none", values="threat",
    )  # fmt: skip
    rows: Positive | None = key(None, "the most in one pass", "N", unit="model rows", absent="what fits into memory")
    panel: ClassVar[str] = "Probe"


class ThreatSettings(DataSettings, ModelSettings):
    """What is to be found out: the threat, and by which method."""

    panel: ClassVar[str] = "Threat"
    threat: str = key(
        ..., "what the attacker may change: linf:8/255, l2:0.5, l1:12, l0:3 (pixels), linf:8/255|l2:0.5; "
        "radii in input units. `ironbound list sets` has all", "SET:RADIUS", values="threat",
    )  # fmt: skip
    method: Names = key(
        ("standard",), "the plan: standard, quick, thorough, an attack's name, or a file: plan.yaml", "NAME",
        values="audit",
    )  # fmt: skip


class PlaceSettings(ThreatSettings):
    """Where the run goes."""

    panel: ClassVar[str] = "Run"
    out: str | None = key(None, "the run folder", "FOLDER", absent="a new one below runs/", values="runs")
    resume: bool = key(False, "go on with the run in --out")


class RunSettings(PlaceSettings):
    """An audit, or one with a single kind of stage."""

    panel: ClassVar[str] = "Run"
    rows: Positive | None = key(
        None, "the most in one pass; changes no verdict", "N", unit="model rows", absent="what fits into memory"
    )
    pool: Positive | None = key(
        None, "what stands in one part of the run folder: what a crash may cost", "N", unit="samples",
        absent="by the number of samples",
    )  # fmt: skip
    checks: Literal["budget", "full"] = key("budget", CHECKS, "HOW")
    shard: str | None = key(
        None, "2/8: the second of eight parts, which ironbound merge puts together", "I/N", absent="the whole"
    )
    curve: bool | None = key(None, "find robust accuracy against radius too", absent="as the plan says")
    attributions: Names = key(("gradient", "integrated"), ATTRIBUTIONS, "NAME,..", values="attribution")
    slice_by: Lists | None = key(
        None, "further columns of the data by whose values samples are told apart; many numbers become bins", "COL,..",
        absent="all with few values", several=True,
    )  # fmt: skip


class AttackSettings(RunSettings):
    """Attacks alone."""

    method: Names = key(
        ("pgd",), "attacks, one after the other; see `ironbound list attacks`", "NAME,..", values="attack"
    )
    show: bool = key(False, "write found.html: clean and adversarial inputs, the change, the model's answers")


class CertifySettings(RunSettings):
    """Bounds alone."""

    method: Names = key(
        ("ibp",), "bounds, one after the other, each on what is left: ibp,crown; see `ironbound list bounds`", "NAME,..",
        values="certify",
    )  # fmt: skip
    set: Names | None = key(
        None, "arguments of the bounds: layers=last,steps=10", "NAME=VALUE,..", absent="the bounds' own"
    )

    def of_bounds(self) -> dict[str, Any]:
        """What was said of the bounds themselves."""
        return dict(assigned(text) for text in self.set or ())
