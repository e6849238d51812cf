"""Charts as inline SVG: text stays text, colours are the page's own and follow light and dark, a chart takes few kB.

matplotlib's SVG draws letters as outlines, brings its own colours and takes ten times as much; its rule for round
ticks is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

WIDTH, HEIGHT = 360, 240  # units of the view box; about CSS pixels on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 20, 38
COLORS = 6  # classes .s0 … .s5 of the style sheet; further lines are grey
TICKS = 5
Number = float | None


@dataclass(frozen=True)
class Line:
    """One line or cloud of a chart.

    Attributes:
        name: For the legend; "" has no entry there.
        x: (N,) numbers.
        y: (N,) numbers; None leaves a gap.
        low: (N,) lower ends of whiskers, or none.
        high: (N,) upper ends.
        style: line, dashed, dots (no line between them), or both.
        color: Number of its colour; None takes its place in the chart.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    style: str = "line"
    color: int | None = None


@dataclass(frozen=True)
class Axes:
    """What a chart's axes show.

    Attributes:
        x: Title below.
        y: Title at the side.
        x_range: From, to; None takes the data's.
        y_range: From, to; None takes the data's.
        diagonal: Draw where y is x.
        marks: (x, what is there): vertical lines.
        is_whole: x counts something: no half epochs.
    """

    x: str
    y: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False
    marks: Sequence[tuple[float, str]] = field(default_factory=tuple)
    is_whole: bool = False


def chart(title: str, lines: Sequence[Line], axes: Axes) -> Markup:
    """Lines and dots over two axes, as a figure with title and legend."""
    frame = _Frame(lines, axes)
    parts = [frame.grid(), *(frame.mark(x, text) for x, text in axes.marks)]
    if axes.diagonal:
        parts.append(frame.path([frame.x[0], frame.x[1]], [frame.x[0], frame.x[1]], "diagonal"))
    parts += [frame.line(line, _color(line, i)) for i, line in enumerate(lines)]
    svg = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, _spoken(title, lines, axes), Markup("").join(parts)
    )
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}</figure>').format(title, svg, _legend(lines))


def whisker(value: Number, low: Number, high: Number, start: float, stop: float) -> Markup:
    """A value and its interval as a dot on a line, for a table's cell; nothing where there is no value."""
    if value is None or not stop > start:
        return Markup("")
    place = _scale(start, stop, 4, 116)
    ends = (low, high) if low is not None and high is not None else (value, value)
    return Markup(
        '<svg class="whisker" viewBox="0 0 120 14" aria-hidden="true"><path class="axis" d="M4 7H116"/>'
        '<path class="s0" d="M{} 7H{}"/><circle class="s0" cx="{}" cy="7" r="3.5"/></svg>'
    ).format(*(f"{place(end):.1f}" for end in (*ends, value)))


def bar(value: Number, most: float) -> Markup:
    """A number as a bar to the right (for) or to the left (against) of a middle line, for a table's cell."""
    if value is None or not most > 0:
        return Markup("")
    width = min(abs(value) / most, 1) * 58
    start = 60 if value >= 0 else 60 - width
    return Markup(
        '<svg class="bar {}" viewBox="0 0 120 14" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="axis" d="M60 0V14"/>'
        '<rect x="{:.1f}" y="2" width="{:.1f}" height="10" rx="1.5"/></svg>'
    ).format("for" if value >= 0 else "against", start, width)


def flow(columns: Sequence[tuple[str, str]], fusion: str, targets: Sequence[tuple[str, str]]) -> Markup:
    """Columns, what joins them, and targets as boxes with arrows between: (name, what it is) each."""
    rows = max(len(columns), len(targets), 1)
    height, middle = 46 * rows + 4, (46 * rows + 4) / 2
    parts = [_boxes(columns, 2, height), _boxes([("joined by", fusion)], 132, height), _boxes(targets, 262, height)]
    arrows = [_arrow(98, y, 130, middle) for y in _places(len(columns), height)]
    arrows += [_arrow(228, middle, 260, y) for y in _places(len(targets), height)]
    spoken = f"{', '.join(name for name, _ in columns)}, joined by {fusion}, give {', '.join(n for n, _ in targets)}"
    return Markup('<svg class="flow" viewBox="0 0 360 {}" role="img" aria-label="{}">{}{}</svg>').format(
        height, spoken, Markup("").join(arrows), Markup("").join(parts)
    )


