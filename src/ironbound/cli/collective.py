"""`ironbound attack --method universal`: one point for many samples, found on half of them and measured on the other half."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironbound.cli.opening import data_origin, open_model
from ironbound.cli.settings import AttackSettings
from ironbound.cli.terminal import Terminal
from ironbound.core.errors import InputError, UsageError
from ironbound.reopening import load_data

if TYPE_CHECKING:
    from ironbound.applying import Transfer

FILE = "found.safetensors"


def for_many(settings: AttackSettings) -> bool:
    """Whether the methods look for one point for many samples. Raises UsageError where only some of several do."""
    from ironbound.core.catalogue import find
    from ironbound.recipes import ENTRIES

    shared = [
        name
        for name in settings.method
        if hasattr(getattr(find(ENTRIES, "attack", name).make(), "search", None), "lifts")
    ]
    if shared and len(settings.method) > 1:
        raise UsageError(
            f"{shared[0]} is about one change for all samples, not about each: run it alone, --method {shared[0]}."
        )
    return bool(shared)


def run_for_many(settings: AttackSettings, terminal: Terminal, folder: Path) -> int:
    """The attack on a half of the samples, and on how many of the other half what was found works."""
    from ironbound import verbs
    from ironbound.applying import measure
    from ironbound.auditing.folder import usable
    from ironbound.data.dataset import draws
    from ironbound.names import radius_must_fit, set_of

    if settings.resume or settings.shard is not None:
        raise UsageError("one change for all samples is found in one go: --resume and --shard are for audits.")
    usable(folder, False)
    threat, model = set_of(settings.threat), open_model(settings)
    data = load_data({**data_origin(settings), "stream": False})
    if len(data) < 4:
        raise InputError(f"a half of {len(data)} samples is too little to measure on; give --samples 1000.")
    radius_must_fit(threat, model, data.x)
    order = draws(data.index, settings.seed).argsort(stable=True)
    fit, held = (data.chosen(part.sort().values) for part in (order[: len(data) // 2], order[len(data) // 2 :]))
    terminal.note(
        f"{model.name}: found on {len(fit):,} samples of {data.name}, measured on {len(held):,}, into {folder}"
    )
    with terminal.progress() as display:
        found = verbs.attack(
            model, fit.x, fit.y, threat=threat, method=settings.method[0], seed=settings.seed, rows=settings.rows,
            progress=display.listener(),
        )  # fmt: skip
        seen = measure(model, found, held.x, held.y, seed=settings.seed, rows=settings.rows)
    found.save(folder / FILE)
    page = found.show(folder / "found.html") if settings.show else None
    fitted = found.config["collective"]
    if terminal.json:
        terminal.data({"file": str(folder / FILE), "fitted": {"works_on": fitted["works_on"][0], "inputs": fitted["inputs"][0]},
                       **_facts(seen)})  # fmt: skip
        return 0
    terminal.say(
        f"Found on {fitted['works_on'][0]:,} of {fitted['inputs'][0]:,} samples, those wrong when clean included."
    )
    terminal.say(f"On the {len(held):,} others it {seen}.", style="bold")
    if page is not None:
        terminal.say(f"Shown: {page.path}")
    terminal.say(f"Apply it by ironbound.apply({str(folder / FILE)!r}, x), measure it by ironbound.measure.")
    return 0


def _facts(seen: Transfer) -> dict[str, Any]:
    return {"works": seen.works.as_dict(), "random": seen.random.as_dict(), "before": seen.before}
