"""Weights from a file into a network: plain tensors only, and all of them or none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ironbound.core.errors import DataError, ModelError
from ironbound.core.store import write_bytes

INSIDE = ("state_dict", "model", "model_state_dict", "net")
PREFIXES = ("module.", "_orig_mod.")
HOW = "Save the weights alone: safetensors.torch.save_file(net.state_dict(), 'weights.safetensors')."


def weights_digest(path: str | Path) -> str:
    """SHA-256 in hex of a file of weights. Raises DataError where there is none."""
    with _file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Of a checkpoint its `state_dict` or `model` is taken; the prefix that DataParallel or compiling puts before every
    name is taken off. Raises DataError where the file is damaged, holds no weights, or would run code if it were read.
    """
    file = _file(path)
    if file.suffix == ".safetensors":
        return _plain(file, _safetensors(file))
    if file.suffix in (".pt", ".pth"):
        return _plain(file, _restricted(file))
    raise DataError(
        f"{file}: weights are read from .safetensors, .pt and .pth files; got {file.suffix or 'no suffix'!r}. {HOW}"
    )


def fill(net: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Put weights into the network. Raises ModelError listing what is missing, unexpected or of another shape."""
    own = net.state_dict()
    weights = {**_tied(own, weights), **weights}
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    shapes = [
        f"{name} {tuple(weights[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in own
        if name in weights and isinstance(own[name], Tensor) and own[name].shape != weights[name].shape
    ]
    wrong = {"missing in the file": missing, "unknown to the network": unexpected, "of another shape": shapes}
    if any(wrong.values()):
        said = "; ".join(f"{len(names)} {what}: {_first(names)}" for what, names in wrong.items() if names)
        raise ModelError(
            f"{path}: the weights do not fit {type(net).__name__}: {said}. Are they of another architecture?"
        )
    try:
        net.load_state_dict(weights)
    except Exception as error:  # modules may load in ways of their own
        raise ModelError(f"{path}: {type(net).__name__} does not take the weights: {error}") from error


def _tied(own: Mapping[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that a file holds once and the network knows by several names."""
    key = {
        name: (tensor.data_ptr(), tensor.shape)
        for name, tensor in own.items()
        if isinstance(tensor, Tensor) and tensor.numel()
    }
    held = {key[name]: tensor for name, tensor in weights.items() if name in key}
    return {name: held[place] for name, place in key.items() if name not in weights and place in held}


def _file(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected weights as .safetensors, .pt or .pth.")
    return file


def _safetensors(file: Path) -> Any:
    from safetensors.torch import load_file

    try:
        return load_file(file, device="cpu")
    except Exception as error:  # SafetensorError, and OSError of the file itself
        raise DataError(f"{file}: not a complete safetensors file: {error}. Fetch or save it again.") from error


def _restricted(file: Path) -> Any:
    """torch's own format by its restricted reader, which knows tensors and containers and runs nothing."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols and TorchScript; what matters is raised
            return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, KeyError and others
        said = str(error)
        named = re.search(r"(?:GLOBAL|type|function) ([\w.]+\.[\w.]+)", said)
        if "TorchScript" in said or (named and "Weights only" in said):
            what = f" (it names {named[1]})" if named else ""
            raise DataError(
                f"{file}: refused, because it holds more than plain weights{what} and reading it would run code. {HOW}"
            ) from error
        reason = "not plain weights" if "Weights only" in said else said.split("\n")[0].split(". ")[0][:200]
        raise DataError(
            f"{file}: cannot be read as weights: {reason or type(error).__name__}. Fetch or save it again. {HOW}"
        ) from error


def _plain(file: Path, content: Any) -> dict[str, Tensor]:
    """The dictionary of tensors in a checkpoint, without a prefix that all names share."""
    if isinstance(content, Mapping):
        inside = next((content[key] for key in INSIDE if isinstance(content.get(key), Mapping)), content)
        if inside and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in inside.items()):
            weights = dict(inside)
            for prefix in PREFIXES:
                if all(name.startswith(prefix) for name in weights):
                    weights = {name.removeprefix(prefix): value for name, value in weights.items()}
            return weights
    keys = (
        f"a dict of {_first([str(key) for key in content])}" if isinstance(content, Mapping) else type(content).__name__
    )
    raise DataError(
        f"{file}: expected tensors by name, or a checkpoint with them under {' or '.join(INSIDE)}; got {keys}. {HOW}"
    )


def _first(names: list[str]) -> str:
    return (", ".join(names[:5]) or "nothing") + (", ..." if len(names) > 5 else "")


def save_weights(net: nn.Module, path: Path) -> None:
    """Write the state of a network as safetensors, whole or not at all; tied weights are written under each name."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in net.state_dict().items()}
    write_bytes(path, save(state))
