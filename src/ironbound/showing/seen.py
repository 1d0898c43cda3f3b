"""What a result is shown with: the model and the clean inputs, and from these the pictures with the model's answers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ironbound.core import rows as rows_
from ironbound.core.errors import InputError, UsageError
from ironbound.core.predict import predict
from ironbound.core.protocols import Status
from ironbound.core.result import Result
from ironbound.core.rng import Rng, content_keys
from ironbound.models.model import Model
from ironbound.showing import words
from ironbound.showing.images import Picture, is_picture

if TYPE_CHECKING:
    from ironbound.showing.page import Page

_ORDER = (Status.FOUND, Status.NOT_FOUND, Status.BUDGET, Status.NON_FINITE, Status.ALREADY_WRONG)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a result is shown with, by reference: the model, the clean inputs, and the labels where there were any."""

    model: Model
    x: Any
    y: Tensor | None
    threat: Any
    seed: int = 0

    @staticmethod
    def of(model: Any, x: Any, y: Any, threat: Any, seed: int = 0) -> Seen:
        """From what a user has: a module or Model, inputs, labels."""
        wrapped = Model.of(model)
        inputs, labels = wrapped.admit(x, y)
        return Seen(wrapped, inputs, labels, threat, seed)

    def take(self, index: Tensor) -> Seen:
        """Of some of the inputs."""
        y = None if self.y is None else rows_.take(self.y, index.to(self.y.device))
        return replace(self, x=rows_.take(self.x, index.to(self.model.device)), y=y)

    def show(
        self, result: Result, path: str | Path | None, names: Sequence[str] | None, features: Sequence[str] | None,
        most: int,
    ) -> Page:  # fmt: skip
        """The page of a result; see Result.show."""
        from ironbound.showing.page import page_of

        x, y, n = self.x, self.y, rows_.count(self.x)
        made = result.adversarial if isinstance(x, (dict, tuple, list)) else torch.as_tensor(result.adversarial)
        if rows_.count(made) != n:
            raise UsageError(f"the result has {rows_.count(made)} inputs, and {n} clean ones were given.")
        status = torch.as_tensor(result.status).cpu()
        size = torch.as_tensor(result.size).cpu()
        if len(status) != n:  # problems of several inputs each
            if self.threat is None:
                raise UsageError(
                    "problems of several inputs each are shown with threat=, which says whose each input is."
                )
            items = self.threat.at(x, self.model.box).items.cpu()
            status, size = status[items], size[items]
        shared = result.config.get("collective")
        rank = torch.tensor([_ORDER.index(code) for code in Status])[status]
        chosen = rank.argsort(stable=True)[:most] if shared is None else torch.arange(n)[:most]
        made, here = rows_.to(made, self.model.device), chosen.to(self.model.device)
        shown = pictures(
            self.model, rows_.take(x, here), None if y is None else y[here], rows_.take(made, here), index=chosen,
            verdicts=[_word(code, shared) for code in status[chosen].tolist()], size=size[chosen],
            names=names, seed=self.seed,
        )  # fmt: skip
        lead = _lead(status, len(shown)) if shared is None else _lead_of_shared(shared, len(shown))
        page = page_of("What the attack found", lead, shown, self.threat, features)
        if path is None and "ipykernel" not in sys.modules:
            path = Path(tempfile.mkdtemp(prefix="ironbound-")) / "found.html"
        return page if path is None else page.save(path)


