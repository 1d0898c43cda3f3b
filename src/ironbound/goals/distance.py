"""Goals about embeddings: near to a reference (impersonate), or far from one's own (dodge)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ironbound.core.errors import ModelError, UsageError
from ironbound.core.protocols import Labels, Outputs
from ironbound.goals.joint import Joinable, seen_as

METRICS = ("cosine", "l2")


@dataclass(frozen=True, eq=False)
class Nearness(Joinable):
    """How near an embedding is to its reference, against the threshold of a verification system.

    threshold: where the system says "the same": a cosine of at least it, or an L2 distance of at most it.
    gallery: reference embeddings (identities, d), of which y (m,) names one for each input; None: y are the references
        themselves, (m, d).
    metric: "cosine" or "l2".
    """

    threshold: float
    gallery: Float[Tensor, "identities d"] | None = None
    metric: str = "cosine"

    from_label = False

    def __post_init__(self) -> None:
        table = self.gallery is None or (isinstance(self.gallery, Tensor) and self.gallery.ndim == 2)
        if self.metric not in METRICS or not table:
            raise UsageError(
                f"a gallery is a tensor (identities, d) or None, a metric one of {METRICS}; got {self.metric!r}."
            )
        if (self.metric == "cosine" and not -1 <= self.threshold <= 1) or (self.metric == "l2" and self.threshold < 0):
            raise UsageError(f"a threshold is a cosine in [-1, 1], or an L2 distance >= 0; got {self.threshold}.")

    def nearness(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """Cosine less the threshold, or the threshold less the L2 distance: positive where they count as the same."""
        reference = self._reference(out, y)
        if self.metric == "cosine":
            return F.cosine_similarity(out, reference, dim=1, eps=1e-12) - self.threshold
        gap = out - reference
        return self.threshold - (gap * gap).sum(1).clamp_min(1e-24).sqrt()

    def scale(self, out: Outputs) -> Tensor:
        """What nearness rounds to: of cosines 1, of distances the length of the embedding or the threshold."""
        _embeddings(out, self)
        ones = torch.ones(len(out), dtype=torch.float64, device=out.device)
        if self.metric == "cosine":
            return ones
        return torch.linalg.vector_norm(out.detach().double(), dim=1).nan_to_num(nan=0.0).clamp_min(self.threshold)

    def _reference(self, out: Outputs, y: Labels) -> Tensor:
        _embeddings(out, self)
        if not isinstance(y, Tensor):
            raise UsageError(
                f"{type(self).__name__} compares with references: give y, the embeddings (n, {out.shape[1]}) to compare with, or "
                "numbers of identities (n,) and gallery=."
            )
        if self.gallery is None:
            reference = y
        else:
            if y.is_floating_point() or y.ndim != 1:
                raise UsageError(f"with a gallery, y are numbers of identities (n,), whole ones; got {seen_as(y)}.")
            reference = self.gallery.to(out.device)[y]
        if reference.shape != out.shape:
            raise UsageError(
                f"references {tuple(reference.shape)} for embeddings {tuple(out.shape)}; give one of each size."
            )
        return reference.to(out.dtype)


@dataclass(frozen=True, eq=False)
class Impersonate(Nearness):
    """The system takes the input for the identity y: its embedding comes within the threshold of the reference.

    Face verification: Sharif, Bhagavatula, Bauer, Reiter 2016, Accessorize to a Crime, section 4.2 (impersonation), on
    embeddings such as those of Schroff, Kalenichenko, Philbin 2015, FaceNet, arXiv 1503.03832.
    """

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """By how much it is near enough, shape (m,), in the metric's unit."""
        return self.nearness(out, y)

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """log sigmoid(margin), nats."""
        return F.logsigmoid(self.margin(out, y))


@dataclass(frozen=True, eq=False)
class Dodge(Nearness):
    """The system no longer takes the input for its own identity y: its embedding leaves the threshold of the reference.

    Sharif et al. 2016, section 4.2 (dodging). At the reference itself the gradient of either metric is zero: start elsewhere,
    or compare with another picture of the same identity.
    """

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """By how much it is too far, shape (m,), in the metric's unit."""
        return -self.nearness(out, y)

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """log sigmoid(margin), nats."""
        return F.logsigmoid(self.margin(out, y))


def _embeddings(out: Outputs, goal: object) -> None:
    if not (isinstance(out, Tensor) and out.is_floating_point() and out.ndim == 2):
        raise ModelError(
            f"{type(goal).__name__} reads embeddings (m, d), and the model answers with {seen_as(out)}. Say "
            "ironbound.Model(net, outputs='anything'), and name a part by Part('embedding', goal)."
        )
