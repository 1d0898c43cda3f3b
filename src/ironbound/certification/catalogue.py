"""The bounds that have a name, with their papers."""

from __future__ import annotations

from ironbound.certification.exhaustive import Exhaustive
from ironbound.certification.ibp import Ibp
from ironbound.core.catalogue import Entry, Paper


def ibp() -> Ibp:
    """Interval bounds, layer by layer: the cheapest proof, tight on nets that were trained for it."""
    return Ibp()


def exhaustive() -> Exhaustive:
    """Every point of a finite set, one by one: exact, whatever the model is."""
    return Exhaustive()


GOWAL = Paper(
    ("Gowal, Sven", "Dvijotham, Krishnamurthy", "Stanforth, Robert", "Bunel, Rudy", "Qin, Chongli", "Uesato, Jonathan",
     "Arandjelovic, Relja", "Mann, Timothy", "Kohli, Pushmeet"),
    2018, "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models", "1810.12715",
)  # fmt: skip
ENGSTROM = Paper(
    ("Engstrom, Logan", "Tran, Brandon", "Tsipras, Dimitris", "Schmidt, Ludwig", "Madry, Aleksander"),
    2019, "Exploring the Landscape of Spatial Robustness", "1712.02779", "ICML 2019",
)  # fmt: skip

ENTRIES = (Entry("certify", "ibp", ibp, GOWAL), Entry("certify", "exhaustive", exhaustive, ENGSTROM))
