"""Lines over the epochs of a training, as SVG in the manner of pictures.py: positions in percent, letters in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ironbound.auditing.report.pictures import line, text
from ironbound.showing.words import percent

LEFT, RIGHT, TOP = 8.0, 96.0, 14
STEPS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Series:
    """One line: its name, its style (attacked, clean, certified; "held" makes it dashed) and a value an epoch, or None."""

    name: str
    style: str
    values: Sequence[float | None]

    @property
    def there(self) -> bool:
        """Whether any value is known."""
        return any(value is not None for value in self.values)


def chart(title: str, series: Sequence[Series], name: str, *, shares: bool, height: int = 200) -> Markup:
    """Lines over the epochs 1, 2, ...; nothing where no value is known. `shares` are drawn from 0 to 100%, others from 0."""
    drawn = [one for one in series if one.there]
    if not drawn:
        return Markup("")
    top = 1.0 if shares else max(value for one in drawn for value in one.values if value is not None) or 1.0
    epochs = len(drawn[0].values)
    across = [LEFT + (RIGHT - LEFT) * (k / (epochs - 1) if epochs > 1 else 0.5) for k in range(epochs)]
    said = lambda value: percent(value) if shares else f"{value:.3g}"
    body = _frame(across, top, height, said) + Markup("").join(_trace(one, across, top, height) for one in drawn)
    heard = "; ".join(f"{one.name}: {_heard(one, said)}" for one in drawn)
    return Markup(
        '<svg class="curve" width="100%" height="{}" role="img" aria-labelledby="{}-title {}-desc">'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>{}</svg>'
    ).format(TOP + height + 28, name, name, name, title, name, f"By epoch. {heard}.", body)


def key(style: str) -> Markup:
    """A piece of a line, for a legend; the word stands beside it."""
    return Markup(
        '<svg class="swatch curve" width="26" height="8" style="display:inline" aria-hidden="true" focusable="false">'
        '<line x1="0" x2="26" y1="4" y2="4" class="way {}"/></svg>'
    ).format(style)


def _heard(one: Series, said: object) -> str:
    assert callable(said)
    return ", ".join("not measured" if value is None else str(said(value)) for value in one.values)


def _frame(across: Sequence[float], top: float, height: int, said: object) -> Markup:
    """Both scales; epochs are named where there is room."""
    assert callable(said)
    drawn, last = line(LEFT, RIGHT, TOP + height, TOP + height, "grid"), -100.0
    for step in STEPS:
        y = TOP + height * (1 - step)
        drawn += line(LEFT, RIGHT, y, y, "grid") + text(LEFT, y + 4, str(said(step * top)), "end", "scale", -8)
    for number, x in enumerate(across, start=1):
        if x - last >= 6:
            drawn += line(x, x, TOP + height, TOP + height + 5, "tick")
            drawn += text(x, TOP + height + 19, str(number), "middle", "scale")
            last = x
    return drawn


def _trace(one: Series, across: Sequence[float], top: float, height: int) -> Markup:
    """From epoch to epoch; a mark where few are known."""
    points = [
        (x, TOP + height * (1 - value / top)) for x, value in zip(across, one.values, strict=True) if value is not None
    ]
    drawn = Markup("")
    for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
        drawn += line(x1, x2, y1, y2, f"way {one.style}")
    marks = points if len(points) <= 30 else []
    dot = Markup('<circle cx="{}%" cy="{}" r="2.5" class="dot {}"/>')
    return drawn + Markup("").join(dot.format(f"{x:.3f}", f"{y:.2f}", one.style) for x, y in marks)
