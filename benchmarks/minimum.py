"""Attacks for the smallest change beside their peers: success, distance, row-passes, CPU time over the floor.

Every result, ours and theirs, is judged by the same few lines: inputs in the range, wrong at batch 1 and in one batch of all.
Peers are run where they are installed, once for each net; what they found is kept in the cache and used from then on, as are
our own lines (`--shown` shows what is kept and runs nothing). CPU times of both are taken in alternation.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import minimum_page
import torch
from cases import Chosen
from counting import Passes, measured
from minimum_peers import PACKAGES, RIVALS, Rival, bound, installed
from nets import cache, case, slug
from pages import into
from peer import digests
from timing import alternated, machine, ratio
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.result import Result
from ironbound.recipes import ENTRIES

NETS = ("mnist standard 0.1", "mnist pgd 0.3", "cifar sdp 2/255")
IMAGES = {"cifar sdp 2/255": 200}
FEWER = 100
"""Images of the other nets."""
SETS = {"l2": ib.L2(), "linf": ib.Linf(), "l1": ib.L1(), "l0": ib.L0(of="coordinates")}
OURS: dict[str, dict[str, Any]] = {
    "deepfool": {"steps": 50}, "superdeepfool": {"steps": 50}, "cw": {"searches": 9, "steps": 100},
    "ead": {"searches": 9, "steps": 100}, "ddn": {"steps": 100}, "fmn": {"steps": 100}, "alma": {"steps": 300},
    "pdpgd": {"steps": 300}, "trust_region": {"steps": 100}, "fab": {"steps": 50}, "sigma_zero": {"steps": 300},
    "lbfgs": {}, "convex_surrogate": {}, "jsma": {}, "vfga": {}, "sparsefool": {}, "greedy_l0": {},
}  # fmt: skip
"""Settings of ours, by name of the catalogue; names that are not there are left out."""
ALONE = (("lbfgs", "l2"), ("convex_surrogate", "l2"), ("convex_surrogate", "linf"), ("greedy_l0", "l0"))
"""What no peer has, and in which norms it is shown."""
ROUNDS = 3
"""Alternations, at most: these attacks are long,"""
LONG = 8.0
"""and those of a peer that takes so many CPU seconds are alternated once."""


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """One table a net; prints it, keeps it, and writes it into a page where asked."""
    lines = []
    for name in NETS:
        kept = _kept(name)
        if not chosen.shown:
            _compare(name, kept, chosen)
        lines.append({"case": name, **kept})
    text = minimum_page.page(lines, [(attack, norm) for attack, norm in _wanted()])
    print("\n" + text)
    if chosen.page is not None:
        into(chosen.page, "minimum", text)
    return lines


def _wanted() -> list[tuple[str, str]]:
    return sorted({*RIVALS, *ALONE}, key=lambda pair: (list(OURS).index(pair[0]), list(SETS).index(pair[1])))


def path_of(name: str) -> Path:
    return cache() / f"{slug(name)}.minimum.json"


def _kept(name: str) -> dict[str, Any]:
    path = path_of(name)
    return json.loads(path.read_text()) if path.exists() else {"digests": None, "rivals": {}, "ours": {}}


def _keep(name: str, table: dict[str, Any]) -> None:
    path_of(name).write_text(json.dumps(table, indent=1))


def samples(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The net and those of its first images that are right when clean."""
    net, x, y, _ = case(name)
    x, y = x[: IMAGES.get(name, FEWER)], y[: IMAGES.get(name, FEWER)]
    with torch.no_grad():
        right = (net(x).argmax(1) == y).nonzero()[:, 0]
    return net, x[right], y[right]


def _compare(name: str, kept: dict[str, Any], chosen: Chosen) -> None:
    net, x, y = samples(name)
    own = digests(net, x, y)
    if kept["digests"] != own:
        kept.update({"digests": own, "rivals": {}, "ours": {}})
    kept["samples"], kept["images"] = len(x), IMAGES.get(name, FEWER)
    pairs = [(attack, norm) for attack, norm in _wanted() if chosen.keeps(f"{attack} {norm}, {name}")]
    beside = [(rival, norm) for attack, norm in pairs for rival in RIVALS.get((attack, norm), []) if installed(rival)]
    for rival, norm in sorted(beside, key=lambda pair: list(PACKAGES).index(pair[0].library)):  # the quick ones first
        if rival.words not in kept["rivals"]:
            kept["rivals"][rival.words] = _of_rival(rival, norm, net, x, y)
            _keep(name, kept)
            _tell(name, rival.library, rival.words, kept["rivals"][rival.words])
    for attack, norm in pairs:
        made, key = _ours(attack), f"{attack} {norm}"
        if made is not None:
            kept["ours"][key] = _of_ours(made, norm, net, x, y) | _clocks(
                made, attack, norm, net, x, y, kept, chosen.rounds
            )
            _keep(name, kept)
            _tell(name, "ironbound", key, kept["ours"][key])


