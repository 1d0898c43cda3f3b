"""Schemes beside plain adversarial training: of fewer labels, with a teacher, against several norms. One line a method.

`python benchmarks/run.py helped --page docs/numbers.md`; `--only "digits 5-9"` for some lines, `--shown` for what is kept. A
line is trained from each of its seeds, audited, and kept in the cache; it is made again where its row, or a row that it
starts from, says otherwise. Rows that are compared have the same data, labels, first weights and number of updates.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from cases import Chosen
from harden_page import checks_of, several, spread
from nets import DATA, cache, slug, strided
from pages import into
from safetensors.torch import load_file, save_file
from timing import machine
from torch import nn

import ironbound as ib
from ironbound.auditing.intervals import Share
from ironbound.core.rng import forked
from ironbound.data import load
from ironbound.data.dataset import Data
from ironbound.models.zoo import digits_cnn


def small() -> nn.Sequential:
    """A student for (n, 1, 8, 8): one convolution of four channels with stride 2 and a linear layer, 690 weights."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))


NETS = {"digits_cnn": lambda: digits_cnn(int(torch.initial_seed() % 2**31)), "small": small, "strided": strided}
"""Drawn from the global generator, which is seeded for each."""
HALVES = {"0-4": range(5), "5-9": range(5, 10)}


@dataclass(frozen=True)
class Row:
    """One method with its settings; `training_named` knows the names."""

    method: str
    settings: dict[str, Any]
    data: str = "digits"
    """`digits` or `mnist`, and after a space some of the classes, of HALVES. Labels stay what they are."""
    net: str = "digits_cnn"
    threat: str = "linf:0.15"
    labelled: int | None = None
    """Rows whose labels are read, drawn with the seed of the training; None is all."""
    given: dict[str, str] = field(default_factory=dict)
    """What else the training is given: the net of another row with the same seed, as `source` or `teacher`."""
    beside: str | None = None
    """The row that it is compared with, seed by seed."""
    audited: tuple[str, ...] = ()
    """Threats of the audits; none is the threat of the training."""
    attacked_by: str = "apgd"
    """`apgd` is that attack alone, with 40 steps; `standard` is the audit with its checks, some ten times as long."""
    images: int | None = 500
    """Test images of these classes that are audited, drawn with seed 0. Clean accuracy is of the same."""
    seeds: tuple[int, ...] = (0, 1, 2)
    shown: bool = True
    """Whether the row is audited and shown; else it only gives its nets to others."""


MNIST = {"batch": 50, "epochs": 100, "steps": 5, "cheap": True}
"""50 labels are one batch, so that epochs are updates. The rates were compared on seed 0, which is not among the seeds."""
FEW = {"batch": 50, "epochs": 200}
SOURCE = {"epochs": 3, "batch": 128, "schedule": "cyclic", "steps": 5, "cheap": True, "rise": 1.0}
NORMS = ("linf:0.2", "l2:1", "l1:4")
UNION = "|".join(NORMS)


def _five(method: str, **more: Any) -> Row:
    """On MNIST's digits 5 to 9 with few labels."""
    return Row(
        method, MNIST | more.pop("settings", {}), "mnist 5-9", "strided", "linf:0.2", 50, seeds=(1, 2, 3), **more
    )


