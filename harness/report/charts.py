"""The plots without plotly: the same three rows as plain SVG. No zoom, the same numbers."""
from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from . import svg
from .bands import Band
from .figure import LATENCIES, LEFT, PERCENTILE_COLOURS, RIGHT, ROWS
from .palette import operation_colour
from .series import Floats, Line, Scatter

WIDTH, HEIGHT = 1120, 820
TOP, BOTTOM = 26, 34
DASHES = {"ok": None, "fail": "2 3", "info": "6 4", "": None}


class Row:
    """One row's place on the page and its scale. ``low`` and ``high`` bound its values."""

    def __init__(self, number: int, low: float, high: float, duration_s: float,
                 logarithmic: bool) -> None:
        (bottom, top), self.title = ROWS[number]
        room = HEIGHT - TOP - BOTTOM
        self.top, self.bottom = TOP + room * (1 - top), TOP + room * (1 - bottom)
        self.logarithmic = logarithmic
        self.low, self.high = self._scaled(low), self._scaled(high)
        self.per_s = (WIDTH - LEFT - RIGHT) / max(duration_s, 1e-9)
        self.duration_s = duration_s

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-3)) if self.logarithmic else value

    def x(self, seconds: float) -> float:
        """Return the place of a moment."""
        return LEFT + min(seconds, self.duration_s) * self.per_s

    def y(self, value: float) -> float:
        """Return the place of a value."""
        share = (self._scaled(value) - self.low) / max(self.high - self.low, 1e-9)
        return self.bottom - share * (self.bottom - self.top)

    def frame(self, bands: Sequence[Band], steps: Sequence[tuple[float, str]]) -> list[Markup]:
        """Return title, bands, and a line for each step of the scale."""
        parts = [svg.text(LEFT, self.top - 8, self.title, "plot-title")]
        parts += [svg.tag("rect", svg.title(band.label), x=self.x(band.start_s), y=self.top,
                          width=max(self.x(band.end_s) - self.x(band.start_s), 1.0),
                          height=self.bottom - self.top, fill=band.colour, fill_opacity=0.16)
                  for band in bands]
        for value, label in steps:
            if self.low - 1e-9 <= self._scaled(value) <= self.high + 1e-9:
                y = self.y(value)
                parts += [svg.line(LEFT, y, WIDTH - RIGHT, y, "grid"),
                          svg.text(LEFT - 8, y + 4, label, "tick", "end")]
        return parts

    def legend(self, entries: Sequence[tuple[str, str, str | None]]) -> list[Markup]:
        """Return name, colour and dash of each line, right of the row."""
        parts = []
        for number, (name, colour, dash) in enumerate(entries):
            y = self.top + 10 + 15 * number
            x = WIDTH - RIGHT + 10
            parts += [svg.tag("line", x1=x, y1=y, x2=x + 18, y2=y, stroke=colour, stroke_width=2,
                              stroke_dasharray=dash),
                      svg.text(x + 24, y + 4, name, "note")]
        return parts


def charts(scatter: Sequence[Scatter], percentiles: Sequence[Line], rate: Sequence[Line],
           bands: Sequence[Band], duration_s: float) -> Markup:
    """Return the drawing of all three rows."""
    least, most = _bounds([group.ms for group in scatter])
    _, highest = _bounds([line.values for line in rate])
    least, most = least / 1.4, most * 1.4          # no point lies on the edge
    latency = Row(0, least, most, duration_s, logarithmic=True)
    cut = Row(1, least, most, duration_s, logarithmic=True)
    speed = Row(2, 0.0, highest * 1.05, duration_s, logarithmic=False)
    rates = [(step, f"{step:g}") for step in svg.ticks(0, highest, 4)]
    parts = [*latency.frame(bands, LATENCIES), *cut.frame(bands, LATENCIES),
             *speed.frame(bands, rates)]
    parts += [_dots(latency, group) for group in scatter]
    parts += [_path(cut, line, PERCENTILE_COLOURS[line.label]) for line in percentiles]
    parts += [_path(speed, line, operation_colour(line.f)) for line in rate]
    parts += latency.legend([(f"{group.f} {group.outcome}", operation_colour(group.f),
                              DASHES[group.outcome]) for group in scatter])
    parts += cut.legend([(line.label, PERCENTILE_COLOURS[line.label], None)
                         for line in percentiles])
    parts += speed.legend([(line.label, operation_colour(line.f), DASHES[line.outcome])
                           for line in rate])
    parts += [svg.text(speed.x(second), HEIGHT - BOTTOM + 18, f"{second:g} s", "tick", "middle")
              for second in svg.ticks(0, duration_s, 12)]
    return svg.drawing(WIDTH, HEIGHT, parts, "Latency and rate over time")


def _bounds(groups: Sequence[Floats]) -> tuple[float, float]:
    """Return the least and the greatest value, NaN left out."""
    values = [float(value) for group in groups for value in group.tolist() if value == value]
    return (min(values), max(values)) if values else (0.1, 1.0)


def _dots(row: Row, group: Scatter) -> Markup:
    """Return a group of the scatter as one path of dots (a thousand circles would weigh more)."""
    size = 1.4 if group.outcome == "ok" else 1.9
    d = "".join(f"M{row.x(second):.1f} {row.y(ms):.1f}h0" for second, ms in
                zip(group.seconds.tolist(), group.ms.tolist(), strict=True))
    return svg.tag("path", svg.title(f"{group.f} {group.outcome}"), d=d, fill="none",
                   stroke=operation_colour(group.f), stroke_width=size * 2,
                   stroke_linecap="round" if group.outcome == "ok" else "square",
                   stroke_opacity=0.5 if group.outcome == "ok" else 0.9)


def _path(row: Row, line: Line, colour: str) -> Markup:
    """Return a line, broken where there is no value."""
    d, joined = "", False
    for second, value in zip(line.seconds.tolist(), line.values.tolist(), strict=True):
        if value != value:
            joined = False
            continue
        d += f"{'L' if joined else 'M'}{row.x(second):.1f} {row.y(value):.1f}"
        joined = True
    return svg.tag("path", svg.title(line.label), d=d, fill="none", stroke=colour,
                   stroke_width=1.5, stroke_dasharray=DASHES[line.outcome])
