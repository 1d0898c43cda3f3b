"""Goals about more than a class, on logits of the kit made into what they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ironbound import testing
from ironbound.goals import Above, Below, Dodge, Hide, Impersonate, Part, Phantom, Pixels, PixelsTo, Untargeted

SHIFTS = {"margins_are_in_logits": "it compares with a threshold, which a shift of all numbers passes"}


@dataclass(frozen=True)
class Of:
    """A goal about something else, of logits (m, classes): `turned` makes answers and labels of them."""

    goal: Any
    kind: str

    def margin(self, out: Tensor, y: Tensor) -> Tensor:
        return self.goal.margin(*self.turned(out, y))

    def cross_entropy(self, out: Tensor, y: Tensor) -> Tensor:
        return self.goal.cross_entropy(*self.turned(out, y))

    def turned(self, out: Tensor, y: Tensor) -> tuple[Any, Any]:
        m, classes = out.shape
        match self.kind:
            case "part":
                return {"classes": out, "detector": out[:, 0]}, y
            case "map":
                return out[:, :, None].expand(m, classes, 3), y[:, None].expand(m, 3)
            case "boxes":
                grid = torch.arange(classes, dtype=out.dtype).repeat(m, 1) * 3
                boxes = torch.stack([grid, grid * 0, grid + 2, grid * 0 + 2], 2)
                return {"boxes": boxes, "scores": out}, boxes[torch.arange(m), y]
        return out, torch.eye(classes, dtype=out.dtype)[y]


class TestParts(testing.GoalConformance):
    goals = [
        Of(Part("classes", Untargeted()), "part"),
        Of(Pixels(0.5), "map"),
        Of(PixelsTo(), "map"),
        Of(Pixels(), "map"),
    ]


class TestThresholds(testing.GoalConformance):
    goals = [Of(Part("detector", Above(0.3)), "part"), Of(Part("detector", Below(0.3)), "part")]
    but = {**SHIFTS, "two_classes_leave_no_doubt": "it looks at one of the two"}


class TestBoxes(testing.GoalConformance):
    goals = [Of(Hide(0.3), "boxes"), Of(Phantom(0.3), "boxes")]
    but = {**SHIFTS, "two_classes_leave_no_doubt": "it looks at one of the two"}


class TestJoint(testing.GoalConformance):
    goals = [Of(Part("classes", Untargeted()) & Part("detector", Below(50.0)), "part")]
    but = {**SHIFTS, "cross_entropy_leads_to_the_goal": "the goals share their logits here, and pull in other directions",
           "success_is_a_positive_margin": "as it says: of two goals on the same logits one may lose",
           "two_classes_leave_no_doubt": "the threshold lies on the way"}  # fmt: skip


class TestEmbeddings(testing.GoalConformance):
    goals = [Of(Dodge(3.0, None, "l2"), "embedding"), Of(Impersonate(3.0, None, "l2"), "embedding")]
    classes = (2, 3, 10)
    but = {**SHIFTS, "two_classes_leave_no_doubt": "distances are no straight lines",
           "success_is_a_positive_margin": "along a distance the other side lies behind the reference"}  # fmt: skip


class TestCosines(testing.GoalConformance):
    goals = [Of(Dodge(0.5), "embedding"), Of(Impersonate(0.5), "embedding")]
    classes = (2, 3, 10)
    but = {**SHIFTS, "two_classes_leave_no_doubt": "a cosine knows no scale",
           "success_is_a_positive_margin": "its gradient vanishes at the ends, and a straight step passes them",
           "extreme_logits_are_no_trouble": "embeddings of 1e-30 have no direction in float32"}  # fmt: skip
