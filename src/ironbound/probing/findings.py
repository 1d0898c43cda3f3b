"""What a probe says: a sentence for each thing that was looked at, and the line that mends it where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ironbound.auditing.checks.model import radius_problem
from ironbound.auditing.intervals import Share
from ironbound.auditing.report.wording import duration, span
from ironbound.data.dataset import Data
from ironbound.models.model import Model
from ironbound.probing.applies import PLAN, Estimate
from ironbound.probing.looks import Guess
from ironbound.showing.words import percent, plural

MIXED = 1e-4
"""Of the largest answer: what rounding alone does not explain, as for the check of the same name."""
TOLD = {
    "logits": "numbers without bounds, one a class", "probabilities": "numbers from 0 that sum to 1 on every input tried",
    "logit": "one number without bounds", "probability": "one number between 0 and 1", "decisions": "whole numbers",
    "anything": "left to the goal", "auto": "not known",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    seen: str
    fix: str = ""
    """The line to change; empty where nothing has to be."""
    mend: bool = False
    """Whether figures would be wrong without the change."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.seen}{f' Mend it: {self.fix}' if self.fix else ''}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"subject": self.subject, "seen": self.seen, "fix": self.fix or None, "mend": self.mend}


@dataclass
class Seen:
    """Collects findings in the order in which one reads them."""

    found: list[Finding] = field(default_factory=list)

    def _add(self, subject: str, seen: str, fix: str = "", mend: bool = False) -> None:
        self.found.append(Finding(subject, seen, fix, mend))

    def inputs(self, model: Model, data: Data) -> None:
        """Shape, kind and range of the data."""
        if not isinstance(data.x, Tensor):
            self._add("inputs", f"{type(data.x).__name__} of {plural(len(data), 'row')}: no picture and no vector.")
            return
        low, high = (float(end) for end in data.x.aminmax())
        shape = " x ".join(map(str, data.x.shape[1:])) or "one number"
        declared = "no range" if model.box is None else f"the range {model.box[0]:g} to {model.box[1]:g}"
        kind = str(data.x.dtype).removeprefix("torch.")
        words = f"{shape}, {kind}, from {low:.4g} to {high:.4g}; the model declares {declared}."
        outside = model.box is not None and (low < model.box[0] or high > model.box[1])
        narrow = not outside and model.box is not None and (high - low) < (model.box[1] - model.box[0]) / 10
        if narrow:
            fix = "ironbound.Model(net, range=...) with the range of these data, at the prompt --range LOW,HIGH"
            self._add("inputs", f"{words} They fill less than a tenth of it.", fix, mend=True)
            return
        self._add("inputs", words + (" They leave it." if outside else ""), mend=outside)

    def refused(self, model: Model, error: Exception) -> None:
        """The model does not take the data."""
        self._add("model", str(error), mend=True)

    def failed(self, error: Exception) -> None:
        """A pass failed."""
        self._add("model", str(error), mend=True)

    def answers(self, model: Model, data: Data) -> None:
        """Kind of outputs, how that was told, and whether labels fit."""
        declared = model._declared["outputs"]
        unknown = "not tried: the model declares no range to try it on; outputs=... says it"
        tried = f"told by 15 inputs spread over the range: {TOLD[model.outputs]}"
        how = "as declared" if declared != "auto" else unknown if model.outputs == "auto" else tried
        soft = model.outputs in ("probabilities", "probability")
        fix = "leave the last softmax or sigmoid out of the model: gradients vanish behind it" if soft else ""
        count = (
            ""
            if model.classes is None
            else f", {plural(model.classes, 'class')[:-1] + 'es' if model.classes != 1 else '1 class'}"
        )
        self._add("outputs", f"{model.outputs}{count} ({how}).", fix)
        if model.classes is None:
            return
        there = torch.unique(data.y)
        low, high = int(there.min()), int(there.max())
        words = f"{len(there)} different ones, from {low} to {high}, in {plural(len(data), 'sample')}."
        if high >= model.classes:
            fix = "labels are class numbers from 0: map them, or give the model an output for each class"
            self._add("labels", f"{words} The model has no output for {high}.", fix, mend=True)
            return
        few = (
            f" The model knows {model.classes}: more samples may hold the others." if len(there) < model.classes else ""
        )
        self._add("labels", words + few)

    def accuracy(self, model: Model, data: Data, clean: Share) -> None:
        """Clean accuracy, and whether it is more than chance."""
        most = int(torch.bincount(data.y).max())
        interval = f"95% interval {span(clean.low, clean.high)}"
        words = f"{clean.count:,} of {clean.total:,} right ({percent(clean.fraction)}, {interval})."
        if clean.low <= most / len(data) and clean.fraction < 0.9:
            fix = "look at weights, range, preprocessing and the order of the classes before anything else"
            sure = "is" if clean.fraction <= most / len(data) else "may be"
            said = f"{words} Always saying the most frequent class ({percent(most / len(data))}) {sure} as good."
            self._add("clean accuracy", said, fix, mend=True)
            return
        self._add("clean accuracy", words)

    def guessed(self, clean: Share | None, guesses: Sequence[Guess]) -> None:
        """A preprocessing that makes the model better is probably missing."""
        best = guesses[0] if guesses else None
        if best is not None and (clean is None or best.share.low > clean.high):
            words = f"{best.words} the model gets {percent(best.share.fraction)} right"
            than = "" if clean is None else f", as declared {percent(clean.fraction)}"
            self._add("preprocessing", f"{words}{than}.", f"{best.python}, at the prompt {best.flags}", mend=True)
        elif clean is not None:
            tried = f"; {plural(len(guesses), 'other normalisation')} tried, none is better" if guesses else ""
            self._add("preprocessing", f"as declared{tried}.")

    def steady(self, model: Model, again: float, alone: float) -> None:
        """Two passes, and one by one."""
        if model.random:
            self._add("determinism", "declared random: witnesses win votes over fresh draws.")
            return
        if again > MIXED:
            fix = "ironbound.Model(net, random=True), at the prompt --random"
            self._add(
                "determinism",
                f"two passes of the same inputs differ by {again:.1e} of the largest answer.",
                fix,
                mend=True,
            )
            return
        if alone > MIXED:
            fix = "make each row's answer its own: no statistics of the batch at inference"
            self._add(
                "determinism", f"an input alone is answered otherwise than in a batch, by {alone:.1e}.", fix, mend=True
            )
            return
        self._add(
            "determinism",
            f"two passes agree {_closely(again)}, one by one and all at once {_closely(alone)}.",
        )

    def modes(self, model: Model, kinds: dict[str, int], differs: bool) -> None:
        """Layers that behave otherwise while training."""
        if not kinds and not differs:
            drawn = "no layer is known to behave otherwise while training; a random model is not compared."
            self._add("modes", drawn if model.random else "training and evaluation answer alike.")
            return
        names = ", ".join(f"{count} of {name}" for name, count in kinds.items()) or "some parts of the model"
        now = " The net was handed over in training mode; that is not used." if model.net.training else ""
        self._add("modes", f"{names} behave otherwise while training; all passes here are in evaluation mode.{now}")

    def gradients(self, model: Model, dead: dict[str, int] | None) -> None:
        """Whether attacks by gradient can see."""
        if dead is None:
            self._add("gradients", "not looked at: the model draws, gives none, or takes no real numbers.")
            return
        blind = dead["zero"] + dead["not finite"]
        words = f"of {dead['of']} inputs {dead['zero']} have a gradient that is zero, {dead['not finite']} one that is no number."
        bad = blind > dead["of"] / 10
        fix = "a part masks gradients: put ironbound.Bpda in front of it, and attack without gradients too (square, hopskipjump)"
        self._add("gradients", words, fix if bad else "", mend=bad)

    def speed(self, model: Model, fast: dict[str, float | None]) -> None:
        """Rows a second, memory a row."""
        forward, backward, size = fast["forward"], fast["backward"], fast["bytes"]
        words = (
            f"{forward:,.0f} forward"
            + ("" if backward is None else f" and {backward:,.0f} backward")
            + " rows a second"
        )
        kept = "" if size is None else f", {size / 1024:,.1f} KiB kept for each row"
        self._add("speed", f"{words} on {model.device}{kept}.")

    def radius(self, model: Model, data: Data, threat: Any) -> None:
        """Whether the threat is in the unit of the data."""
        problem = radius_problem(threat, model.box, data.first)
        suits = "suits the range" if model.box is not None else "may suit the data: the model declares no range"
        self._add("threat", problem or f"{threat!r} {suits}.", mend=bool(problem))

    def applies(self, attacks: Sequence[str], bounds: Sequence[str], why: dict[str, str]) -> None:
        """What goes with the threat."""
        self._add("attacks", f"{len(attacks)} go with it: {', '.join(attacks)}." if attacks else "none goes with it.")
        self._add("bounds", f"{', '.join(bounds)}." if bounds else "none: the audit will have attacks alone.")
        for reason in dict.fromkeys(_short(text) for name, text in why.items() if name not in ("exhaustive", "milp")):
            self._add("not bounded", reason)

    def time(self, estimate: Estimate | None) -> None:
        """How long an audit takes."""
        if estimate is None:
            self._add("audit", "no guess of its time: how fast gradients are was not measured.")
            return
        self._add(
            "audit", f"{PLAN} on {plural(estimate.samples, 'sample')} takes up to about {duration(estimate.seconds)}, checks and "
            "curve included, if nothing breaks and nothing is certified; less where much does.",
        )  # fmt: skip


def _short(text: str) -> str:
    """The first two sentences."""
    return " ".join(re.split(r"(?<=\.) ", " ".join(text.split()))[:2])


def _closely(difference: float) -> str:
    """How well two passes agree, of a difference that is a share of the largest answer."""
    return "exactly" if difference == 0 else f"to {difference:.1e} of the largest answer"
