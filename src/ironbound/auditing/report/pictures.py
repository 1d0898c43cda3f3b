"""What a report draws: the bracket, its swatches and the curve as SVG; inputs are drawn by `ironbound.showing`.

Positions in the SVG are percentages and letters are in pixels, so that a picture is as wide as its place
and its text is never shrunk. Fills are patterns of the style sheet's colours: no meaning hangs on colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Curve, GroupFacts, Part, Share

PARTS: tuple[Part, ...] = (
    "certified",
    "undecided",
    "broken",
    "wrong",
)  # from left to right: surely right to surely wrong
TALL = 128  # the bracket's height in pixels
BAR = (44, 46)  # the bar's top and height
FIELD = (14, 200, 7.0, 97.0)  # the curve: top and height in pixels, from and to in percent of the width

# Inside each tile: the ground, then marks of another colour. The first part is plain.
TILES = {
    "certified": '<rect width="8" height="8" class="g-certified"/>',
    "undecided": '<rect width="8" height="8" class="g-undecided"/>'
    '<path d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4" class="m-undecided"/>',
    "broken": '<rect width="8" height="8" class="g-broken"/>'
    '<circle cx="2" cy="2" r="1.1" class="m-broken"/><circle cx="6" cy="6" r="1.1" class="m-broken"/>',
    "wrong": '<rect width="8" height="8" class="g-wrong"/><path d="M0,2 h8 M0,6 h8" class="m-wrong"/>',
}


def swatch(part: str, prefix: str) -> Markup:
    """A small field with the pattern of one part, for a legend; the word stands beside it."""
    return Markup(
        '<svg class="swatch" width="22" height="14" aria-hidden="true" focusable="false">'
        '<rect x="0.5" y="0.5" width="21" height="13" rx="2" class="edge" fill="url(#{}-{})"/></svg>'
    ).format(prefix, part)


def meter(fraction: float) -> Markup:
    """A thin bar for a table; the figure stands beside it."""
    width = f"{100 * min(max(fraction, 0.0), 1.0):.2f}%"
    return Markup(
        '<svg class="meter" width="72" height="6" aria-hidden="true" focusable="false">'
        '<rect width="100%" height="6" rx="3" class="rail"/><rect width="{}" height="6" rx="3" class="level"/></svg>'
    ).format(width)


def strip(row: GroupFacts, prefix: str) -> Markup:
    """One class or slice by verdict as a thin bar, with the patterns of the bracket; the figures stand beside it."""
    shares = {"certified": row["certified"], "undecided": row["attacked"], "broken": row["clean"]}
    edges = {**{part: share["fraction"] for part, share in shares.items()}, "wrong": 1.0}
    drawn, start = Markup(""), 0.0
    for part, edge in edges.items():
        width = max(edge - start, 0.0)
        if width:
            drawn += Markup('<rect x="{}%" width="{}%" height="12" class="edge" fill="url(#{}-{})"/>').format(
                f"{100 * start:.2f}", f"{100 * width:.2f}", prefix, part
            )
        start = max(edge, start)
    return Markup('<svg class="strip" width="100%" height="12" aria-hidden="true" focusable="false">{}</svg>').format(
        drawn
    )


def bracket(audit: Audit, prefix: str) -> Markup:
    """The bracket on a bar from 0 to 100% of the samples, readable without colour and at any width."""
    defs = Markup("").join(
        Markup('<pattern id="{}-{}" width="8" height="8" patternUnits="userSpaceOnUse">{}</pattern>').format(
            prefix, part, Markup(TILES[part])
        )
        for part in PARTS
    )
    return Markup(
        '<svg class="bracket" width="100%" height="{}" role="img" aria-labelledby="{}-title {}-desc">'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc><defs>{}</defs>{}{}{}</svg>'
    ).format(
        TALL, prefix, prefix,
        prefix, f"The bracket: {wording.found(audit)}",
        prefix, _described(audit),
        defs, _whiskers(audit), _bar(audit, prefix), _axis(),
    )  # fmt: skip


def _shares(audit: Audit) -> list[tuple[str, float, float]]:
    """Each part with its start and its width in percent of the samples."""
    total = sum(audit["verdicts"][part] for part in PARTS)
    start = 0.0
    shares: list[tuple[str, float, float]] = []
    for part in PARTS:
        width = 100 * audit["verdicts"][part] / total if total else 0.0
        shares.append((part, start, width))
        start += width
    return shares


def _described(audit: Audit) -> str:
    """The picture in words, for those who hear it."""
    parts = ", ".join(f"{part} {wording.percent(width / 100)}" for part, _, width in _shares(audit))
    return f"A bar of all samples from left to right: {parts}. {wording.sentence(audit)}"


def text(x: float, y: float, label: str, anchor: str, style: str, dx: int = 0) -> Markup:
    """One line of text at a percentage of the width."""
    return Markup('<text x="{}%" y="{}" dx="{}" text-anchor="{}" class="{}">{}</text>').format(
        f"{x:.3f}", f"{y:g}", dx, anchor, style, label
    )


def line(x1: float, x2: float, y1: float, y2: float, style: str) -> Markup:
    """One line between two percentages of the width."""
    return Markup('<line x1="{}%" x2="{}%" y1="{}" y2="{}" class="{}"/>').format(
        f"{x1:.3f}", f"{x2:.3f}", f"{y1:g}", f"{y2:g}", style
    )


def _whiskers(audit: Audit) -> Markup:
    """Above the bar: the bracket as a thick stroke, its 95% ends as a thin one with caps and figures."""
    low, high = 100 * audit["bracket"]["low"], 100 * audit["bracket"]["high"]
    start, end = (100 * value for value in audit["bracket"]["interval"])
    first, last = wording.ends(*audit["bracket"]["interval"])
    y = 30.0
    drawn = line(start, end, y, y, "whisker") + line(low, high, y, y, "reach")
    drawn += line(start, start, y - 5, y + 5, "whisker") + line(end, end, y - 5, y + 5, "whisker")
    drawn += line(low, low, y, BAR[0], "drop") + line(high, high, y, BAR[0], "drop")
    if start >= 14 and end <= 86:  # beside the caps, where there is room
        labels = text(start, y + 4, first, "end", "end", -7) + text(end, y + 4, last, "start", "end", 7)
    elif end <= 55:
        labels = text(end, y + 4, f"95%: {first} to {last}", "start", "end", 7)
    elif start >= 45:
        labels = text(start, y + 4, f"95%: {first} to {last}", "end", "end", -7)
    else:  # a wide one: above the caps
        labels = text(start, y - 12, first, "start", "end") + text(end, y - 12, last, "end", "end")
    return drawn + labels


def _bar(audit: Audit, prefix: str) -> Markup:
    """The samples by verdict; a part names itself where it is wide enough, the legend names it always."""
    top, height = BAR
    drawn = Markup("")
    for part, start, width in _shares(audit):
        if width == 0:
            continue
        drawn += Markup('<rect x="{}%" y="{}" width="{}%" height="{}" class="edge" fill="url(#{}-{})"/>').format(
            f"{start:.3f}", top, f"{width:.3f}", height, prefix, part
        )
        middle, figure = start + width / 2, wording.percent(width / 100)
        if width >= 22:
            drawn += text(middle, top + 19, part, "middle", f"part t-{part}")
            drawn += text(middle, top + 36, figure, "middle", f"part t-{part}")
        elif width >= 14:
            drawn += text(middle, top + 28, figure, "middle", f"part t-{part}")
    return drawn


def _axis() -> Markup:
    """The scale below the bar."""
    bottom = BAR[0] + BAR[1]
    drawn = Markup("")
    for tick in (0, 25, 50, 75, 100):
        anchor = {0: "start", 100: "end"}.get(tick, "middle")
        drawn += line(tick, tick, bottom, bottom + 6, "tick")
        drawn += text(tick, bottom + 21, f"{tick}%", anchor, "scale")
    return drawn


def curve(audit: Audit, prefix: str) -> Markup:
    """Attacked and certified share against radius, with 95% intervals; nothing where the audit has no curve."""
    facts = audit.get("curve", {})
    if "radii" not in facts:
        return Markup("")
    top, height, left, right = FIELD
    across = [left + (right - left) * radius / facts["radii"][-1] for radius in facts["radii"]]
    lines = _trace(facts["certified"], across, "certified") + _trace(facts["attacked"], across, "attacked")
    own = across[facts["own"]]
    mark = line(own, own, top, top + height, "own")
    mark += text(own, top + height + 34, "the threat", "middle", "scale")
    name = f"{prefix}-curve"
    return Markup(
        '<svg class="curve" width="100%" height="{}" role="img" aria-labelledby="{}-title {}-desc">'
        '<title id="{}-title">Right under attack and certified, against radius</title>'
        '<desc id="{}-desc">{}</desc>{}{}{}</svg>'
    ).format(top + height + 42, name, name, name, name, _heard(facts), _frame(facts["radii"], across), mark, lines)


def _heard(facts: Curve) -> str:
    """The curve in words."""
    ends = zip(facts["radii"], facts["attacked"], facts["certified"], strict=True)
    said = (
        f"{wording.number(r)}: {wording.percent(a['fraction'])} and {wording.percent(c['fraction'])}"
        for r, a, c in ends
    )
    return f"Right under attack and certified, by radius. {'; '.join(said)}."


def _frame(radii: list[float], across: list[float]) -> Markup:
    """Both scales; radii are named where there is room for it on a phone, some 320 pixels wide, and the last one always."""
    top, height, left, right = FIELD
    drawn, labels = Markup(""), [f"{radius:.3g}" for radius in radii]
    wide = [100 * (7 * len(label) + 4) / 320 for label in labels]
    last, end = -100.0, across[-1] - wide[-1] / 2
    for tick in (0, 25, 50, 75, 100):
        y = top + height * (1 - tick / 100)
        drawn += line(left, right, y, y, "grid") + text(left, y + 4, f"{tick}%", "end", "scale", -8)
    for label, x, space in zip(labels, across, wide, strict=True):
        drawn += line(x, x, top + height, top + height + 5, "tick")
        if x == across[-1] or (x - space / 2 >= last and x + space / 2 <= end):
            drawn += text(x, top + height + 19, label, "middle", "scale")
            last = x + space / 2
    return drawn


def _trace(shares: Sequence[Share], across: list[float], kind: str) -> Markup:
    """One line: its intervals, the way from point to point, and a mark at each; dashes and squares are the certified one."""
    top, height, _, _ = FIELD
    level = lambda fraction: top + height * (1 - fraction)
    drawn = Markup("")
    for share, x in zip(shares, across, strict=True):
        drawn += line(x, x, level(share["low"]), level(share["high"]), f"span {kind}")
    points = list(zip(across, (level(share["fraction"]) for share in shares), strict=True))
    for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
        drawn += line(x1, x2, y1, y2, f"way {kind}")
    mark = {
        "attacked": '<circle cx="{0}%" cy="{1}" r="4" class="dot {2}"/>',
        "certified": '<rect x="{0}%" y="{1}" width="7" height="7" transform="translate(-3.5 -3.5)" class="dot {2}"/>',
    }[kind]
    return drawn + Markup("").join(Markup(mark).format(f"{x:.3f}", f"{y:.2f}", kind) for x, y in points)
