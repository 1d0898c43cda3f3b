"""The tests that a search, or a whole attack, inherits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ironbound.core.protocols import Can
from ironbound.sets import L2, Linf
from ironbound.testing import attacks, outcomes
from ironbound.testing.attacks import Tried
from ironbound.testing.promise import Conformance, Promise, numbered, promises

PROMISES = promises(
    attacks.witnesses_are_exact,
    attacks.results_add_up,
    attacks.runs_repeat,
    attacks.passes_of_any_size_are_alike,
    attacks.compaction_is_invisible,
    attacks.company_is_invisible,
    attacks.parts_make_the_whole,
    attacks.budgets_hold,
    attacks.the_model_is_left_alone,
    outcomes.parameters_get_no_gradient,
    attacks.no_pass_has_one_row,
    attacks.any_number_of_classes,
    attacks.what_is_wrong_already_is_found,
    outcomes.failures_say_so,
    outcomes.targets_are_another_goal,
    attacks.nan_is_a_status,
    attacks.radius_zero_leaves_x,
    attacks.flat_models_are_no_trouble,
    attacks.layouts_are_alike,
    attacks.cheap_passes_decide_nothing,
    attacks.types_are_kept,
    attacks.masks_and_unions_hold,
    attacks.devices_agree,
    attacks.it_describes_itself,
)


@dataclass(frozen=True)
class AttackSubject:
    """An attack that was named, with the settings of the class that names it."""

    name: str
    tried: Tried

    can = ~Can(0)

    def cases(self) -> Iterator[tuple[str, Tried]]:
        """The promises make their own."""
        words = ", ".join(map(repr, self.tried.threats))
        yield f"inputs {(self.tried.settings.problems, *self.tried.settings.shape)}, {words}", self.tried


class SearchConformance(Conformance):
    """Name `attacks`: Attacks, cascades, or functions that make one. The kit brings nets, data, and sets where they have none.

    Runs are many: name attacks of few steps.
    """

    attacks: ClassVar[Sequence[Any | Callable[[], Any]]] = ()
    threats: ClassVar[Sequence[Any]] = (Linf(0.15), L2(0.6))
    """For attacks that have no set of their own; the first is the one mostly used."""
    classes: ClassVar[Sequence[int]] = (1, 2, 3, 10, 1000)
    """1 is a model with one logit."""
    shape: ClassVar[Sequence[int]] = (1, 4, 4)
    problems: ClassVar[int] = 7
    finds: ClassVar[bool] = True
    """Whether it is expected to find something, on nets on which random points do."""

    promises: ClassVar[tuple[Promise, ...]] = PROMISES
    named = "attacks"

    @classmethod
    def threats_for(cls, attack: Any) -> Sequence[Any]:
        """The sets to try this attack on: `threats`, unless a child chooses."""
        return cls.threats

    def subjects(self) -> Iterable[AttackSubject]:
        """The attacks that were named."""
        made = [given if hasattr(given, "replace") else given() for given in self.attacks]
        names = [getattr(given, "__name__", None) or type(attack.search).__name__ if hasattr(attack, "search")
                 else getattr(given, "__name__", "cascade")
                 for given, attack in zip(self.attacks, made, strict=True)]  # fmt: skip
        for name, attack in zip(numbered(names), made, strict=True):
            yield AttackSubject(name, Tried(attack, type(self)))
