"""The conformance kit: name a new set, goal, objective, oracle or search in a test class, and inherit its tests.

>>> from ironbound import testing                               # doctest: +SKIP
>>> class TestTopHalf(testing.SetConformance):                  # doctest: +SKIP
...     sets = [TopHalf(0.3)]

Every promise is a test with an id of its own; its message says what is promised, in which case it was broken, and how to
mend it. Needs pytest: pip install 'ironbound[testing]'.
"""

from ironbound.testing.around import Around
from ironbound.testing.collective import CollectiveConformance
from ironbound.testing.nets import Flat, Front, RowWise, Tiny, WhiteNoise, fit
from ironbound.testing.oracles import OracleConformance
from ironbound.testing.outputs import GoalConformance, ObjectiveConformance, Towards
from ironbound.testing.promise import Broken, Conformance, Promise, promises, require
from ironbound.testing.searches import SearchConformance
from ironbound.testing.sets import SetConformance
from ironbound.testing.trials import Trial

__all__ = [
    "Around",
    "Broken",
    "CollectiveConformance",
    "Conformance",
    "Flat",
    "Front",
    "GoalConformance",
    "ObjectiveConformance",
    "OracleConformance",
    "Promise",
    "RowWise",
    "SearchConformance",
    "SetConformance",
    "Tiny",
    "Towards",
    "Trial",
    "WhiteNoise",
    "fit",
    "promises",
    "require",
]
