"""`ironbound verify`: a finished run again, with model and data from where the run says or from where the user says.

Code is loaded only from a file outside the run folder whose digest is the recorded one, or that the user names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.cli.opening import OPTIONS, load_data, open_data, open_model
from ironbound.cli.settings import ModelSettings, VerifySettings, settings_of
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import DataError, IronboundError, RunError, UsageError

if TYPE_CHECKING:
    from ironbound.auditing.folder import RunFolder
    from ironbound.auditing.verify import Verification
    from ironbound.data.dataset import Data
    from ironbound.models.model import Model

OURS = "ironbound.models.zoo"
"""The one installed module that a run may name; code elsewhere is named by the path of its file."""
MOST = 20
"""Failures that are listed."""
BROKEN: tuple[type[Exception], ...] = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
"""What a folder that was altered by hand makes its readers raise."""


def runs_in(place: str) -> list[Path]:
    """The folder itself, or the runs in it, oldest first. Raises RunError where it is neither."""
    path = Path(place).expanduser()
    if (path / "manifest.json").exists() or not path.is_dir():
        return [path]
    inside = [folder for folder in path.iterdir() if (folder / "manifest.json").exists()]
    if not inside:
        raise RunError(f"{path} holds no run: manifest.json is missing. Give the folder that was --out of a run.")
    return sorted(inside, key=lambda folder: (_created(folder), folder.name))


def _created(folder: Path) -> str:
    from ironbound.core.store import read_json

    try:
        manifest = read_json(folder / "manifest.json")
    except RunError:  # `verify` says what is wrong with it
        return ""
    return str(manifest.get("created")) if isinstance(manifest, dict) else ""


def run_verify(places: list[str], settings: VerifySettings, terminal: Terminal) -> int:
    """0 where everything holds, 1 where something does not."""
    found = {}
    folders = [folder for place in places for folder in runs_in(place)]
    with terminal.progress() as display:
        for folder in folders:
            listener = display.listener(folder.name if len(folders) > 1 else "")
            found[str(folder)] = _checked(folder, settings, listener)
    if terminal.json:
        facts = [{"folder": name, **_facts(check)} for name, check in found.items()]
        terminal.data(facts[0] if len(facts) == 1 else facts)
    else:
        for name, check in found.items():
            _say(terminal, name, check)
    return 0 if all(check.holds for check in found.values()) else 1


def _checked(folder: Path, settings: VerifySettings, progress: Any) -> Verification:
    """What holds. What cannot be opened raises; what is damaged or of another model or data set does not hold."""
    from ironbound.auditing.folder import RunFolder
    from ironbound.auditing.verify import Verification, verify

    if not (folder / "manifest.json").exists():
        raise RunError(f"{folder} holds no run: manifest.json is missing. Give the folder that was --out of a run.")
    try:
        run = RunFolder.open(folder)
        altered = run.altered()  # before anything is loaded from where the manifest says
        if altered:
            return Verification(
                failures=[f"{name} was altered or taken away since the run finished" for name in altered]
            )
    except RunError as error:
        return Verification(failures=[str(error)])
    model, data = model_of(run, settings), data_of(run, settings)
    try:
        return verify(run, model, data, progress)
    except (RunError, DataError) as error:
        return Verification(failures=[str(error)])
    except BROKEN as error:
        return Verification(failures=[f"the folder cannot be read ({type(error).__name__}: {error}); it was altered"])


def model_of(run: RunFolder, settings: VerifySettings) -> Model:
    """The model that the user names, or the recorded one where its code is what it was."""
    origin = _origin(run)
    given = settings.model_fields_set
    architecture = settings.model if settings.model is not None else _trusted_code(run, origin)
    weights = settings.weights if "weights" in given else _trusted_weights(run, origin)
    recorded = origin.get("options")
    options = {name: value for name, value in recorded.items() if name in OPTIONS} if isinstance(recorded, dict) else {}
    options |= {name: getattr(settings, name) for name in OPTIONS if name in given}
    values = {"model": architecture, "weights": weights, "device": settings.device, **options}
    return open_model(settings_of(ModelSettings, values))


def _origin(run: RunFolder) -> dict[str, Any]:
    origin = run.manifest.get("origin")
    return origin if isinstance(origin, dict) else {}


def _trusted_code(run: RunFolder, origin: dict[str, Any]) -> str:
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


def _trusted_weights(run: RunFolder, origin: dict[str, Any]) -> str | None:
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


def data_of(run: RunFolder, settings: VerifySettings) -> Data:
    """The data that the user names, or the recorded ones; that they are the same is checked by fingerprint."""
    recorded = _origin(run).get("data")
    keys = ("split", "input", "label", "samples", "seed")
    given = {name: getattr(settings, name) for name in (*keys, "stream") if name in settings.model_fields_set}
    if not isinstance(recorded, dict) or not {"source", *keys} <= set(recorded):
        if settings.data is None:
            raise UsageError(f"{run.path} does not say where its data came from. Say it: --data PATH.")
        return open_data(settings)
    source = {} if settings.data is None else {"source": settings.data}
    try:
        return load_data({**recorded, **source, **given})
    except IronboundError as error:
        raise UsageError(f"{run.path}: its data cannot be loaded: {error} Say where they are: --data PATH.") from None
    except BROKEN as error:
        raise RunError(
            f"{run.path / 'manifest.json'}: the recorded origin of the data makes no sense ({error})."
        ) from None


def _facts(check: Verification) -> dict[str, Any]:
    return {
        "holds": check.holds, "witnesses": check.witnesses, "certificates": check.certificates, "clean": check.clean,
        "failures": check.failures, "warnings": check.warnings,
    }  # fmt: skip


def _say(terminal: Terminal, folder: str, check: Verification) -> None:
    terminal.say(f"{folder}: {check.text}", style="green" if check.holds else "bold red")
    for failure in check.failures[:MOST]:
        terminal.say(f"  {failure}")
    if len(check.failures) > MOST:
        terminal.say(f"  and {len(check.failures) - MOST} more")
    for warning in check.warnings:
        terminal.say(f"  Note: {warning}", style="yellow")
