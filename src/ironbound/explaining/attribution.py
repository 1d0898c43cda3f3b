"""`attribute`: how much each input value speaks for an answer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import InputError, UnknownName, UsageError
from ironbound.core.rng import Rng, content_keys
from ironbound.core.rows import flat
from ironbound.explaining.score import Passes, must_have_gradients, score_of
from ironbound.models.model import Model

METHODS = ("gradient", "integrated")
CAPTUM = (
    "IntegratedGradients", "Saliency", "InputXGradient", "GuidedBackprop", "Deconvolution", "DeepLift", "Occlusion",
    "FeatureAblation",
)  # fmt: skip
"""Captum's algorithms that take a model and its inputs, draw nothing, and look at no layer."""
STEPPED = ("integrated", "captum:IntegratedGradients")
STEPS = 32
"""Points of integrated gradients on the way from the baseline."""
PORTION = 256
"""Gradients that are held at once before they are summed."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each input value spoke for a score, with the passes that it took."""

    values: Float[Tensor, "n ..."]
    """In the shape and unit of the method: gradients in score per input unit, the others in score."""
    score: Float[Tensor, " n"]
    """The score at the inputs: the class' logit, or its margin over the class that it stands against."""
    method: str
    forward: int
    backward: int
    """Model rows that were run."""
    baseline_score: Float[Tensor, " n"] | None = None
    """The score at the baseline, of methods that start at one."""
    steps: int | None = None

    @property
    def gap(self) -> Float[Tensor, " n"] | None:
        """What is missing from completeness: the sum of the values less (score - baseline_score); None without a baseline."""
        if self.baseline_score is None:
            return None
        return flat(self.values).double().sum(1) - (self.score.double() - self.baseline_score.double())


def attribute(
    model: Any, x: Any, classes: Any = None, *, method: str = "integrated", against: Any = None, steps: int = STEPS,
    baseline: Any = None, rows: int | None = None, seed: int = 0, **options: Any,
) -> Attribution:  # fmt: skip
    """How much each input value speaks for a class: gradients, integrated gradients, or an algorithm of Captum.

    Parameters
    ----------
    model: a torch.nn.Module (inputs in [0, 1]), or a Model. It must answer with logits or probabilities (log p stands for
        logits then).
    x: inputs (n, ...) in the model's range.
    classes: the class to speak for, one for all or one an input (n,); None: the model's own answers.
    against: a class to speak against, likewise: the score is then the margin, logit of `classes` less logit of `against`.
    method: "gradient": the derivative of the score at x, in score per input unit (Simonyan, Vedaldi and Zisserman 2013,
        arXiv 1312.6034, with its sign). "integrated": integrated gradients (Sundararajan, Taly and Yan 2017, arXiv
        1703.01365): (x - baseline) times the mean gradient on the straight line from the baseline, by Gauss-Legendre
        quadrature with `steps` points. "captum:NAME", with the extra captum: IntegratedGradients, Saliency (with its
        sign), InputXGradient, GuidedBackprop, Deconvolution, DeepLift, Occlusion, FeatureAblation; `options` go to its
        `attribute`, such as sliding_window_shapes of Occlusion.
    baseline: where integrated gradients begin: a number, or a tensor that fits x. None: the lowest value of the range (a
        black image), or 0 where the model has no range. What equals the baseline gets nothing.
    rows: inputs a pass; None: as many as fit.
    seed: of models that draw.

    Returns values of x's shape on x's device, and `gap`, by how much they miss completeness (their sum is score at x less
    score at the baseline): more steps make it smaller. An attribution says what this score feels near x or along that line.
    It proves nothing about causes, and an attack can change it without changing the answer (Ghorbani, Abid and Zou 2017,
    arXiv 1710.10547).

    Raises UnknownName for other methods, UsageError where Captum is missing or refuses the model, ModelError where there is
    no gradient, InputError for inputs and classes that are none of the model's.

    >>> attribute(torch.nn.Linear(2, 2), torch.tensor([[0.5, 1.0]]), 1).values.shape
    torch.Size([1, 2])
    """
    name = known_method(method)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps is a whole number from 1 up; got {steps!r}.")
    if options and name in METHODS:
        raise UsageError(f"{name} takes no options; got {', '.join(map(str, options))}.")
    wrapped = Model.of(model)
    inputs, _ = wrapped.admit(x)
    must_have_gradients(wrapped, inputs)
    rng = Rng.of(seed, content_keys(inputs, None).to(wrapped.device))
    score, asked = score_of(wrapped, inputs, classes, against, rng, rows)
    passes = Passes(wrapped, score, rng, rows)
    with passes.opened():
        values, at, below = _computed(passes, name, inputs, wrapped, baseline, steps, options)
    home = x.device if isinstance(x, Tensor) else torch.device("cpu")
    forward, backward = passes.spent
    return Attribution(
        values.to(home), at.to(home), name, forward + asked, backward,
        None if below is None else below.to(home), steps if name in STEPPED else None,
    )  # fmt: skip


