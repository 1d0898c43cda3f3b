"""What a training is told. What is None is the training's own default; `absent` says which one, and a test holds it to that."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from ironbound.cli.settings.fields import Length, Names, Numbers, Positive, Settings, assigned, key
from ironbound.cli.settings.running import PlaceSettings


class _Training(Settings):
    """The descent."""

    panel: ClassVar[str] = "Training"
    epochs: Positive | None = key(
        None, "passes over the data", "N", unit="epochs", absent="20, of some methods 10 or 40"
    )
    batch: Positive | None = key(None, "samples a step", "N", unit="samples", absent="64")
    rate: float | None = key(
        None,
        "the learning rate at its highest",
        "R",
        unit="step per gradient",
        absent="0.003, of robust-transfer 0.0003",
    )
    optimiser: Literal["adam", "sgd"] | None = key(None, "adam or sgd", "NAME", absent="adam")
    schedule: Literal["constant", "cosine", "cyclic", "step"] | None = key(
        None, "constant, cosine, cyclic, or step: down by --drop at --milestones", "NAME", absent="cosine"
    )
    milestones: Numbers | None = key(
        None, "where the rate drops (step): 0.5,0.75", "S,..", unit="shares of the training", absent="0.5,0.75"
    )
    drop: float | None = key(None, "by what the rate is multiplied there", "F", unit="a factor", absent="0.1")
    transform: Literal["flip", "crop", "flip+crop"] | None = key(
        None, "images are mirrored, moved by some pixels, or both, anew in each epoch", "KIND", absent="neither"
    )
    weight_decay: float | None = key(None, "the pull of the weights towards zero", "W", unit="a factor", absent="0")
    clip: float | None = key(
        None, "the norm to which gradients are shortened", "C", unit="length of the gradient", absent="none, of ibp 10"
    )
    accumulate: Positive | None = key(
        None, "parts in which a batch is run, to save memory", "N", unit="parts", absent="1"
    )
    precision: Literal["32", "bf16", "16"] | None = key(
        None, "of the passes: 32, bf16 (bfloat16), or 16 (float16, on GPUs)", "P", unit="bits", absent="32"
    )
    average: Literal["swa"] | float | None = key(
        None,
        "give back averaged weights: exponentially, by a decay such as 0.995, or swa: the mean of the last epochs",
        "A", unit="share kept an update", absent="off",
    )  # fmt: skip


class _Stopping(_Training):
    """Which weights are given back."""

    panel: ClassVar[str] = "Best weights"
    validation: float | None = key(
        None, "rows held out and attacked after each epoch; the best weights are given back", "N",
        unit="a share below 1, or samples", absent="none",
    )  # fmt: skip
    patience: Positive | None = key(
        None, "stop after so many without a better result on them", "N", unit="epochs", absent="never"
    )
    recover: bool | None = key(
        None, "look for catastrophic overfitting and go back", absent="where the inner attack has a single step"
    )


class _Inner(_Stopping):
    """What the training's own attack does."""

    panel: ClassVar[str] = "Inner attack"
    steps: Positive | None = key(
        None,
        "of the inner attack (pgd)",
        "N",
        unit="steps",
        absent="7, of trades and mart 10, of fgsm-rs, n-fgsm and gradalign 1",
    )
    step: Length | None = key(None, "the length of a step: 2/255", "S", unit="input units", absent="2.5 radii / steps")
    share: Length | None = key(
        None,
        "the same, relative: 1/4",
        "S",
        unit="radii",
        absent="2.5 / steps; trades, mart 0.25; fgsm-rs 1.25; n-fgsm, gradalign, free 1",
    )
    strength: float | None = key(None, "the radius trained at", "S", unit="radii of the threat", absent="1")
    inner: str | None = key(
        None, "an attack of the catalogue in place of the inner attack: apgd", "NAME", absent="none", values="attack"
    )


