"""`ironbound verify`: a finished run again, with model and data from where the run says or from where the user says.

Code is loaded only from a file outside the run folder whose digest is the recorded one, or that the user names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.cli.opening import open_data, open_model
from ironbound.cli.settings import ModelSettings, VerifySettings, settings_of
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import BROKEN, DataError, RunError
from ironbound.reopening import OPTIONS, is_whole, recorded_data, recorded_origin, trusted_code, trusted_weights

if TYPE_CHECKING:
    from ironbound.auditing.folder import RunFolder
    from ironbound.auditing.verify import Verification
    from ironbound.data.dataset import Data
    from ironbound.models.model import Model

MOST = 20
"""Failures that are listed."""


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
    origin = recorded_origin(run)
    given = settings.model_fields_set
    architecture = settings.model if settings.model is not None else trusted_code(run, origin)
    weights = settings.weights if "weights" in given else trusted_weights(run, origin)
    recorded = origin.get("options")
    options = {name: value for name, value in recorded.items() if name in OPTIONS} if isinstance(recorded, dict) else {}
    options |= {name: getattr(settings, name) for name in OPTIONS if name in given}
    values = {"model": architecture, "weights": weights, "device": settings.device, **options}
    return open_model(settings_of(ModelSettings, values))


def data_of(run: RunFolder, settings: VerifySettings) -> Data:
    """The data that the user names, or the recorded ones; that they are the same is checked by fingerprint."""
    named = ("split", "input", "label", "samples", "seed", "stream")
    given = {name: getattr(settings, name) for name in named if name in settings.model_fields_set}
    if settings.data is None:
        return recorded_data(run, **given)
    if not is_whole(recorded_origin(run).get("data")):
        return open_data(settings)
    return recorded_data(run, **given, source=settings.data)


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
