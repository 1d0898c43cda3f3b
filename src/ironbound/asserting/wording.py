"""A finding in words: what was asked, what was found, why it is no more, and the samples that speak against it."""

from __future__ import annotations

from ironbound.asserting.found import Figure, Found
from ironbound.asserting.samples import Case
from ironbound.asserting.sequential import Sequential
from ironbound.auditing.report.wording import span
from ironbound.core.text import shown
from ironbound.showing.words import percent, plural

LISTED = 5
"""Samples that a message lists."""
RIGHT = {"clean": "right", "attacked": "right and not broken", "certified": "right and certified"}
ORDER = {"below": 0, "cannot tell": 1, "open": 2, "pass": 3}


def message(found: Found) -> str:
    """All of it; the first line says what is the matter."""
    figures = sorted(found.figures, key=lambda figure: ORDER[figure.result])
    head = f"{shown(found.name)}: " if found.name else ""
    lines = [head + _sentence(figures[0], found), *(_sentence(figure, found) for figure in figures[1:]), _how(found)]
    lines += [f"Note: {shown(note)}" for note in found.notes]
    if not found.passed:
        lines += _against(found)
    return "\n".join(lines)


def _sentence(figure: Figure, found: Found) -> str:
    what = f"{figure.requirement} accuracy" + ("" if figure.requirement == "clean" else f" under {shown(found.threat)}")
    said, wanted = _figures(figure, found.confidence), f"{figure.at_least:g}"
    if figure.result == "pass":
        return f"{what} is at least {wanted}: {said}."
    if figure.result == "below":
        return f"{what} is below {wanted}: {said}."
    if figure.result == "open":
        return f"{what}, at least {wanted}: not decided yet when this was: {said}."
    why = f"ran out of samples: whether {what} is at least {wanted} cannot be told from {_used(figure, found)}: {said}."
    return f"{why} {_further(figure, found.confidence)}"


def _used(figure: Figure, found: Found) -> str:
    if figure.total == found.available:
        return f"all {found.available:,} there are" if found.available > 1 else "the one there is"
    return f"the {found.available:,} there are, whatever the last {found.available - figure.total:,} are"


def _further(figure: Figure, confidence: float) -> str:
    if figure.at_least == 1.0:
        return "No number of samples can show a share of 1."
    least = Sequential.at(figure.at_least, confidence).least(0, 0, 100_000)
    if figure.total < least:
        return f"Even where every sample is {RIGHT[figure.requirement]}, it takes {least:,} at least."
    if figure.further is None:
        return "More samples would hardly help: the share that was found is the threshold itself."
    return f"About {plural(_about(figure.further), 'sample')} more would tell, if they were like these."


def _about(number: int) -> int:
    """Two digits of it, rounded up."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def _figures(figure: Figure, confidence: float) -> str:
    if figure.total == 0:
        return "no sample was needed"
    share, ends = percent(figure.fraction), span(figure.low, figure.high)
    return (
        f"{figure.count:,} of {plural(figure.total, 'sample')} {'is' if figure.count == 1 else 'are'} "
        f"{RIGHT[figure.requirement]} ({share}; {100 * confidence:g}% interval {ends})"
    )


def _how(found: Found) -> str:
    attacked = any(figure.requirement == "attacked" for figure in found.figures)
    method = f"by method {shown(found.method)!r}, " if found.method else ""
    checks = " No checks were made of the attacks: ironbound audit makes them." if attacked else ""
    return (
        f"How: {plural(found.used, 'sample')} of {found.available:,}, in random order (seed {found.seed}), {method}until a "
        f"sequential test was {100 * found.confidence:g}% sure or had no more; the intervals allow for that.{checks}"
    )


def _against(found: Found) -> list[str]:
    """The counts of what speaks against it, and its worst samples."""
    total = sum(found.kinds.values())
    if not total:
        return []
    kinds = dict[str, int]()
    for (verdict, stage), number in sorted(found.kinds.items(), key=lambda item: (item[0][0] == "wrong", -item[1])):
        word = _kind(verdict, stage)
        kinds[word] = kinds.get(word, 0) + number
    counted = ", ".join(f"{number:,} {word}" for word, number in kinds.items())
    lines = [f"What speaks against it: {plural(total, 'sample')} ({counted}). The worst:"]
    worst = list(zip(found.against, found.sizes, strict=True))[:LISTED]
    lines += [f"  {_line(case, size, found.names)}" for case, size in worst]
    if found.page is not None:
        lines.append(f"The worst {len(found.against)} as a page: {shown(found.page)}" if len(found.against) > 1
                     else f"As a page: {shown(found.page)}")  # fmt: skip
    return lines


def _kind(verdict: str, stage: str) -> str:
    return {"wrong": "wrong when clean", "broken": f"broken by {shown(stage)}"}.get(verdict, "not certified")


def _line(case: Case, size: str, names: tuple[str, ...]) -> str:
    """One sample: its number, its class, what became of it."""
    sure = "" if case.confidence is None else f" ({percent(case.confidence)} sure)"
    begin, answer = f"sample {case.index}, truly {_class(case.label, names)}: ", _class(case.prediction, names)
    if case.verdict == "broken":
        margin = "" if case.margin is None else f", margin {case.margin:.3g}"
        return f"{begin}answered {answer}{sure}, {size}{margin} ({shown(case.stage)})"
    if case.verdict == "wrong":
        return f"{begin}answered {answer}{sure} when clean"
    proved = "" if case.margin is None else f"; the proved margin of its label is {case.margin:.3g}"
    return f"{begin}not certified{proved}"


def _class(number: int | None, names: tuple[str, ...]) -> str:
    return shown(names[number]) if number is not None and 0 <= number < len(names) else str(number)
