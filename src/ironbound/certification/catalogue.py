"""The bounds that have a name, with their papers."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from ironbound.certification.bounds import alpha_crown, crown, crown_ibp, exhaustive, ibp, milp
from ironbound.core.catalogue import Entry, Paper
from ironbound.core.errors import UsageError

GOWAL = Paper(
    ("Gowal, Sven", "Dvijotham, Krishnamurthy", "Stanforth, Robert", "Bunel, Rudy", "Qin, Chongli", "Uesato, Jonathan",
     "Arandjelovic, Relja", "Mann, Timothy", "Kohli, Pushmeet"),
    2018, "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models", "1810.12715",
)  # fmt: skip
ENGSTROM = Paper(
    ("Engstrom, Logan", "Tran, Brandon", "Tsipras, Dimitris", "Schmidt, Ludwig", "Madry, Aleksander"),
    2019, "Exploring the Landscape of Spatial Robustness", "1712.02779", "ICML 2019",
)  # fmt: skip
TJENG = Paper(
    ("Tjeng, Vincent", "Xiao, Kai", "Tedrake, Russ"),
    2019, "Evaluating Robustness of Neural Networks with Mixed Integer Programming", "1711.07356", "ICLR 2019",
)  # fmt: skip

ZHANG = Paper(
    ("Zhang, Huan", "Weng, Tsui-Wei", "Chen, Pin-Yu", "Hsieh, Cho-Jui", "Daniel, Luca"),
    2018, "Efficient Neural Network Robustness Certification with General Activation Functions", "1811.00866",
    "NeurIPS 2018",
)  # fmt: skip
CROWN_IBP = Paper(
    ("Zhang, Huan", "Chen, Hongge", "Xiao, Chaowei", "Gowal, Sven", "Stanforth, Robert", "Li, Bo", "Boning, Duane",
     "Hsieh, Cho-Jui"),
    2020, "Towards Stable and Efficient Training of Verifiably Robust Neural Networks", "1906.06316", "ICLR 2020",
)  # fmt: skip

XU = Paper(
    ("Xu, Kaidi", "Zhang, Huan", "Wang, Shiqi", "Wang, Yihan", "Jana, Suman", "Lin, Xue", "Hsieh, Cho-Jui"),
    2021, "Fast and Complete: Enabling Complete Verification with Rapid and Massively Parallel Incomplete Verifiers",
    "2011.13824", "ICLR 2021",
)  # fmt: skip

ENTRIES = (
    Entry("certify", "ibp", ibp, GOWAL),
    Entry("certify", "crown-ibp", crown_ibp, CROWN_IBP),
    Entry("certify", "crown", crown, ZHANG),
    Entry("certify", "alpha-crown", alpha_crown, XU),
    Entry("certify", "milp", milp, TJENG),
    Entry("certify", "exhaustive", exhaustive, ENGSTROM),
)


def settings_of(method: Any) -> dict[str, bool | int | float | str]:
    """What a method of certification is set to, as plain data."""
    if not is_dataclass(method):
        return {}
    values = {field.name: getattr(method, field.name) for field in fields(method) if field.init}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}


def repeated(name: str, settings: dict[str, Any]) -> Any:
    """The method of this name with these settings; None where there is none that could be made."""
    entry = next((entry for entry in ENTRIES if entry.name == name), None)
    if entry is None:
        return None
    made = entry.make()
    try:
        method = replace(made, **settings) if settings else made
    except (TypeError, ValueError, UsageError):
        return None
    return method if method.name == name else None
