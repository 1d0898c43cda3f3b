"""Certification stage by stage, beside auto_LiRPA: how many inputs each method proves, and what it costs.

The nets of the verifiers' comparison (Dathathri et al. 2020, arXiv 2010.11645; `../shared/data/verify`). Right answers alone are
tried; a method gets what the cheaper ones left, and those that optimise get what attacks left, too. Both sides are given the
same inputs. CPU seconds of a stage are those of the proof in float32 and of its re-evaluation in float64; tracing is apart, as is
the peer's wrapping of the net.

`AUTO_LIRPA=/path/to/its/checkout` runs the peer in alternation with ours; without it what was measured before is shown.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certification_peer
import torch
from cases import Chosen
from certification_peer import RECORDED, Peer
from nets import DATA, SDP, cache, sdp, slug
from pages import into
from timing import machine
from torch import Tensor, nn

import ironbound as ib
from ironbound.certification.catalogue import ENTRIES
from ironbound.certification.certificates import prove
from ironbound.certification.graph import trace

FOLDER = DATA / "verify" / "mnistfc"
ATTACKS = ("pgd", "apgd", "apgd_targeted")
ROUNDS = 3
"""Alternations of a stage, at most,"""
LONG = 8.0
"""and those that take so many CPU seconds are run once."""


@dataclass(frozen=True)
class Net:
    """What is certified."""

    name: str
    net: nn.Module
    x: Tensor
    y: Tensor
    eps: float


@dataclass(frozen=True)
class Stage:
    """A method of ours, by the peer's words for the same."""

    name: str
    method: Callable[[], Any]
    attacked: bool = False
    """Whether what attacks broke is left out."""


def _named(name: str, **settings: Any) -> Callable[[], Any]:
    return lambda: next(entry for entry in ENTRIES if entry.name == name).make(**settings)


STAGES = (
    Stage("ibp", _named("ibp")),
    Stage("crown-ibp", _named("crown-ibp")),
    Stage("crown", _named("crown")),
    Stage("alpha, last layer", _named("alpha-crown", layers="last"), attacked=True),
    Stage("alpha, all layers", _named("alpha-crown", layers="all"), attacked=True),
)


GIVEN = {"CIFAR cnn_a_adv, 2/255": ("cifar_cnn_a_adv", 2 / 255), "MNIST cnn_a_adv, 0.3": ("mnist_cnn_a_adv", 0.3)}
SMALL = "mnistfc 256x2, 0.03"
NAMES = (*GIVEN, SMALL)


def nets(chosen: Chosen) -> Iterator[Net]:
    """Those whose files are there."""
    for name, (weights, eps) in GIVEN.items():
        if chosen.keeps(name) and (SDP / f"{weights}.json").exists():
            yield Net(name, *sdp(weights), eps)
    if chosen.keeps(SMALL) and FOLDER.exists():
        yield Net(SMALL, *_mnistfc(0.03), 0.03)


def _mnistfc(eps: float) -> tuple[nn.Module, Tensor, Tensor]:
    """The net of the competition of 2021 and the centres of its first 15 properties."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from onnx_samples import centre_of, module_of, property_of

    found = [property_of(FOLDER / f"prop_{i}_{eps:g}.vnnlib") for i in range(15)]
    x = torch.stack([centre_of(one, eps) for one in found])
    y = torch.tensor([one.label for one in found])
    return module_of(FOLDER / "mnist-net_256x2.onnx"), x.float().unsqueeze(2), y


def run(chosen: Chosen) -> list[dict[str, Any]]:
    """One table a net; prints it, keeps it, and writes all that are kept into a page where asked."""
    for net in () if chosen.shown else nets(chosen):
        line = _compare(net, certification_peer.found(net.net, net.x), chosen)
        path_of(net.name).write_text(json.dumps(line, indent=1))
    lines = [json.loads(path_of(name).read_text()) for name in NAMES if path_of(name).exists()]
    text = page(lines) if lines else f"certification: nothing is kept, and {DATA / 'verify'} is not there"
    print("\n" + text)
    if lines and chosen.page is not None:
        into(chosen.page, "certification", text)
    return lines


def path_of(name: str) -> Path:
    """Where a net's figures are kept."""
    return cache() / f"{slug(name)}.certification.json"