def known_method(name: str) -> str:
    """A method's one spelling. Raises UnknownName for what is none, UsageError where its extra is missing."""
    text = str(name).strip()
    if text.lower() in METHODS:
        return text.lower()
    library, _, algorithm = text.partition(":")
    known = {one.lower(): one for one in CAPTUM}
    if library.lower() == "captum" and algorithm.lower() in known:
        from ironbound.explaining.captums import captum_attr

        captum_attr()
        return f"captum:{known[algorithm.lower()]}"
    every = [*METHODS, *(f"captum:{one}" for one in CAPTUM)]
    near = difflib.get_close_matches(text.lower(), [one.lower() for one in every], n=1)
    hint = f" Did you mean {next(one for one in every if one.lower() == near[0])!r}?" if near else ""
    raise UnknownName(f"there is no attribution {text!r}.{hint} There are: {', '.join(every)}.")


def baseline_of(model: Model, x: Tensor, baseline: Any) -> Tensor:
    """The baseline of each input, in x's shape. Raises InputError where it does not fit or leaves the model's range."""
    if baseline is None:
        return torch.full_like(x, 0.0 if model.box is None else model.box[0])
    given = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    try:
        whole = given.expand(x.shape).contiguous()
    except RuntimeError:
        raise InputError(f"a baseline of shape {tuple(given.shape)} does not fit inputs {tuple(x.shape)}.") from None
    try:
        return model.admit(whole)[0]
    except InputError as error:
        raise InputError(f"baseline: {error}") from None


def _computed(
    passes: Passes, name: str, x: Tensor, model: Model, baseline: Any, steps: int, options: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Values, score at x and score at the baseline."""
    if name == "gradient":
        return *passes.gradients(lambda at: x[at], torch.arange(len(x), device=x.device)), None
    start = baseline_of(model, x, baseline)
    if name == "integrated":
        return integrated(passes, x, start, steps), passes.scores(x), passes.scores(start)
    from ironbound.explaining.captums import captum_values

    values, complete = captum_values(passes, name.partition(":")[2], x, start, steps, options)
    return values, passes.scores(x), passes.scores(start) if complete else None


def integrated(passes: Passes, x: Tensor, start: Tensor, steps: int) -> Tensor:
    """(x - start) times the mean gradient between them: Sundararajan, Taly and Yan 2017, equation 1."""
    places, weights = (torch.tensor(numbers, device=x.device) for numbers in _rule(steps))
    found = []
    for problems in torch.arange(len(x), device=x.device).split(max(1, PORTION // steps)):
        owner = problems.repeat_interleave(steps)
        along = places.to(x.dtype).repeat(len(problems)).reshape(-1, *[1] * (x.ndim - 1))

        def make(at: slice, owner: Tensor = owner, along: Tensor = along) -> Tensor:
            low = start[owner[at]]
            return low + along[at] * (x[owner[at]] - low)

        grads, _ = passes.gradients(make, owner)
        mean = torch.einsum("ks...,s->k...", grads.unflatten(0, (len(problems), steps)), weights.to(grads.dtype))
        found.append((x - start)[problems] * mean)
    return torch.cat(found)


@cache
def _rule(steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Places in (0, 1) and weights that sum to one: Gauss-Legendre, exact for polynomials of degree 2 steps - 1."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    return tuple((0.5 + 0.5 * places).tolist()), tuple((0.5 * weights).tolist())
