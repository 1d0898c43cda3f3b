"""Every goal and every objective of the house keeps the promises of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ironbound import testing
from ironbound.goals import Targeted, TopK, Untargeted
from ironbound.objectives import (
    CrossEntropy,
    Dlr,
    Hinged,
    KlToClean,
    Margin,
    ProbabilityMargin,
    Rescaled,
    TargetDlr,
    TargetMargin,
    TargetProbability,
)


class TestGoals(testing.GoalConformance):
    goals = [Untargeted(), Targeted(), Targeted(1), TopK(1)]


class TestTopGoals(testing.GoalConformance):
    goals = [TopK(2), TopK(5)]
    classes = (10, 1000)


class TestObjectives(testing.ObjectiveConformance):
    objectives = [CrossEntropy(), Margin(), ProbabilityMargin(), Hinged(8.0)]


class TestObjectivesForTheTop(testing.ObjectiveConformance):
    objectives = [CrossEntropy(), Margin(), ProbabilityMargin()]
    goals = [TopK(3)]
    classes = (10, 1000)


class TestNormalisedObjectives(testing.ObjectiveConformance):
    objectives = [Dlr(), Rescaled(), Rescaled(Margin(), gap=3.0)]
    goals = [Untargeted()]


class TestNormalisedObjectivesForOtherGoals(testing.ObjectiveConformance):
    objectives = [Dlr(), Rescaled(), Rescaled(Margin(), gap=3.0)]
    goals = [Targeted(), Targeted(1), TopK(3)]
    classes = (10, 1000)
    but = {"up_is_better": "far from the goal the gap that they divide by may shrink faster than the margin"}


class TestObjectivesTowardsATarget(testing.ObjectiveConformance):
    objectives = [testing.Towards(TargetMargin()), testing.Towards(TargetDlr()), testing.Towards(TargetProbability())]
    goals = [Untargeted()]
    classes = (2,)


class TestTargetsAmongMany(testing.ObjectiveConformance):
    objectives = [testing.Towards(TargetMargin()), testing.Towards(TargetDlr()), testing.Towards(TargetProbability())]
    goals = [Untargeted()]
    classes = (3, 4, 10, 1000)
    but = dict.fromkeys(
        ("up_is_better", "success_is_above_failure"), "it leads to a target, and the goal may be nearer elsewhere"
    )


@dataclass(frozen=True)
class Away:
    """KL to an answer that is sure of the label: what the clean answer mostly is."""

    loss: KlToClean

    def __call__(self, out: Tensor, y: Tensor, goal: Any) -> Tensor:
        clean = out.detach().new_zeros(out.shape).scatter(1, y[:, None], 30.0)
        return self.loss(out, clean)


class TestAwayFromTheCleanAnswer(testing.ObjectiveConformance):
    objectives = [Away(KlToClean())]
    goals = [Untargeted()]
