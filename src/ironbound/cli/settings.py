"""What a run is told, at the prompt or in a YAML file: the same keys, validated once, with messages that name the key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ironbound.core.errors import UsageError


def _listed(value: Any) -> Any:
    """ "a,b" as two parts; a single number or a list as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) else value


def _each(value: Any) -> Any:
    """One text, or several: flags that are given several times, or a list in a file."""
    return [value] if isinstance(value, str) else value


def _parts(value: Any) -> Any:
    """The same, each with parts between commas."""
    texts = _each(value)
    return [part for text in texts for part in _listed(text)] if isinstance(texts, list) else texts


def _ratio(value: Any) -> Any:
    """2/255, as papers and threats write lengths, as a number; all else as it is."""
    above, slash, below = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        return float(above) / float(below) if slash else value
    except (ValueError, ZeroDivisionError):
        return value


def _limits(value: Any) -> Any:
    return None if value == "none" else _listed(value)


def _count(value: Any) -> Any:
    return None if value == "all" else value


def _key(default: Any, words: str, shape: str = "TEXT", several: bool = False) -> Any:
    """A field: its default, what it means, what its value looks like in the help, and whether its flag may be repeated."""
    return Field(default, description=words, json_schema_extra={"metavar": shape, "several": several})


Numbers = Annotated[tuple[float, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_each)]
Lists = Annotated[tuple[str, ...], BeforeValidator(_parts)]
Limits = Annotated[tuple[float, float] | None, BeforeValidator(_limits)]
Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_count)]
Positive = Annotated[int, Field(ge=1)]
Length = Annotated[float, BeforeValidator(_ratio)]
CHECKS = "budget: they cost about half of what the verdicts do; full: they look at all they would like to"


