"""The tests that a perturbation set inherits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from ironbound.core.protocols import Box, Can
from ironbound.testing import edges, linear, regions
from ironbound.testing.around import DTYPES, SetSubject
from ironbound.testing.promise import Conformance, Promise, ids, promises

PROMISES = promises(
    regions.it_is_a_description,
    regions.the_identity_changes_nothing,
    regions.answers_have_shapes,
    regions.not_a_number_is_in_no_set,
    regions.contains_and_distance_agree,
    edges.edges_are_exact,
    (regions.projections_are_inside, Can.PROJECT),
    (regions.projections_are_nearest, Can.PROJECT),
    (regions.draws_are_inside, Can.SAMPLE),
    (regions.other_radii_are_the_same_set, Can.SCALE),
    (regions.a_radius_beyond_the_box_is_the_box, Can.SCALE),
    (regions.lists_are_complete, Can.FINITE),
    (regions.neighbours_are_inside, Can.NEIGHBOURS),
    regions.gradients_reach_the_leaf,
    (linear.support_is_the_largest_value, Can.SUPPORT),
    (linear.support_is_attained, Can.SUPPORT),
    (linear.the_steepest_step_is_steepest, Can.STEER),
    (linear.steepest_and_support_agree, Can.STEER | Can.SUPPORT | Can.SCALE),
    linear.rows_stand_alone,
    linear.no_rows_are_no_trouble,
    linear.nothing_is_written_to,
    linear.layout_does_not_matter,
    linear.devices_agree,
)


class SetConformance(Conformance):
    """Name `sets`. Each is tried around the inputs that the kit brings, or around a batch of your own in `inputs`.

    A set that holds one radius or mask a problem holds `problems` of them.
    """

    sets: ClassVar[Sequence[Any]] = ()
    shapes: ClassVar[Sequence[Sequence[int]]] = ((2, 3, 4), (6,))
    """Of one input: narrow them where the set wants images, or one size."""
    boxes: ClassVar[Sequence[Box]] = ((0.0, 1.0), (-1.7, 2.3), (0.0, 255.0), None)
    """Ranges of a model; None: inputs without ends."""
    dtypes: ClassVar[Sequence[torch.dtype]] = DTYPES
    problems: ClassVar[int] = 4
    inputs: ClassVar[Any] = None
    """A batch of your own, where inputs are no tensors of floats."""

    promises: ClassVar[tuple[Promise, ...]] = PROMISES
    named = "sets"

    def subjects(self) -> Iterable[SetSubject]:
        """The sets with the inputs around which they are looked at."""
        for name, given in zip(ids(self.sets), self.sets, strict=True):
            yield SetSubject(name, given, self.problems, self.shapes, self.boxes, self.dtypes, self.inputs)