class _Frame:
    """Where numbers lie in a chart."""

    def __init__(self, lines: Sequence[Line], axes: Axes):
        self.axes = axes
        self.x_ticks, self.x = _range([line.x for line in lines], axes.x_range, axes.is_whole)
        self.y_ticks, self.y = _range([side for line in lines for side in (line.y, line.low, line.high)], axes.y_range)
        self._left = _scale(*self.x, LEFT, WIDTH - RIGHT)
        self._top = _scale(*self.y, HEIGHT - BOTTOM, TOP)

    def grid(self) -> Markup:
        """Lines at round numbers, the numbers, and the axes' titles."""
        bottom, parts = HEIGHT - BOTTOM, []
        for tick in self.y_ticks:
            y = f"{self._top(tick):.1f}"
            parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, WIDTH - RIGHT))
            parts.append(_text(LEFT - 5, self._top(tick) + 3.5, _short(tick), "end"))
        parts += [_text(self._left(tick), bottom + 14, _short(tick), "middle") for tick in self.x_ticks]
        parts.append(Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(LEFT, TOP, bottom, WIDTH - RIGHT))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, self.axes.x, "middle", "title"))
        turned = Markup('<g transform="translate(11 {}) rotate(-90)">{}</g>')
        return Markup("").join([*parts, turned.format((TOP + bottom) / 2, _text(0, 0, self.axes.y, "middle", "title"))])

    def mark(self, x: float, text: str) -> Markup:
        left = self._left(x)
        anchor = "end" if left > 2 * WIDTH / 3 else "start" if left < WIDTH / 3 else "middle"
        line = Markup('<path class="mark" d="M{:.1f} {}V{}"/>').format(left, TOP, HEIGHT - BOTTOM)
        return line + _text(left, TOP - 6, text, anchor)

    def line(self, line: Line, color: str) -> Markup:
        """A line's path, dots and whiskers."""
        parts = [] if line.style == "dots" else [self.path(line.x, line.y, f"{color} {line.style}")]
        ends = zip(line.x, line.low, line.high, strict=False)
        steps = [
            f"M{self._left(x):.1f} {self._top(low):.1f}V{self._top(high):.1f}"
            for x, low, high in ends
            if None not in (x, low, high)
        ]
        if steps:
            parts.append(Markup('<path class="{} range" d="{}"/>').format(color, "".join(steps)))
        if line.style in ("dots", "both") or _lonely(line):
            parts += [self._dot(x, y, color) for x, y in zip(line.x, line.y, strict=True) if None not in (x, y)]
        return Markup("").join(parts)

    def path(self, x: Sequence[Number], y: Sequence[Number], style: str) -> Markup:
        """A line through points; where one is missing it is broken."""
        steps, is_open = [], False
        for left, top in zip(x, y, strict=True):
            is_there = left is not None and top is not None
            if is_there:
                steps.append(f"{'L' if is_open else 'M'}{self._left(left):.1f} {self._top(top):.1f}")
            is_open = is_there
        return Markup('<path class="{}" d="{}"/>').format(style, "".join(steps))

    def _dot(self, x: float, y: float, color: str) -> Markup:
        return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(color, self._left(x), self._top(y))


def _range(
    numbers: Sequence[Sequence[Number]], wanted: tuple[float, float] | None, is_whole: bool = False
) -> tuple[list[float], tuple]:
    """Round numbers to show, and from where to where the axis goes."""
    from matplotlib.ticker import MaxNLocator

    known = [number for part in numbers for number in part if number is not None and math.isfinite(number)]
    low, high = wanted or (min(known, default=0.0), max(known, default=1.0))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    ticks = [
        float(tick) for tick in MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10], integer=is_whole).tick_values(low, high)
    ]
    if wanted is None:
        return ticks, (ticks[0], ticks[-1])
    return [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9], (low, high)


def _scale(start: float, stop: float, first: float, last: float):
    """Numbers from start to stop as places from first to last; what lies outside stays at the ends."""
    return lambda number: first + (last - first) * min(max((number - start) / (stop - start), 0), 1)


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(style, x, y, anchor, text)


def _short(number: float) -> str:
    return f"{0.0 if abs(number) < 1e-12 else number:g}"


def _color(line: Line, place: int) -> str:
    number = place if line.color is None else line.color
    return f"s{number}" if number < COLORS else "rest"


def _lonely(line: Line) -> bool:
    """Whether a line would not be seen: a training of one epoch."""
    return sum(y is not None for y in line.y) == 1


def _legend(lines: Sequence[Line]) -> Markup:
    entry = Markup(
        '<li><svg viewBox="0 0 22 8" aria-hidden="true"><path class="{} {}" d="M1 4H21"/></svg><bdi>{}</bdi></li>'
    )
    named = [(i, line) for i, line in enumerate(lines) if line.name]
    shown = [entry.format(_color(line, i), line.style, line.name) for i, line in named if _color(line, i) != "rest"]
    if len(shown) < len(named):
        shown.append(entry.format("rest", "line", f"{len(named) - len(shown)} more"))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(shown)) if shown else Markup("")


def _spoken(title: str, lines: Sequence[Line], axes: Axes) -> str:
    named = [line.name for line in lines if line.name][:COLORS]
    return f"{title}: {axes.y} over {axes.x}" + (f", {', '.join(named)}" if named else "")


def _places(count: int, height: float) -> list[float]:
    return [height * (i + 0.5) / count for i in range(count)]


def _boxes(named: Sequence[tuple[str, str]], left: float, height: float) -> Markup:
    box = Markup(
        '<g><title>{name}: {what}</title><rect class="box" x="{x}" y="{y:.1f}" width="96" height="38" rx="6"/>'
        '<text class="name" x="{middle}" y="{first:.1f}" text-anchor="middle">{short}</text>'
        '<text class="tick" x="{middle}" y="{second:.1f}" text-anchor="middle">{what_short}</text></g>'
    )
    return Markup("").join(
        box.format(
            name=name, what=what, x=left, y=y - 19, middle=left + 48, first=y - 3, second=y + 11,
            short=_cut(name, 14), what_short=_cut(what, 16),
        )
        for (name, what), y in zip(named, _places(len(named), height), strict=True)
    )  # fmt: skip


def _arrow(x: float, y: float, to_x: float, to_y: float) -> Markup:
    return Markup('<path class="arrow" d="M{} {:.1f}C{} {:.1f} {} {:.1f} {} {:.1f}"/>').format(
        x, y, x + 16, y, to_x - 16, to_y, to_x, to_y
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