def _compare(net: Net, peer: Peer | None, chosen: Chosen) -> dict[str, Any]:
    model = ib.Model(net.net)
    spent, graph = _timed(lambda: trace(model.module, net.x[:1]))
    with torch.no_grad():
        right = net.net(net.x).argmax(1) == net.y
    line: dict[str, Any] = {"case": net.name, "images": len(net.y), "right": int(right.sum()), "trace": spent}
    attacked, broken = _timed(lambda: _broken(net, right))
    line |= {"attacks": attacked, "broken": int(broken.sum()), "stages": []}
    proved = torch.zeros_like(right)
    for stage in STAGES:
        index = (right & ~proved & (~broken if stage.attacked else right)).nonzero()[:, 0]
        method = stage.method()
        one = _stage(net, stage.name, lambda i, m=method: _certified(net, model, graph, m, i), index, peer, chosen)
        proved[one.pop("proved")] = True
        if bool((proved & broken).any()):
            raise SystemExit(
                f"{stage.name} certifies inputs that attacks broke: {(proved & broken).nonzero()[:, 0].tolist()}"
            )
        line["stages"].append(one)
        print(f"{net.name}, {stage.name}: {one}", flush=True)
    facts = machine()
    words = certification_peer.words()
    return line | {"proved": int(proved.sum()), "date": facts["date"], "commit": facts["commit"], "words": words}


def _stage(
    net: Net, name: str, ours: Callable[[Tensor], Tensor], index: Tensor, peer: Peer | None, chosen: Chosen
) -> dict[str, Any]:
    """One stage of both, alternated; inputs that ours proves are `proved`."""
    one: dict[str, Any] = {"stage": name, "tried": len(index), "certified": 0, "cpu": 0.0, "proved": index[:0]}
    if not len(index):
        return one
    box = None if peer is None else peer.prepared(name, net, index)
    mine, theirs = [], []
    for turn in range(min(chosen.rounds, ROUNDS)):
        spent, found = _timed(lambda: ours(index))
        mine.append(spent)
        if box is not None:
            spent, answer = _timed(box)
            theirs.append(spent)
            one["peer"] = {"certified": int(answer.sum()), "tried": len(index), "cpu": statistics.median(theirs)}
        if turn == 0 and mine[0] + sum(theirs) > LONG:
            break
    one |= {"certified": int(found.sum()), "cpu": statistics.median(mine), "proved": index[found]}
    if theirs:
        one["ratio"] = statistics.median(a / b for a, b in zip(theirs, mine, strict=True))
    elif name in RECORDED.get(net.name, {}):
        one["peer"] = RECORDED[net.name][name]
        per = [side["cpu"] / max(side["tried"], 1) for side in (one["peer"], one)]
        one["ratio"] = per[0] / per[1]
    return one


def _certified(net: Net, model: ib.Model, graph: Any, method: Any, index: Tensor) -> Tensor:
    answer = prove(method, model, net.x[index], net.y[index], ib.Linf(net.eps), radii=False, graph=graph)
    return answer.certified


def _broken(net: Net, right: Tensor) -> Tensor:
    """Which right answers an attack changes; each runs on what the one before left."""
    broken = torch.zeros_like(right)
    for attack in ATTACKS:
        index = (right & ~broken).nonzero()[:, 0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ib.attack(net.net, net.x[index], net.y[index], threat=ib.Linf(net.eps), method=attack)
        broken[index[found.success]] = True
    return broken


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


HEAD = "| method | tried | proved | CPU s | ms an image | auto_LiRPA: tried | proved | CPU s | ms an image | theirs over ours |"


def page(lines: list[dict[str, Any]]) -> str:
    """All tables, in Markdown."""
    return "\n".join(_table(line) for line in lines)


def _table(line: dict[str, Any]) -> str:
    start = (
        f"### {line['case']}\n\n{line['right']} of {line['images']} are right when clean; attacks break {line['broken']} in "
        f"{line['attacks']:.1f} CPU s; {line['proved']} are proved. Tracing takes {line['trace']:.1f} CPU s. "
        f"Measured {line['date']} at {line['commit']}. {line['words']}\n"
    )
    return "\n".join([start, HEAD, "|---" * (HEAD.count("|") - 1) + "|", *(_row(one) for one in line["stages"])]) + "\n"


def _row(one: dict[str, Any]) -> str:
    peer = one.get("peer")
    cells = (f"`{one['stage']}`", *_cells(one), *(_cells(peer) if peer else [""] * 4))
    return f"| {' | '.join(cells)} | {one['ratio']:.2f} |" if "ratio" in one else f"| {' | '.join(cells)} | |"


def _cells(side: dict[str, Any]) -> list[str]:
    each = 1000 * side["cpu"] / max(side["tried"], 1)
    return [str(side["tried"]), str(side["certified"]), f"{side['cpu']:.2f}", f"{each:.1f}"]