ROWS: dict[str, Row] = {
    "mnist 0-4": Row("pgd", SOURCE, "mnist 0-4", "strided", "linf:0.2", 10_000, shown=False),
    "mnist 5-9 pgd": _five("pgd"),
    "mnist 5-9 robust-transfer": _five("robust-transfer", given={"source": "mnist 0-4"}, beside="mnist 5-9 pgd"),
    "mnist 5-9 robust-transfer frozen": _five(
        "robust-transfer", given={"source": "mnist 0-4"}, beside="mnist 5-9 pgd", settings={"frozen": True, "rate": 3e-3}
    ),
    "digits 100 labels pgd": Row("pgd", FEW, labelled=100),
    "digits 100 labels semi-supervised": Row(
        "semi-supervised", {**FEW, "ratio": 3}, labelled=100, beside="digits 100 labels pgd"
    ),
    "digits 100 labels semi-supervised, robust teacher": Row(
        "semi-supervised", {**FEW, "ratio": 3}, labelled=100, beside="digits 100 labels pgd",
        given={"teacher": "digits 100 labels pgd"},
    ),
    "digits norms pgd": Row("pgd", {"epochs": 20}, threat=NORMS[0], audited=NORMS, seeds=(0,)),
    **{
        f"digits norms {how}": Row("multi-norm", {"epochs": 20, "how": how}, threat=UNION, audited=NORMS,
                                    beside="digits norms pgd", seeds=(0,))
        for how in ("worst", "average", "msd", "e-at")
    },
    "digits teacher": Row("pgd", {"epochs": 20}, shown=False),
    "digits small pgd": Row("pgd", {"epochs": 20}, net="small"),
    "digits small distill": Row(
        "distill", {"epochs": 20}, net="small", given={"teacher": "digits teacher"}, beside="digits small pgd"
    ),
}  # fmt: skip
"""By the name of the line; a new line is a new entry."""
AUDITED = ("mnist 5-9 pgd", "mnist 5-9 robust-transfer")
"""Rows whose first seed is audited as well, with checks, on fewer images."""
ROWS |= {
    f"audit: {name}": replace(
        ROWS[name], attacked_by="standard", images=250, seeds=ROWS[name].seeds[:1],
        beside=ROWS[name].beside and f"audit: {ROWS[name].beside}",
    )
    for name in AUDITED
}  # fmt: skip


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """What is kept of all chosen rows; prints the table and, where asked, writes it into a page after each line."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for name, row in ROWS.items():
        if not row.shown or not chosen.keeps(name):
            continue
        found = [one for seed in row.seeds if (one := _measured(name, seed, chosen.shown)) is not None]
        if found:
            lines[name] = found
            if chosen.page is not None:
                into(chosen.page, "helped", page(lines))
    print("\n" + page(lines))
    return [{"name": name, "seeds": seeds} for name, seeds in lines.items()]


def page(lines: dict[str, list[dict[str, Any]]]) -> str:
    """The table and the settings, in Markdown."""
    head = ("line", "seeds", "CPU seconds", "clean", "threat", "certified <= true <= attacked", "gain in attacked, points",
            "checks passed")  # fmt: skip
    rows = [cells for name in lines for cells in _rows(name, lines)]
    seeds = [one for found in lines.values() for one in found]
    days, commits = (", ".join(sorted({one["machine"][key] for one in seeds})) for key in ("date", "commit"))
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))
    settings = "\n".join(f"- {name}: {_told(ROWS[name])}" for name in (*_givers(lines), *lines))
    return f"Measured {days} at {commits}.\n\n{table}\n\nSettings, where they are not the defaults:\n\n{settings}\n"


def _givers(lines: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(giver for name in lines for giver in ROWS[name].given.values() if giver not in lines))


def _told(row: Row) -> str:
    said = {**row.settings, **{key: f"the net of `{name}`" for key, name in row.given.items()}}
    words = ", ".join(f"{key}={value}" for key, value in said.items())
    labelled = "" if row.labelled is None else f", {row.labelled} labels"
    return f"{row.net}, {row.data}{labelled}, {row.threat}, `{row.method}`, {words}"


def _rows(name: str, lines: dict[str, list[dict[str, Any]]]) -> list[tuple[str, ...]]:
    """A line for each threat audited at."""
    row, seeds, rows = ROWS[name], lines[name], []
    for at, threat in enumerate(row.audited or (row.threat,)):
        low, high = (_bound([one["audits"][threat][end] for one in seeds]) for end in ("certified", "attacked"))
        first = (f"`{name}`", str(len(seeds)), f"{sum(one['cpu'] for one in seeds) / len(seeds):.0f}",
                 several([one["clean"] for one in seeds]))  # fmt: skip
        found = "; ".join(dict.fromkeys(_checked(one["audits"][threat]["checks"]) for one in seeds))
        rows.append((*(first if not at else ("", "", "", "")), f"{threat}, {seeds[0]['clean']['total']} images",
                     f"{low and low + ' <= '}true <= {high}", _gain(name, threat, lines), found))  # fmt: skip
    return rows


def _bound(shares: list[dict[str, Any] | None]) -> str:
    """Nothing where none was looked for."""
    there = [share for share in shares if share is not None]
    return several(there) if there else ""


def _checked(checks: list[dict[str, Any]] | None) -> str:
    return "none made: APGD-40 alone" if checks is None else checks_of(checks)


def _gain(name: str, threat: str, lines: dict[str, list[dict[str, Any]]]) -> str:
    """The mean over seeds of the difference to the line beside it, with Student's interval where there are several."""
    beside = ROWS[name].beside
    if beside is None or beside not in lines:
        return "-"
    other = {one["seed"]: one["audits"][threat]["attacked"]["fraction"] for one in lines[beside]}
    gains = [100 * (one["audits"][threat]["attacked"]["fraction"] - other[one["seed"]])
             for one in lines[name] if one["seed"] in other]  # fmt: skip
    mean = sum(gains) / len(gains)
    if len(gains) == 1:
        return f"{mean:+.1f}"
    half = spread(gains)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def _plain(name: str) -> dict[str, Any]:
    """The row as JSON data, with the rows that it starts from; what is shown of it and beside what is another matter."""
    row = asdict(ROWS[name])
    row["given"] = {key: _plain(giver) for key, giver in ROWS[name].given.items()}
    for key in ("seeds", "beside", "shown"):
        del row[key]
    plain: dict[str, Any] = json.loads(json.dumps(row))
    return plain


