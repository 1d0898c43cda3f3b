"""From settings to a model and data, and what a run's manifest keeps so that both can be opened again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.cli.settings import DataSettings, HardenSettings, ModelSettings
from ironbound.core.errors import UsageError
from ironbound.reopening import OPTIONS, device_of, load_data

if TYPE_CHECKING:
    from ironbound.data.dataset import Data
    from ironbound.models.model import Model


def open_model(settings: ModelSettings) -> Model:
    """The network with its weights, on the device that is meant."""
    from ironbound.models.load import load_module
    from ironbound.models.model import Model

    device = device_of(settings.device)
    net = load_module(settings.model, settings.weights).to(device)
    return Model(net, name=settings.model.rpartition(":")[2], **options_of(settings))


def options_of(settings: ModelSettings) -> dict[str, Any]:
    """What `Model` is told beside the network."""
    return {name: getattr(settings, name) for name in OPTIONS}


def open_given(settings: HardenSettings) -> dict[str, Any]:
    """What a training is given beside model and data. Other networks are wrapped as the model is."""
    if settings.teacher is None and settings.teacher_weights is not None:
        raise UsageError("--teacher-weights are those of --teacher FILE:NAME; say which network it is.")
    held_out, weights = settings.held_out_model or (), settings.held_out_weights or ()
    if weights and len(weights) != len(held_out):
        raise UsageError(
            f"--held-out-weights has {len(weights)} files for {len(held_out)} networks (--held-out-model)."
        )
    also = lambda spec, file: open_model(settings.model_copy(update={"model": spec, "weights": file}))
    return {
        "teacher": None if settings.teacher is None else also(settings.teacher, settings.teacher_weights),
        "models": tuple(also(spec, weights[i] if weights else None) for i, spec in enumerate(held_out)),
        "unlabelled": settings.unlabelled,
        "source": settings.start_from,
        "labelled": settings.labelled,
    }


def open_data(settings: DataSettings) -> Data:
    """The samples that are meant."""
    return load_data(data_origin(settings))


def data_origin(settings: DataSettings) -> dict[str, Any]:
    """Where the data are, in a form that stays true in another working folder."""
    return {
        "source": _absolute(settings.data),
        "split": settings.split,
        "input": None if settings.input is None else list(settings.input),
        "label": settings.label,
        "samples": settings.samples,
        "seed": settings.seed,
        **({"stream": True} if settings.stream else {}),
    }


def training_origins(settings: HardenSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """What to train on and what to measure on: `--test`, else the data's own test part, else a tenth held out."""
    whole = {**data_origin(settings), "samples": None}
    measured = data_origin(settings)
    if settings.test is not None:
        return whole, {**measured, "source": _absolute(settings.test), "split": "test"}
    folder = Path(whole["source"])
    parts = whole["source"] == "digits" or (folder / "test").is_dir() or (folder / "test.parquet").is_file()
    if parts and settings.split != "test":
        return whole, {**measured, "split": "test"}
    return whole, {**measured, "held_out": True}


def origin_of(settings: ModelSettings, data: dict[str, Any]) -> dict[str, Any]:
    """What the manifest keeps."""
    from ironbound.models.open import origin_of as model_origin

    return {**model_origin(settings.weights, settings.model, options_of(settings)), "data": data}


def _absolute(source: str) -> str:
    if source.partition(":")[0] == "digits":
        return source
    return str(Path(source).expanduser().resolve())
