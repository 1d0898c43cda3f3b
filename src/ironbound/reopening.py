"""Model and data of a run again, from where its manifest says they are.

Code is loaded only from a file outside the run folder whose digest is the recorded one, or that the user names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ironbound.core.errors import BROKEN, DataError, IronboundError, RunError, UsageError
from ironbound.core.rank import Rank

if TYPE_CHECKING:
    from ironbound.auditing.folder import RunFolder
    from ironbound.data.dataset import Data
    from ironbound.models.model import Model

OPTIONS = ("range", "mean", "std", "outputs", "random")
"""What `Model` is told beside the network."""
KEYS = ("split", "input", "label", "samples", "seed")
"""Of an origin of data, beside its source."""
OURS = "ironbound.models.zoo"
"""The one installed module that a run may name; code elsewhere is named by the path of its file."""


def device_of(name: str) -> str:
    """A device that there is. Raises UsageError for one that there is not."""
    import torch

    ranked = Rank.of()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranked.world > 1:
        name = f"cuda:{ranked.local}"
    if name.startswith("cuda"):
        count, number = torch.cuda.device_count(), int(name.partition(":")[2] or 0)
        if number >= count:
            raise UsageError(f"--device {name}: this machine has {count} CUDA devices. Use --device cpu.")
    return name


def load_data(origin: dict[str, Any]) -> Data:
    """Data as an origin describes them."""
    from ironbound.data import load

    columns = {"input": origin["input"], "label": origin["label"]}
    held_out = bool(origin.get("held_out"))
    samples, seed = origin["samples"], origin["seed"]
    read: dict[str, Any] = {"split": origin["split"], "stream": True if origin.get("stream") else None, **columns}
    data = load(origin["source"], samples=None if held_out else samples, seed=seed, **read)
    if held_out:
        from ironbound.hardening import parted

        return parted(data, None, samples, seed)[1]
    return data


def recorded_origin(run: RunFolder) -> dict[str, Any]:
    """Where the run says that its model and data are; nothing where it says nothing."""
    origin = run.manifest.get("origin")
    return origin if isinstance(origin, dict) else {}


def trusted_code(run: RunFolder, origin: dict[str, Any]) -> str:
    """The recorded architecture. Raises UsageError unless its file is where it was, with the content that it had."""
    from ironbound.models.load import parsed, source_digest

    ask = "Say where the model is: --model file.py:function [--weights FILE]."
    spec = origin.get("architecture")
    if not isinstance(spec, str):
        raise UsageError(f"{run.path} does not say where its model came from. {ask}")
    try:
        path, _ = parsed(spec)
        if path is None and spec.rpartition(":")[0] != OURS:
            raise UsageError(
                f"{run.path}: its model came from the package {spec!r}, which is not imported unasked. {ask}"
            )
        same = source_digest(spec) == origin.get("source")
    except OSError as error:
        raise UsageError(f"{spec}: cannot be read ({error.strerror}). {ask}") from None
    except UsageError as error:
        raise UsageError(
            str(error) if ask in str(error) else f"{run.path}: the recorded model is gone: {error} {ask}"
        ) from None
    if path is not None and path.resolve().is_relative_to(run.path.resolve()):
        raise UsageError(f"{run.path}: its model's code lies in the run folder itself and is not run unasked. {ask}")
    if not same:
        raise UsageError(
            f"{run.path}: the code in {path or spec}, or what it imports from its folder, is not what it was "
            f"when the run was made. {ask}"
        )
    return spec


def trusted_weights(run: RunFolder, origin: dict[str, Any]) -> str | None:
    """The recorded file of weights, where it is what it was; None where there was none. Raises UsageError."""
    from ironbound.models.weights import weights_digest

    weights = origin.get("weights")
    if weights is None:
        return None
    try:
        same = weights_digest(str(weights)) == origin.get("weights_digest")
    except (DataError, OSError) as error:
        raise UsageError(
            f"{run.path}: the recorded weights are gone: {error} Say where they are: --weights FILE."
        ) from None
    if not same:
        raise UsageError(
            f"{run.path}: the weights in {weights} are not what they were when the run was made. "
            "Say where those are: --weights FILE."
        )
    return str(weights)


def is_whole(origin: Any) -> bool:
    """Whether an origin of data says all that `load_data` needs."""
    return isinstance(origin, dict) and {"source", *KEYS} <= set(origin)


def recorded_data(run: RunFolder, **other: Any) -> Data:
    """The recorded data, with some keys of their origin replaced. Raises UsageError where they are gone or not recorded."""
    recorded: Any = recorded_origin(run).get("data")
    if not is_whole(recorded):
        raise UsageError(f"{run.path} does not say where its data came from. Say it: --data PATH.")
    try:
        return load_data({**recorded, **other})
    except IronboundError as error:
        raise UsageError(f"{run.path}: its data cannot be loaded: {error} Say where they are: --data PATH.") from None
    except BROKEN as error:
        raise RunError(
            f"{run.path / 'manifest.json'}: the recorded origin of the data makes no sense ({error})."
        ) from None


def recorded_model(run: RunFolder, device: str = "auto") -> Model:
    """The recorded model, where its code and weights are what they were. Raises UsageError where they are not."""
    from ironbound.models.load import load_module
    from ironbound.models.model import Model

    origin = recorded_origin(run)
    spec, weights = trusted_code(run, origin), trusted_weights(run, origin)
    said = origin.get("options")
    options = {name: value for name, value in said.items() if name in OPTIONS} if isinstance(said, dict) else {}
    net = load_module(spec, weights).to(device_of(device))
    return Model(net, name=str(run.manifest["model"]["name"]), **options)


def must_be_as_recorded(run: RunFolder) -> None:
    """Raise RunError where a file of a finished run is not what it was: before anything is loaded from where it says."""
    altered = run.altered()
    if altered:
        raise RunError(f"{run.path} was altered since the run was finished: {', '.join(altered[:5])}.")