class _Method(_Inner):
    """What one or the other objective is told."""

    panel: ClassVar[str] = "Settings of single methods"
    kappa_end: float | None = key(None, "the final weight of the clean loss (ibp)", "K", unit="a share", absent="0.5")
    base: str | None = key(
        None,
        "the training that it goes around: pgd, trades (awp, dro, multi-norm)",
        "NAME",
        absent="pgd",
        values="harden",
    )
    beta: float | None = key(None, "the weight of the divergence (trades, mart)", "B", unit="a factor", absent="6")
    weight: float | None = key(
        None, "the weight of the regulariser (gradalign, alp)", "W", unit="a factor", absent="gradalign 0.2, alp 0.5"
    )
    gamma: float | None = key(
        None, "the size of the change of the weights (awp)", "G", unit="norms of the weights", absent="0.01"
    )
    repeats: Positive | None = key(None, "updates on each batch (free)", "N", unit="updates", absent="4")
    how: Literal["worst", "average", "msd", "e-at"] | None = key(
        None, "how sets are joined (multi-norm)", "HOW", absent="worst"
    )
    over: Literal["classes", "samples"] | None = key(
        None, "what is weighted (dro): classes or samples", "WHAT", absent="classes"
    )
    set: Names | None = key(
        None, "further settings of the training: temperature=40,kind=ard,attacks=fgsm+pgd,base=trades", "NAME=VALUE,..",
        absent="the method's",
    )  # fmt: skip


class _Others(_Method):
    """What some trainings are given beside model and data."""

    panel: ClassVar[str] = "Other data and networks"
    labelled: Positive | None = key(
        None, "how many of the data have labels that are read; the rest is unlabelled (semi-supervised) or left out",
        "N", unit="samples", absent="all",
    )  # fmt: skip
    unlabelled: str | None = key(
        None, "further inputs, labels not looked at (semi-supervised)", "PATH", absent="none", values="data"
    )
    teacher: str | None = key(
        None, "a trained network to learn from (distill)", "FILE:NAME", absent="none", values="files"
    )
    teacher_weights: str | None = key(None, "its weights", "FILE", absent="none", values="files")
    held_out_model: Names | None = key(
        None, "other trained networks, whose examples are trained on (ensemble)", "FILE:NAME,..", absent="none",
        values="files",
    )  # fmt: skip
    held_out_weights: Names | None = key(None, "their weights, in that order", "FILE,..", absent="none", values="files")
    start_from: str | None = key(
        None, "weights of a network trained on another task (robust-transfer)", "FILE", absent="none", values="files"
    )


class _Tuning(_Others):
    """A search of settings first."""

    panel: ClassVar[str] = "Tuning"
    tune: Positive | None = key(
        None, "search settings in short trainings first; needs the extra tune (Optuna)", "N", unit="trainings",
        absent="no search",
    )  # fmt: skip
    tune_epochs: Positive | None = key(
        None, "passes over the data of each of them", "N", unit="epochs", absent="a quarter of the training's"
    )
    clean_loss: float = key(
        5.0, "clean accuracy that the chosen trial may lose to the best", "P", unit="percentage points"
    )


class HardenSettings(_Tuning, PlaceSettings):
    """A training between two audits. What is None is the training's own default."""

    method: Names = key(("pgd",), "the training; see `ironbound list defenses`", "NAME", values="harden")
    data: str = key(..., "what to train on", "PATH", values="data")
    split: str = key("train", "its part to train on", "NAME", values="split")
    test: str | None = key(
        None, "what to measure on", "PATH", absent="the data's test part, or a tenth held out", values="data"
    )
    audit: str = key("standard", "the plan of the audits before and after, or none", "PLAN", values="audit")
    panel: ClassVar[str] = "Measured on"

    def of_training(self) -> dict[str, Any]:
        """What was said of the training itself."""
        names = [name for name in _Method.model_fields if name != "set"]
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        return said | dict(assigned(text) for text in self.set or ())
