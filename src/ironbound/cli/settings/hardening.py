"""What a training is told. What is None is the training's own default."""

from __future__ import annotations

from typing import Any, Literal

from ironbound.cli.settings.fields import Length, Names, Numbers, Positive, assigned, key
from ironbound.cli.settings.running import ThreatSettings


class HardenSettings(ThreatSettings):
    """A training between two audits. What is None is the training's own default."""

    method: Names = key(("pgd",), "the training; see `ironbound list harden`", "NAME")
    data: str = key(..., "what to train on", "PATH")
    split: str = key("train", "its part to train on", "NAME")
    test: str | None = key(None, "what to measure on; by default the data's test part, or a tenth held out", "PATH")
    audit: str = key("standard", "the plan of the audits before and after, or none", "PLAN")
    epochs: Positive | None = key(None, "passes over the data", "N")
    batch: Positive | None = key(None, "samples a step", "N")
    rate: float | None = key(None, "the learning rate at its highest", "R")
    optimiser: Literal["adam", "sgd"] | None = key(None, "adam or sgd", "NAME")
    schedule: Literal["constant", "cosine", "cyclic", "step"] | None = key(
        None, "constant, cosine, cyclic, or step: down by --drop at --milestones", "NAME"
    )
    milestones: Numbers | None = key(None, "where the rate drops (step), in shares of the training: 0.5,0.75", "S,..")
    drop: float | None = key(None, "the factor by which it drops", "F")
    transform: Literal["flip", "crop", "flip+crop"] | None = key(
        None, "images are mirrored, moved by some pixels, or both, anew in each epoch", "KIND"
    )
    average: Literal["swa"] | float | None = key(
        None,
        "give back averaged weights: exponentially, by a decay such as 0.995, or swa: the mean of the last epochs",
        "A",
    )
    validation: float | None = key(
        None,
        "a share or number of training rows held out, attacked after each epoch; the best weights are given back",
        "N",
    )
    patience: Positive | None = key(None, "stop after so many epochs without a better result on them", "N")
    recover: bool | None = key(
        None, "look for catastrophic overfitting and go back; by default where the inner attack has a single step"
    )
    weight_decay: float | None = key(None, "the pull of the weights towards zero", "W")
    clip: float | None = key(None, "the norm to which gradients are shortened", "C")
    accumulate: Positive | None = key(None, "parts in which a batch is run, to save memory", "N")
    precision: Literal["32", "bf16", "16"] | None = key(
        None, "of the passes: 32, bf16 (bfloat16), or 16 (float16, on GPUs)", "P"
    )
    steps: Positive | None = key(None, "of the inner attack (pgd)", "N")
    kappa_end: float | None = key(None, "the final weight of the clean loss (ibp)", "K")
    strength: float | None = key(None, "the radius trained at, in radii of the threat", "S")
    tune: Positive | None = key(
        None, "search settings in so many short trainings first; needs the extra tune (Optuna)", "N"
    )
    tune_epochs: Positive | None = key(None, "epochs of each; by default a quarter of the training's", "N")
    clean_loss: float = key(5.0, "points of clean accuracy that the chosen trial may lose to the best", "P")
    step: Length | None = key(None, "the length of a step of the inner attack, in input units: 2/255", "S")
    share: Length | None = key(None, "the same, in radii: 1/4", "S")
    inner: str | None = key(None, "an attack of the catalogue in place of the inner attack: apgd", "NAME")
    base: str | None = key(None, "the training that it goes around: pgd, trades (awp, dro, multi-norm)", "NAME")
    beta: float | None = key(None, "the weight of the divergence (trades, mart)", "B")
    weight: float | None = key(None, "the weight of the regulariser (gradalign, alp)", "W")
    gamma: float | None = key(None, "the size of the change of the weights (awp)", "G")
    repeats: Positive | None = key(None, "updates on each batch (free)", "N")
    how: Literal["worst", "average", "msd", "e-at"] | None = key(None, "how sets are joined (multi-norm)", "HOW")
    over: Literal["classes", "samples"] | None = key(None, "what is weighted (dro): classes or samples", "WHAT")
    set: Names | None = key(
        None, "further settings of the training: temperature=40,kind=ard,attacks=fgsm+pgd,base=trades", "NAME=VALUE,.."
    )
    labelled: Positive | None = key(
        None,
        "how many of the data have labels that are read; the rest is unlabelled (semi-supervised) or left out",
        "N",
    )
    unlabelled: str | None = key(None, "further inputs, labels not looked at (semi-supervised)", "PATH")
    teacher: str | None = key(None, "a trained network to learn from (distill)", "FILE:NAME")
    teacher_weights: str | None = key(None, "its weights", "FILE")
    held_out_model: Names | None = key(
        None, "other trained networks, whose examples are trained on (ensemble)", "FILE:NAME,.."
    )
    held_out_weights: Names | None = key(None, "their weights, in that order", "FILE,..")
    start_from: str | None = key(None, "weights of a network trained on another task (robust-transfer)", "FILE")

    def of_training(self) -> dict[str, Any]:
        """What was said of the training itself."""
        names = (
            "epochs", "batch", "rate", "optimiser", "schedule", "weight_decay", "clip", "accumulate", "precision", "steps",
            "milestones", "drop", "transform", "average", "validation", "patience", "recover",
            "kappa_end", "strength", "step", "share", "inner", "base", "beta", "weight", "gamma", "repeats", "how", "over",
        )  # fmt: skip
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        return said | dict(assigned(text) for text in self.set or ())
