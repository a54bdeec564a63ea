"""Small line charts as SVG, drawn where there is no browser. Pure functions, without dependencies.

Colours come from the page that holds them: classes `axis`, `tick`, `grid`, `phase`, and `line0` to `line2` of lines,
which differ by their dashes too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 22, 34
MOST_TICKS = 5
MARKED = 40  # points; of more a line is enough
LETTER = 6.2  # width of one in the labels


@dataclass(frozen=True)
class Line:
    """Values by step; None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """Lines over steps; phases: the step that each begins at, and its name."""

    title: str
    steps: Sequence[int]
    lines: Sequence[Line]
    phases: Sequence[tuple[int, str]] = ()
    is_log: bool = False
    is_percent: bool = False


def draw(chart: Chart) -> str:
    """An SVG element with axes, ticks and a summary for those who hear it; nothing where there is nothing to draw."""
    lines = [Line(line.name, [_usable(v, chart.is_log) for v in line.values]) for line in chart.lines]
    lines = [line for line in lines if any(v is not None for v in line.values)]
    if not lines or len(chart.steps) < 2:
        return ""
    values = [v for line in lines for v in line.values if v is not None]
    ticks = (decades if chart.is_log else nice)(min(values), max(values))
    scale = _Scale(chart.steps[0], chart.steps[-1], ticks[0], ticks[-1], chart.is_log)
    parts = [_ticks_of(ticks, scale, chart.is_percent), _steps_of(chart, scale), _phases_of(chart, scale)]
    parts += [_line(i, line, chart.steps, scale) for i, line in enumerate(lines)]
    title = escape(f"{chart.title}. {summary(chart, lines)}")
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )


def key(index: int) -> str:
    """A piece of a line, for a legend."""
    return (
        '<svg class="key" viewBox="0 0 28 8" width="28" height="8" aria-hidden="true">'
        f'<path class="line{index}" d="M0 4H28"/></svg>'
    )


def nice(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 or 5 times a power of ten, the first at most `low`, the last at least `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
    step = next(s * power for s in (1, 2, 5, 10) if span / (s * power) <= MOST_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(i * step, 12) for i in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around positive numbers; of many every second, third, ..."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    every = math.ceil((last - first) / MOST_TICKS)
    return [10.0**i for i in range(first, last + every, every)]


def summary(chart: Chart, lines: Sequence[Line]) -> str:
    """From where to where each line goes, in words."""

    def said(v: float) -> str:
        return _label(v, chart.is_percent, digits=2)

    ends = [(line.name, [v for v in line.values if v is not None]) for line in lines]
    return "; ".join(f"{name}: {said(v[0])} at first, {said(v[-1])} in the end" for name, v in ends) + "."


@dataclass(frozen=True)
class _Scale:
    """From steps and values to places in the drawing."""

    first: float
    last: float
    low: float
    high: float
    is_log: bool

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        low, high, v = (math.log10(a) if self.is_log else a for a in (self.low, self.high, value))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (v - low) / (high - low)


def _usable(value: float | None, is_log: bool) -> float | None:
    """None where it cannot be drawn."""
    return value if value is not None and math.isfinite(value) and (value > 0 or not is_log) else None


def _ticks_of(ticks: Sequence[float], scale: _Scale, is_percent: bool) -> str:
    digits = 0 if not is_percent else max(0, -math.floor(math.log10(100 * (ticks[1] - ticks[0])) + 1e-9))
    return "".join(
        f'<path class="grid" d="M{LEFT} {scale.y(t):.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{scale.y(t) + 4:.1f}" text-anchor="end">'
        f"{_label(t, is_percent, digits)}</text>"
        for t in ticks
    )


def _steps_of(chart: Chart, scale: _Scale) -> str:
    """The axis of rounds."""
    first, last, bottom = chart.steps[0], chart.steps[-1], HEIGHT - BOTTOM
    ticks = [t for t in nice(first, last) if first <= t <= last and t == int(t)]
    marks = "".join(
        f'<path class="axis" d="M{scale.x(t):.1f} {bottom}v4"/>'
        f'<text class="tick" x="{scale.x(t):.1f}" y="{bottom + 15}" text-anchor="middle">{t:.0f}</text>'
        for t in ticks
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>{marks}'
        f'<text class="tick" x="{middle:.0f}" y="{HEIGHT - 3}" text-anchor="middle">round</text>'
    )


def _phases_of(chart: Chart, scale: _Scale) -> str:
    """A line where each begins, and its name where there is room before the next."""
    begins = [(scale.x(max(step - 0.5, scale.first)), name) for step, name in chart.phases]
    found = []
    for i, (x, name) in enumerate(begins):
        end = begins[i + 1][0] if i + 1 < len(begins) else WIDTH - RIGHT
        rule = f'<path class="phase" d="M{x:.1f} {TOP - 8}V{HEIGHT - BOTTOM}"/>' if i else ""
        room = len(name) * LETTER + 8 <= end - x
        label = f'<text class="tick" x="{x + 4:.1f}" y="{TOP - 10}">{escape(name)}</text>' if room else ""
        found.append(rule + label)
    return "".join(found)


def _line(index: int, line: Line, steps: Sequence[int], scale: _Scale) -> str:
    """With a gap where values are missing."""
    path, is_on = [], False
    points = [(scale.x(s), scale.y(v)) if v is not None else None for s, v in zip(steps, line.values, strict=True)]
    for point in points:
        if point is not None:
            path.append(f"{'L' if is_on else 'M'}{point[0]:.1f} {point[1]:.1f}")
        is_on = point is not None
    dots = [f'<circle class="dot{index}" cx="{p[0]:.1f}" cy="{p[1]:.1f}" r="2.5"/>' for p in points if p is not None]
    return f'<path class="line{index}" d="{"".join(path)}"/>{"".join(dots) if len(dots) <= MARKED else ""}'


def _label(value: float, is_percent: bool, digits: int = 0) -> str:
    if is_percent:
        return f"{100 * value:.{digits}f} %"
    return f"{value:.3g}"