class Settings(BaseModel):
    """Keys with values; there are no others."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)


class ModelSettings(Settings):
    """How to open a model."""

    model: str = _key(..., "the network: file.py:function, or package.module:function", "FILE:NAME")
    weights: str | None = _key(None, "its weights: .safetensors, or .pt with nothing but weights", "FILE")
    range: Limits = _key((0.0, 1.0), "lowest and highest valid input value, or none", "LOW,HIGH")
    mean: Numbers | None = _key(None, "normalisation in front of the network: one number, or one a channel", "M,..")
    std: Numbers | None = _key(None, "the same, what is divided by", "S,..")
    outputs: Literal["auto", "logits", "probabilities", "logit", "probability", "decisions"] = _key(
        "auto", "what the network answers", "KIND"
    )
    random: bool = _key(False, "the network draws: two passes of one input may differ")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto takes a GPU where there is one",
                        pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"metavar": "NAME"})  # fmt: skip


class DataSettings(Settings):
    """How to load data."""

    data: str = _key(..., "a .parquet or .npz file, a folder of .npy files or of pictures, or digits", "PATH")
    split: str = _key("test", "the part that is meant, where the data have parts", "NAME")
    input: Names | None = _key(None, "the input column; several make one vector", "COL,..")
    label: str | None = _key(None, "the label column", "COL")
    samples: Count = _key(1000, "how many samples, chosen by the seed; or all", "N")
    seed: int = _key(0, "what all draws depend on", "N")
    stream: bool = _key(False, "read inputs from disk as they are needed; done anyway where they would fill the memory")


class ThreatSettings(DataSettings, ModelSettings):
    """What every verb needs: a model, data, a threat, a folder."""

    threat: str = _key(
        ..., "what the attacker may change: linf:8/255, l2:0.5, l1:12, l0:3 (pixels), linf:8/255|l2:0.5", "SET:RADIUS"
    )
    method: Names = _key(
        ("standard",), "the plan: standard, quick, thorough, an attack's name, or a file: plan.yaml", "NAME"
    )
    out: str | None = _key(None, "the run folder; a new one below runs/ where none is given", "FOLDER")
    resume: bool = _key(False, "go on with the run in --out")


class RunSettings(ThreatSettings):
    """An audit, or one with a single kind of stage."""

    rows: Positive | None = _key(None, "model rows in one pass; changes no verdict", "N")
    pool: Positive | None = _key(None, "samples in one part of the run folder: what a crash may cost", "N")
    checks: Literal["budget", "full"] = _key("budget", CHECKS)
    shard: str | None = _key(None, "2/8: the second of eight parts, which ironbound merge puts together", "I/N")
    curve: bool | None = _key(None, "find robust accuracy against radius too; by default as the plan says")


class AttackSettings(RunSettings):
    """Attacks alone."""

    method: Names = _key(("pgd",), "attacks, one after the other; see `ironbound list attack`", "NAME,..")
    show: bool = _key(False, "write found.html: clean and adversarial inputs, the change, the model's answers")


class CertifySettings(RunSettings):
    """Bounds alone."""

    method: Names = _key(
        ("ibp",),
        "bounds, one after the other, each on what is left: ibp,crown; see `ironbound list certify`",
        "NAME,..",
    )
    set: Names | None = _key(None, "arguments of the bounds: layers=last,steps=10", "NAME=VALUE,..")

    def of_bounds(self) -> dict[str, Any]:
        """What was said of the bounds themselves."""
        return dict(_assigned(text) for text in self.set or ())


class HardenSettings(ThreatSettings):
    """A training between two audits. What is None is the training's own default."""

    method: Names = _key(("pgd",), "the training; see `ironbound list harden`", "NAME")
    data: str = _key(..., "what to train on", "PATH")
    split: str = _key("train", "its part to train on", "NAME")
    test: str | None = _key(None, "what to measure on; by default the data's test part, or a tenth held out", "PATH")
    audit: str = _key("standard", "the plan of the audits before and after, or none", "PLAN")
    epochs: Positive | None = _key(None, "passes over the data", "N")
    batch: Positive | None = _key(None, "samples a step", "N")
    rate: float | None = _key(None, "the learning rate at its highest", "R")
    optimiser: Literal["adam", "sgd"] | None = _key(None, "adam or sgd", "NAME")
    schedule: Literal["constant", "cosine", "cyclic", "step"] | None = _key(
        None, "constant, cosine, cyclic, or step: down by --drop at --milestones", "NAME"
    )
    milestones: Numbers | None = _key(None, "where the rate drops (step), in shares of the training: 0.5,0.75", "S,..")
    drop: float | None = _key(None, "the factor by which it drops", "F")
    transform: Literal["flip", "crop", "flip+crop"] | None = _key(
        None, "images are mirrored, moved by some pixels, or both, anew in each epoch", "KIND"
    )
    average: Literal["swa"] | float | None = _key(
        None,
        "give back averaged weights: exponentially, by a decay such as 0.995, or swa: the mean of the last epochs",
        "A",
    )
    validation: float | None = _key(
        None,
        "a share or number of training rows held out, attacked after each epoch; the best weights are given back",
        "N",
    )
    patience: Positive | None = _key(None, "stop after so many epochs without a better result on them", "N")
    recover: bool | None = _key(
        None, "look for catastrophic overfitting and go back; by default where the inner attack has a single step"
    )
    weight_decay: float | None = _key(None, "the pull of the weights towards zero", "W")
    clip: float | None = _key(None, "the norm to which gradients are shortened", "C")
    accumulate: Positive | None = _key(None, "parts in which a batch is run, to save memory", "N")
    precision: Literal["32", "bf16", "16"] | None = _key(
        None, "of the passes: 32, bf16 (bfloat16), or 16 (float16, on GPUs)", "P"
    )
    steps: Positive | None = _key(None, "of the inner attack (pgd)", "N")
    kappa_end: float | None = _key(None, "the final weight of the clean loss (ibp)", "K")
    strength: float | None = _key(None, "the radius trained at, in radii of the threat", "S")
    tune: Positive | None = _key(
        None, "search settings in so many short trainings first; needs the extra tune (Optuna)", "N"
    )
    tune_epochs: Positive | None = _key(None, "epochs of each; by default a quarter of the training's", "N")
    clean_loss: float = _key(5.0, "points of clean accuracy that the chosen trial may lose to the best", "P")
    step: Length | None = _key(None, "the length of a step of the inner attack, in input units: 2/255", "S")
    share: Length | None = _key(None, "the same, in radii: 1/4", "S")
    inner: str | None = _key(None, "an attack of the catalogue in place of the inner attack: apgd", "NAME")
    base: str | None = _key(None, "the training that it goes around: pgd, trades (awp, dro, multi-norm)", "NAME")
    beta: float | None = _key(None, "the weight of the divergence (trades, mart)", "B")
    weight: float | None = _key(None, "the weight of the regulariser (gradalign, alp)", "W")
    gamma: float | None = _key(None, "the size of the change of the weights (awp)", "G")
    repeats: Positive | None = _key(None, "updates on each batch (free)", "N")
    how: Literal["worst", "average", "msd", "e-at"] | None = _key(None, "how sets are joined (multi-norm)", "HOW")
    over: Literal["classes", "samples"] | None = _key(None, "what is weighted (dro): classes or samples", "WHAT")
    set: Names | None = _key(
        None, "further settings of the training: temperature=40,kind=ard,attacks=fgsm+pgd,base=trades", "NAME=VALUE,.."
    )
    labelled: Positive | None = _key(
        None,
        "how many of the data have labels that are read; the rest is unlabelled (semi-supervised) or left out",
        "N",
    )
    unlabelled: str | None = _key(None, "further inputs, labels not looked at (semi-supervised)", "PATH")
    teacher: str | None = _key(None, "a trained network to learn from (distill)", "FILE:NAME")
    teacher_weights: str | None = _key(None, "its weights", "FILE")
    held_out_model: Names | None = _key(
        None, "other trained networks, whose examples are trained on (ensemble)", "FILE:NAME,.."
    )
    held_out_weights: Names | None = _key(None, "their weights, in that order", "FILE,..")
    start_from: str | None = _key(None, "weights of a network trained on another task (robust-transfer)", "FILE")

    def of_training(self) -> dict[str, Any]:
        """What was said of the training itself."""
        names = (
            "epochs", "batch", "rate", "optimiser", "schedule", "weight_decay", "clip", "accumulate", "precision", "steps",
            "milestones", "drop", "transform", "average", "validation", "patience", "recover",
            "kappa_end", "strength", "step", "share", "inner", "base", "beta", "weight", "gamma", "repeats", "how", "over",
        )  # fmt: skip
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        return said | dict(_assigned(text) for text in self.set or ())