def _data(row: Row, split: str) -> Data:
    """The images of the row's classes."""
    source, _, half = row.data.partition(" ")
    path = "digits" if source == "digits" else str(DATA / source / f"{split}.parquet")
    data = load(path, split=split, samples=None)
    return data if not half else data.chosen(torch.isin(data.y, torch.tensor(HALVES[half])).nonzero()[:, 0])


def _trained(name: str, seed: int) -> tuple[nn.Module, float]:
    """The net in evaluation mode and the CPU seconds of its training, from the cache where it was made as the row says."""
    row, path = ROWS[name], cache() / f"helped_{slug(name)}_{seed}.safetensors"
    notes, fitted = (
        path.with_suffix(".train.json"),
        {**_plain(name), "audited": None, "images": None, "attacked_by": None},
    )
    with forked(seed):
        net = NETS[row.net]()
    if path.exists() and notes.exists() and (facts := json.loads(notes.read_text()))["row"] == fitted:
        net.load_state_dict(load_file(path))
        return net.eval().requires_grad_(False), facts["cpu"]
    given = {key: _trained(giver, seed)[0] for key, giver in row.given.items()}
    data, start = _data(row, "train"), time.process_time()
    found = ib.harden(net, data, threat=row.threat, method=row.method, seed=seed, audit=None, labelled=row.labelled,
                      test=(data.x[:1], data.y[:1]), **given, **row.settings)  # fmt: skip
    spent, trained = time.process_time() - start, found.model.net
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, path)
    notes.write_text(json.dumps({"row": fitted, "cpu": spent, "history": found.history}, indent=1))
    return trained.eval().requires_grad_(False), spent


def _measured(name: str, seed: int, shown: bool) -> dict[str, Any] | None:
    """What the audits of one training found: kept, or made now."""
    row, path = ROWS[name], cache() / f"helped_{slug(name)}_{seed}.json"
    kept = json.loads(path.read_text()) if path.exists() else None
    if kept is not None and kept["row"] == _plain(name):
        return dict(kept)
    if shown:
        return None
    (net, spent), data = _trained(name, seed), _data(row, "test").subset(row.images, 0)
    with torch.no_grad():
        right = int((net(data.x).argmax(1) == data.y).sum())
    audits = {threat: _audited(net, data, threat, row.attacked_by) for threat in row.audited or (row.threat,)}
    found = {"row": _plain(name), "seed": seed, "machine": machine(), "cpu": spent,
             "clean": Share.of(right, len(data)).as_dict(), "audits": audits}  # fmt: skip
    path.write_text(json.dumps(found, indent=1))
    figures = ", ".join(f"{threat} {one['attacked']['fraction']:.1%}" for threat, one in audits.items())
    print(f"{name}, seed {seed}: {spent:.0f} s; clean {right / len(data):.1%}; attacked at {figures}", flush=True)
    return found


def _audited(net: nn.Module, data: Data, threat: str, by: str) -> dict[str, Any]:
    """Attacked, certified and the checks of the audit `standard`, without its curve; or what APGD alone leaves."""
    if by == "apgd":
        broken = ib.attack(net, data.x, data.y, threat=threat, method=ib.recipes.apgd(steps=40)).success
        share = Share.of(len(data) - int(broken.sum()), len(data)).as_dict()
        return {"attacked": share, "certified": None, "checks": None}
    found = ib.audit(net, (data.x, data.y), threat=threat, method="standard", curve=False)
    checks = [{key: one.get(key) for key in ("number", "name", "result", "severity")} for one in found.checks]
    return {"attacked": found.facts["attacked"], "certified": found.facts["certified"], "checks": checks}