def pictures(
    model: Model, x: Any, y: Tensor | None, adversarial: Any, *, index: Tensor, verdicts: Sequence[str], size: Tensor,
    names: Sequence[str] | None = None, seed: int = 0, rows: int | None = None,
) -> list[Picture]:  # fmt: skip
    """Inputs with what an attack made of them and the model's answers, ready for a page.

    Raises InputError for inputs that are neither pictures nor vectors.
    """
    if not is_picture(x) and not (isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point()):
        kind = f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise InputError(
            "inputs are shown where they are pictures, (n, channels, height, width) with 1 or 3 channels, or vectors, "
            f"(n, features); these are {kind}. `found.adversarial` holds what was found, row by row."
        )
    keys = content_keys(x, y).to(model.device)
    streams = Rng.of(seed, keys)
    clean, after = (answers(model, inputs, streams, rows) for inputs in (x, adversarial))
    named = lambda label: names[label] if names is not None and 0 <= label < len(names) else str(label)
    word = lambda said, i: "" if said is None else named(int(said[0][i]))
    sure = lambda said, i: float("nan") if said is None else float(said[1][i])
    labels = y if y is not None and y.ndim == 1 and not y.is_floating_point() else None
    return [
        Picture(
            index=int(index[i]), label="" if labels is None else named(int(labels[i])), clean_answer=word(clean, i),
            adversarial_answer=word(after, i), clean_confidence=sure(clean, i), adversarial_confidence=sure(after, i),
            verdict=verdicts[i], size=float(size[i]), clean=_drawn(x[i], model), adversarial=_drawn(adversarial[i], model),
        )
        for i in range(len(x))
    ]  # fmt: skip


def answers(model: Model, x: Any, streams: Rng, rows: int | None = None) -> tuple[Tensor, Tensor] | None:
    """The model's classes and its confidence in them (softmax), by one pass in its own precision; 1 for bare decisions.

    None where it answers with no classes.
    """
    out = predict(model, x, streams, rows=rows)
    if not isinstance(out, Tensor) or out.ndim != (2 if out.is_floating_point() else 1):
        return None
    if not out.is_floating_point():
        return out.cpu(), torch.ones(len(out))
    confidence, answer = out.double().softmax(1).max(1)
    return answer.cpu(), confidence.cpu()


def _drawn(image: Tensor, model: Model) -> Tensor:
    """On the CPU; a picture in [0, 1]."""
    image = image.detach().cpu().float()
    if image.ndim != 3:
        return image
    low, high = model.box if model.box is not None else (float(image.amin()), float(image.amax()) or 1.0)
    return ((image - low) / (high - low)).clamp(0, 1)


def _lead(status: Tensor, shown: int) -> str:
    """How the inputs ended, and how many of them are shown."""
    count = lambda *codes: int(sum((status == int(code)).sum() for code in codes))
    found, wrong, total = count(Status.FOUND), count(Status.ALREADY_WRONG), len(status)
    said = f"Of {words.plural(total, 'input')}: an adversarial example was found for {found}"
    said += f"; {wrong} {'was' if wrong == 1 else 'were'} wrong when clean" if wrong else ""
    failed = total - found - wrong
    said += f"; nothing was found for {failed}" if failed else ""
    return f"{said}. {words.plural(shown, 'input')} shown, those found first."


def _word(code: int, shared: dict[str, Any] | None) -> str:
    """How an input ended. What is for many inputs ended for all of them together: the answers say how for each."""
    return Status(code).name.lower().replace("_", " ") if shared is None else "one change for many inputs"


def _lead_of_shared(shared: dict[str, Any], shown: int) -> str:
    """On how many inputs one change for many works, and how many of them are shown."""
    works, total, changes = sum(shared["works_on"]), sum(shared["inputs"]), len(shared["inputs"])
    kinds = "One change for all" if changes == 1 else f"{changes} changes, each for a group"
    return (
        f"{kinds}: works on {works:,} of {words.plural(total, 'input')}, those wrong when clean included. "
        f"{words.plural(shown, 'input')} shown, the first ones."
    )


def show(
    found: Result, model: Any, x: Any, y: Any = None, *, threat: Any = None, path: str | Path | None = None,
    names: Sequence[str] | None = None, features: Sequence[str] | None = None, most: int = 24,
) -> Page:  # fmt: skip
    """The page of a result that does not hold its clean inputs: one that was loaded, or that an Attack itself returned.

    model, x, y: as they were attacked. threat: the set, which says the unit of sizes (and which inputs share a problem, where
    problems are collective). The others are those of `Result.show`.

    >>> ib.show(ib.Result.load("found.safetensors"), net, x, y, path="found.html")  # doctest: +SKIP
    """
    return Seen.of(model, x, y, threat).show(found, path, names, features, most)