def _of_rival(rival: Rival, norm: str, net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """What a peer finds. One that fails says so in its line."""
    x, y = x[: rival.samples], y[: rival.samples]
    facts = {"library": rival.library, "version": _version(rival.library), "samples": len(x), "date": machine()["date"]}
    try:
        (made, said), passes, spent = measured(net, bound(rival, x, y))
    except Exception as error:  # of any kind: it is the peer's
        return {**facts, "failed": f"{type(error).__name__}: {error}"[:300]}
    made = made.reshape(x.shape).float()
    with torch.no_grad():
        claimed = said if said is not None else net(made).argmax(1) != y
    return {**facts, **outcome(net, x, y, made, claimed, norm), **_cost(net, x, passes, spent)}


def _of_ours(attack: Any, norm: str, net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """What ours finds; rows as its own ledger has them, which must be those that were counted from outside."""
    found, passes, spent = measured(net, lambda watched: _run(attack, norm, watched, x, y))
    line = outcome(net, x, y, found.adversarial, found.success, norm)
    rows = {"forward": int(found.forward.sum()), "backward": int(found.backward.sum())}
    failures = ~found.success
    unchanged = bool((found.adversarial[failures] == x[failures]).all())
    return {"samples": len(x), **line, **_cost(net, x, passes, spent), "ledger": rows, "failures are clean": unchanged,
            "commit": machine()["commit"], "date": machine()["date"]}  # fmt: skip


def _run(attack: Any, norm: str, net: nn.Module, x: Tensor, y: Tensor) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attack.against(SETS[norm])(ib.Model(net, outputs="logits"), x, y)


def _ours(name: str) -> Any:
    """The recipe with its settings; None where the catalogue has no such name."""
    entry = next((entry for entry in ENTRIES if entry.name == name), None)
    if entry is None:
        return None
    known = inspect.signature(entry.make).parameters
    return entry.make(**{key: value for key, value in OURS[name].items() if key in known})


def outcome(net: nn.Module, x: Tensor, y: Tensor, made: Tensor, claimed: Tensor, norm: str) -> dict[str, Any]:
    """Successes that were claimed, and those that hold: in the range, wrong at batch 1 and in one batch of all; distances."""
    legal = ((made >= 0) & (made <= 1)).flatten(1).all(1) & torch.isfinite(made).flatten(1).all(1)
    with torch.no_grad():
        together = net(made).argmax(1) != y
        alone = torch.cat([net(made[i : i + 1]).argmax(1) for i in range(len(y))]) != y
    real = legal & together & alone
    size = distance(made.double() - x.double(), norm)
    won = size[real]
    return {
        "claimed": int(claimed.sum()), "real": int(real.sum()), "false": int((claimed & ~real).sum()),
        "outside": int((claimed & ~legal).sum()),
        "median": float(torch.where(real, size, torch.inf).quantile(0.5, interpolation="lower")),
        "mean": float(won.mean()) if len(won) else float("nan"),
        "sizes": [float(s) if r else None for s, r in zip(size, real, strict=True)],
    }  # fmt: skip


def distance(change: Tensor, norm: str) -> Tensor:
    """Float64 (n,); of L0 the number of coordinates."""
    wide = change.flatten(1)
    match norm:
        case "linf":
            return wide.abs().amax(1)
        case "l2":
            return wide.square().sum(1).sqrt()
        case "l1":
            return wide.abs().sum(1)
    return (wide != 0).sum(1).double()


def _cost(net: nn.Module, x: Tensor, passes: Passes, spent: float) -> dict[str, Any]:
    """Rows a sample, and CPU seconds over those of the same passes alone, which are run right behind."""
    n, floor = len(x), passes.replayed(net, x)
    return {"forward": passes.forward / n, "backward": passes.backward / n, "cpu": spent, "floor": floor,
            "over": spent / floor if floor else float("nan")}  # fmt: skip


def _clocks(
    made: Any, attack: str, norm: str, net: nn.Module, x: Tensor, y: Tensor, kept: Any, rounds: int
) -> dict[str, Any]:
    """Our CPU time over that of the first peer that runs whole batches, in alternation; nothing where it is not installed."""
    rivals = [rival for rival in RIVALS.get((attack, norm), []) if rival.samples is None and installed(rival)]
    if not rivals:
        return {}
    beside = rivals[0]
    if kept["rivals"][beside.words].get("cpu", 0.0) > LONG:
        rounds = 1
    try:
        spent = alternated(
            {"ours": lambda: _run(made, norm, net, x, y), "theirs": lambda: bound(beside, x, y)(net)},
            min(rounds, ROUNDS),
        )
    except Exception:  # the peer's: its own line says it
        return {}
    return {"ratio": ratio(spent, "ours", "theirs"), "beside": beside.words, "seconds": spent}


def _tell(net: str, library: str, words: str, line: dict[str, Any]) -> None:
    if "failed" in line:
        print(f"{net}: {library} {words}: {line['failed']}", flush=True)
        return
    beside = f", CPU {line['ratio']:.2f} of {line['beside']}" if "ratio" in line else ""
    rows = f"rows {line['forward']:.0f}+{line['backward']:.0f}"
    print(
        f"{net}: {library} {words}: {line['real']} of {line['samples']} ({line['claimed']} claimed), median "
        f"{line['median']:.4g}, mean {line['mean']:.4g}, {rows}, {line['cpu']:.1f} CPU s = {line['over']:.2f} x floor{beside}",
        flush=True,
    )


def _version(library: str) -> str:
    names = {"adv_lib": "adv-lib", "art": "adversarial-robustness-toolbox"}
    package = PACKAGES[library]
    return importlib.metadata.version(names.get(package, package))
