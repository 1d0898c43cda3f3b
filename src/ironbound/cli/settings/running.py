"""What the verbs are told: a model, data, a threat, a folder, and how to run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ironbound.cli.settings.fields import CHECKS, Count, Limits, Names, Numbers, Positive, Settings, assigned, key


class ModelSettings(Settings):
    """How to open a model."""

    model: str = key(..., "the network: file.py:function, or package.module:function", "FILE:NAME")
    weights: str | None = key(None, "its weights: .safetensors, or .pt with nothing but weights", "FILE")
    range: Limits = key((0.0, 1.0), "lowest and highest valid input value, or none", "LOW,HIGH")
    mean: Numbers | None = key(None, "normalisation in front of the network: one number, or one a channel", "M,..")
    std: Numbers | None = key(None, "the same, what is divided by", "S,..")
    outputs: Literal["auto", "logits", "probabilities", "logit", "probability", "decisions"] = key(
        "auto", "what the network answers", "KIND"
    )
    random: bool = key(False, "the network draws: two passes of one input may differ")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto takes a GPU where there is one",
                        pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"metavar": "NAME"})  # fmt: skip


class DataSettings(Settings):
    """How to load data."""

    data: str = key(..., "a .parquet or .npz file, a folder of .npy files or of pictures, or digits", "PATH")
    split: str = key("test", "the part that is meant, where the data have parts", "NAME")
    input: Names | None = key(None, "the input column; several make one vector", "COL,..")
    label: str | None = key(None, "the label column", "COL")
    samples: Count = key(1000, "how many samples, chosen by the seed; or all", "N")
    seed: int = key(0, "what all draws depend on", "N")
    stream: bool = key(False, "read inputs from disk as they are needed; done anyway where they would fill the memory")


class ThreatSettings(DataSettings, ModelSettings):
    """What every verb needs: a model, data, a threat, a folder."""

    threat: str = key(
        ..., "what the attacker may change: linf:8/255, l2:0.5, l1:12, l0:3 (pixels), linf:8/255|l2:0.5", "SET:RADIUS"
    )
    method: Names = key(
        ("standard",), "the plan: standard, quick, thorough, an attack's name, or a file: plan.yaml", "NAME"
    )
    out: str | None = key(None, "the run folder; a new one below runs/ where none is given", "FOLDER")
    resume: bool = key(False, "go on with the run in --out")


class RunSettings(ThreatSettings):
    """An audit, or one with a single kind of stage."""

    rows: Positive | None = key(None, "model rows in one pass; changes no verdict", "N")
    pool: Positive | None = key(None, "samples in one part of the run folder: what a crash may cost", "N")
    checks: Literal["budget", "full"] = key("budget", CHECKS)
    shard: str | None = key(None, "2/8: the second of eight parts, which ironbound merge puts together", "I/N")
    curve: bool | None = key(None, "find robust accuracy against radius too; by default as the plan says")


class AttackSettings(RunSettings):
    """Attacks alone."""

    method: Names = key(("pgd",), "attacks, one after the other; see `ironbound list attack`", "NAME,..")
    show: bool = key(False, "write found.html: clean and adversarial inputs, the change, the model's answers")


class CertifySettings(RunSettings):
    """Bounds alone."""

    method: Names = key(
        ("ibp",),
        "bounds, one after the other, each on what is left: ibp,crown; see `ironbound list certify`",
        "NAME,..",
    )
    set: Names | None = key(None, "arguments of the bounds: layers=last,steps=10", "NAME=VALUE,..")

    def of_bounds(self) -> dict[str, Any]:
        """What was said of the bounds themselves."""
        return dict(assigned(text) for text in self.set or ())