def _assigned(text: str) -> tuple[str, Any]:
    """name=value as a pair: a number, yes or no, a text, or several of them joined by +. Raises UsageError."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise UsageError(f"--set is NAME=VALUE,.., such as temperature=40; got {text!r}.")
    found = _value(value)
    if isinstance(found, str) and "+" in found:
        found = tuple(_value(part) for part in found.split("+"))
    return name.replace("-", "_"), found


def _value(text: str) -> Any:
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class VerifySettings(DataSettings, ModelSettings):
    """Another place of model or data than the one that the run recorded."""

    model: str | None = _key(None, "the network, where the recorded one is gone or another", "FILE:NAME")  # type: ignore[assignment]
    data: str | None = _key(None, "the data, where the recorded ones are gone or others", "PATH")  # type: ignore[assignment]
    samples: Count = _key(None, "how many samples of --data were audited", "N")


class MergeSettings(VerifySettings):
    """Where the whole run goes, and what its checks need."""

    out: str = _key(..., "the folder of the whole run", "FOLDER")
    method: Names | None = _key(None, "the plan of the shards, where it is a file", "NAME")
    curve: bool | None = _key(None, "find robust accuracy against radius too; by default as the plan says")
    resume: bool = _key(False, "go on with a merge that was interrupted, or was made without the model")
    rows: Positive | None = _key(None, "model rows in one pass; changes no verdict", "N")
    checks: Literal["budget", "full"] = _key("budget", CHECKS)


class CompareSettings(Settings):
    """What every model of the runs is audited by, beside what its run says of it."""

    threat: Texts = _key((), "a further threat, such as a norm not trained on; may be repeated", "SET:RADIUS", True)
    method: Lists = _key((), "attacks, each alone against the run's own threat", "NAME,..", True)
    audit: str = _key("standard", "the plan of the audits under further threats", "PLAN")
    transfer: bool = _key(False, "try the witnesses of each model on the others")
    out: str | None = _key(None, "the folder of compare.json and of further audits", "FOLDER")
    resume: bool = _key(False, "go on with the comparison in --out")


S = TypeVar("S", bound=Settings)


def settings_of(kind: type[S], flags: dict[str, Any], config: str | None = None) -> S:
    """The settings of a file, overridden by flags. Raises UsageError that names the key."""
    values = {**({} if config is None else read_yaml(Path(config))), **flags}
    try:
        return kind(**values)
    except ValidationError as error:
        problems = {problem["loc"][:1]: problem for problem in reversed(error.errors())}  # the first of each key
        raise UsageError("; ".join(_said(kind, values, problem) for problem in reversed(problems.values()))) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of keys and values. Raises UsageError for anything else."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f'--config {path}: lines of "key: value" are expected, such as "threat: linf:0.3".')
    return {key.replace("-", "_"): value for key, value in content.items()}


def _said(kind: type[Settings], values: dict[str, Any], problem: Any) -> str:
    """One problem in words."""
    key = str(problem["loc"][0]) if problem["loc"] else "settings"
    flag = f"--{key.replace('_', '-')}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, kind.model_fields, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return f"there is no key {key!r}. {hint}There are: {', '.join(sorted(kind.model_fields))}"
    words = kind.model_fields[key].description if key in kind.model_fields else ""
    if key not in values:
        return f"{flag} is missing: {words}"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"{flag} is {words}; got {values[key]!r} ({reason[:1].lower()}{reason[1:]})"
