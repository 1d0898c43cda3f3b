"""Floors: is a fraction at least a figure, as far as so many samples can say, and how many more would say it?"""

from __future__ import annotations

from collections.abc import Callable

from ironbound.auditing.intervals import Share, clopper_pearson
from ironbound.auditing.report.schema import Outcome

MOST = 10**9
"""Samples in all, beyond which no number is named: nobody has them."""


def floor_outcome(share: Share, wanted: float) -> Outcome:
    """ "pass" where the lower end of the interval reaches the figure, "below" where the upper end does not, else "cannot tell".

    The interval is two-sided, as everywhere in a report: with 95% confidence a model that is below the figure passes in at
    most 2.5% of all samples that could have been drawn.
    """
    if share.low >= wanted:
        return "pass"
    return "below" if share.high < wanted else "cannot tell"


def more_for_floor(count: int, total: int, wanted: float, confidence: float) -> int | None:
    """How many more samples would settle a floor, if the rate that was observed stays what it is.

    Above the figure: until the lower end of the interval reaches it. Below: until the upper end no longer does. None where
    no number would: the rate is the figure itself, or so near to it that more than MOST samples are needed.
    """
    if count == wanted * total:
        return None

    def settled(samples: int) -> bool:
        low, high = clopper_pearson(count * samples / total, samples, confidence)
        return low >= wanted if count > wanted * total else high < wanted

    return fewest_more(settled, total)


def fewest_more(settled: Callable[[int], bool], total: int) -> int | None:
    """The least that has to be added to `total` for a number to be settled, where all larger ones are; None beyond MOST."""
    if settled(total):
        return 0
    below, above = total, 2 * total
    while not settled(above):
        if above > MOST:
            return None
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if settled(middle) else (middle, above)
    return above - total
