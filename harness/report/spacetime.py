"""The counterexample as a space-time diagram: a lane for each process, a bar for each operation.

Bars keep their order and what overlaps what, which is all that linearizability looks at; the
distances between events are squeezed, so that a stale read a second later is still on the
screen. An operation that never ended runs to the right edge with an open end. A small number
on a bar is its place in one order that explains what ended before; the operation that fits
nowhere is red, and a line leads to it from the write whose value it saw.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from . import svg
from .palette import operation_colour

WIDTH = 1120
LEFT, RIGHT, TOP, BOTTOM = 110, 36, 18, 34
LANE, BAR = 54, 24
GAP_LEAST, GAP_MOST = 0.5, 3.0      # a gap between events, as a multiple of the usual one
LETTER = 6.7                        # about the width of one


@dataclass(frozen=True, slots=True)
class Bar:
    """One operation. ``end_ns`` None: it never ended. ``place``: its place in the order.

    saw: the value it observed (as text), to find the write that it came from; wrote: the
    value it wrote.
    """

    process: int
    f: str
    label: str
    start_ns: int
    end_ns: int | None
    culprit: bool = False
    pending: bool = False
    place: int | None = None
    saw: str | None = None
    wrote: str | None = None
    tooltip: str = ""


class Axis:
    """Squeezed time: moment -> x."""

    def __init__(self, moments: Sequence[int]) -> None:
        self.moments = sorted(set(moments))
        gaps = [after - before for before, after in zip(self.moments, self.moments[1:],
                                                        strict=False)]
        usual = median(gaps) if gaps else 1
        widths = [min(max(gap / max(usual, 1), GAP_LEAST), GAP_MOST) for gap in gaps]
        room = WIDTH - LEFT - RIGHT - 40
        scale = room / max(sum(widths), 1)
        self.x = {moment: LEFT + 12 + scale * sum(widths[:i])
                  for i, moment in enumerate(self.moments)}

    def labels(self, apart: float = 92) -> list[tuple[float, int]]:
        """Return x and moment of the events that have room for a label."""
        found: list[tuple[float, int]] = []
        for moment in self.moments:
            if not found or self.x[moment] - found[-1][0] >= apart:
                found.append((self.x[moment], moment))
        return found


def spacetime(bars: Sequence[Bar], label: str) -> Markup:
    """Return the drawing."""
    bars = sorted(bars, key=lambda bar: bar.start_ns)
    axis = Axis([moment for bar in bars for moment in (bar.start_ns, bar.end_ns)
                 if moment is not None])
    lanes = {process: number for number, process in
             enumerate(dict.fromkeys(bar.process for bar in bars))}
    height = TOP + LANE * len(lanes) + BOTTOM
    parts = _grid(axis, lanes, height)
    parts += _sources(bars, axis, lanes)
    for bar in bars:
        later = [other.start_ns for other in bars
                 if other.process == bar.process and other.start_ns > bar.start_ns]
        room = axis.x[min(later)] if later else WIDTH - 4
        parts += _bar(bar, axis, TOP + LANE * lanes[bar.process] + 20, room)
    return svg.drawing(WIDTH, height, parts, label, "drawing spacetime")


def _grid(axis: Axis, lanes: dict[int, int], height: float) -> list[Markup]:
    parts = []
    for x, moment in axis.labels():
        parts += [svg.line(x, TOP, x, height - BOTTOM + 4, "grid"),
                  svg.text(x, height - BOTTOM + 18, f"{moment / 1e9:.4f} s", "tick", "middle")]
    for process, number in lanes.items():
        y = TOP + LANE * number + 20 + BAR / 2
        parts += [svg.line(LEFT, y, WIDTH - RIGHT, y, "rule"),
                  svg.text(LEFT - 12, y + 4, f"process {process}", "lane", "end")]
    return parts


def _right(bar: Bar, axis: Axis) -> float:
    return WIDTH - RIGHT if bar.end_ns is None else axis.x[bar.end_ns]


def _bar(bar: Bar, axis: Axis, y: float, room: float) -> list[Markup]:
    left, right = axis.x[bar.start_ns], _right(bar, axis)
    width = max(right - left, 6)
    kind = "culprit" if bar.culprit else "pending" if bar.pending else "placed"
    colour = None if bar.culprit else operation_colour(bar.f)
    parts = [svg.tag("rect", x=left, y=y, width=width, height=BAR, rx=3, fill="#fff"),
             svg.tag("rect", svg.title(bar.tooltip or bar.label), x=left, y=y, width=width,
                     height=BAR, rx=3, class_=f"bar {kind}", stroke=colour, fill=colour)]
    if bar.pending:
        parts.append(svg.tag("path", d=f"M{right - 7:.1f} {y + 5} l7 {BAR / 2 - 5} "
                                       f"l-7 {BAR / 2 - 5}", class_="open-end", stroke=colour))
    inside = len(bar.label) * LETTER + 12 <= width
    x = left + 6 if inside else left
    fits = int((width - 12 if inside else room - left - 4) / LETTER)
    words = bar.label if len(bar.label) <= fits else bar.label[:max(fits - 1, 1)] + "…"
    parts.append(svg.text(x, y + 16 if inside else y - 5, words,
                          f"label {kind} {'inside' if inside else 'above'}"))
    if bar.place is not None:
        at = left + width
        parts += [svg.tag("circle", cx=at, cy=y + BAR, r=8, class_="place"),
                  svg.text(at, y + BAR + 3.5, str(bar.place), "place-number", "middle")]
    return parts


def _sources(bars: Sequence[Bar], axis: Axis, lanes: dict[int, int]) -> list[Markup]:
    """Return lines from each write to the operations that saw its value."""
    writes = {bar.wrote: bar for bar in bars if bar.wrote is not None}
    parts = []
    for bar in bars:
        source = writes.get(bar.saw) if bar.saw is not None else None
        if source is None or source is bar:
            continue
        x1, y1 = axis.x[source.start_ns], TOP + LANE * lanes[source.process] + 20 + BAR / 2
        x2, y2 = axis.x[bar.start_ns], TOP + LANE * lanes[bar.process] + 20 + BAR / 2
        x1 = min(_right(source, axis), max(x1, x2)) if source.end_ns is not None else x1
        bend = (x2 - x1) / 2
        parts.append(svg.tag(
            "path", svg.title(f"{bar.label} saw what {source.label} wrote"),
            d=f"M{x1:.1f} {y1:.1f} C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} "
              f"{x2:.1f} {y2:.1f}",
            class_="source culprit" if bar.culprit else "source"))
    return parts
