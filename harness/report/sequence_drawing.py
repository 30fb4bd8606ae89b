"""A story as a message sequence: a vertical line for each client and node, time goes down.

Messages are arrows from when they were sent to when they arrived, crashes an X, faults a line
across and a strip at the side. Time is squeezed: each event has a line of its own, and where
nothing happens for long, the gap says how long. The drawing brings its own style, so that it
stands alone as a file as well as in the report.
"""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from markupsafe import Markup

from . import svg
from .palette import fault_colour
from .sequence import (
    CRASHES,
    DOWN,
    LEADS,
    PAUSED,
    ROUTINE,
    Arrow,
    Band,
    Mark,
    Story,
    moments,
)

WIDTH, LEFT, RIGHT, TOP = 1160, 130, 170, 44
ROW, SLIP, GAP = 19.0, 4.0, 22.0      # below an event; below a departure; where much time passes
LONG_NS = 50_000_000                   # so much time is told
LETTER = 6.0
BELOW_MARK = 9.0                       # an arrow begins so much below a mark's words
PLACE = 0.6                            # of an arrow's words, on its way
COLOURS = {"vote": "#a855f7", "vote-reply": "#a855f7", "append": "#2f6fb5",
           "append-reply": "#2f6fb5", "heartbeat": "#94a3b8", "heartbeat-reply": "#94a3b8",
           "request": "#d0661a", "response": "#4c8c2b"}
STYLE = """
.sequence text { font: 10.5px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.sequence .head { font-size: 12.5px; font-weight: 600; }
.sequence .label { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.sequence .time, .sequence .gap { fill: #6b7280; font-size: 9.5px; }
.sequence .lifeline { stroke: #cbd5e1; stroke-width: 1.2; }
.sequence .fault { stroke-width: 1.2; stroke-dasharray: 6 4; }
.sequence .crash { stroke: #c4261d; stroke-width: 2.6; }
.sequence .mark { font-weight: 600; }
.sequence .wrong { fill: #fff; font-weight: 600; font-size: 12px; }
"""


class Rows:
    """Squeezed time: moment -> y."""

    def __init__(self, story: Story) -> None:
        told, marked = moments(story.arrows, story.marks, story.faults), moments((), story.marks)
        sent = {max(arrow.sent_ns, story.begin_ns) for arrow in story.arrows}
        every = sorted(told | sent | {story.begin_ns, story.end_ns})
        self.gaps: list[tuple[float, int]] = []
        self.y = {every[0]: TOP + ROW}
        at = TOP + ROW
        for before, after in pairwise(every):
            if after - before >= LONG_NS:
                self.gaps.append((at + ROW / 2 + GAP / 2, after - before))
                at += GAP
            at += ROW if after in told else SLIP + BELOW_MARK * (before in marked)
            self.y[after] = at
        self.bottom = at + ROW

    def at(self, moment: int) -> float:
        """Return the y of a moment; of one before the story, its beginning."""
        return self.y.get(moment, TOP + ROW if moment < min(self.y) else self.bottom)


def whole_file(story: Story) -> str:
    """Return the drawing as a file of its own."""
    return str(drawing(story)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def drawing(story: Story, label: str = "Message sequence") -> Markup:
    """Return the drawing as SVG."""
    rows = Rows(story)
    apart = (WIDTH - LEFT - RIGHT) / max(len(story.lanes) - 1, 1)
    x = {lane: LEFT + apart * i for i, lane in enumerate(story.lanes)}
    height = rows.bottom + (44 if story.violation else 16)
    parts = [svg.tag("style", Markup(STYLE)),
             svg.tag("rect", x=0, y=0, width=WIDTH, height=height, fill="#fff")]
    parts += _lifelines(story, rows, x)
    parts += _faults(story, rows)
    arrows, marks = _merged(story.arrows), _joined(story.marks)
    marked = {(mark.time_ns, mark.lane) for mark in marks}
    parts += [part for arrow in arrows for part in _arrow(
        arrow, rows, x, BELOW_MARK if (arrow.sent_ns, arrow.sender) in marked else 0.0)]
    from_right = {(arrow.time_ns, arrow.receiver) for arrow in arrows
                  if x[arrow.sender] > x[arrow.receiver]}
    parts += [part for mark in marks for part in _mark(
        mark, rows, x[mark.lane], (mark.time_ns, mark.lane) in from_right)]
    parts += [svg.text(58, y, f"+ {gap / 1e9:.3g} s", "gap", "end") for y, gap in rows.gaps]
    parts += _times(story, rows)
    if story.violation:
        parts += _violation(story.violation, rows.bottom + 4)
    return svg.drawing(WIDTH, height, parts, label, "drawing sequence")


def _lifelines(story: Story, rows: Rows, x: dict[str, float]) -> list[Markup]:
    parts = []
    for lane, at in x.items():
        parts += [svg.text(at, TOP - 12, lane, "head", "middle"),
                  svg.line(at, TOP - 4, at, rows.bottom, "lifeline")]
    for band in story.bands:
        parts += _band(band, rows, x[band.lane])
        if band.kind == LEADS and band.begin_ns < story.begin_ns:     # its mark is not told
            parts.append(svg.text(x[band.lane] + 10, TOP + 8, band.label, "label mark"))
    return parts


def _band(band: Band, rows: Rows, x: float) -> list[Markup]:
    look = {LEADS: (7, "#bfdbfe", None), PAUSED: (9, "#fcd34d", None), DOWN: (9, "#fff", "#e5484d")}
    width, fill, stroke = look[band.kind]
    begin = rows.at(band.begin_ns)
    end = rows.bottom if band.end_ns is None else rows.at(band.end_ns)
    return [svg.tag("rect", svg.title(band.label or band.kind), x=x - width / 2, y=begin,
                    width=width, height=max(end - begin, 1.0), rx=2, fill=fill, stroke=stroke,
                    stroke_dasharray="3 3" if stroke else None)]


def _merged(arrows: Iterable[Arrow]) -> list[Arrow]:
    """Return arrows, those that would lie upon each other as one."""
    found: dict[tuple[int, int, str, str, bool], Arrow] = {}
    for arrow in arrows:
        key = (arrow.sent_ns, arrow.time_ns, arrow.sender, arrow.receiver, arrow.lost)
        before = found.get(key)
        found[key] = arrow if before is None else _both(before, arrow)
    return list(found.values())


def _both(first: Arrow, second: Arrow) -> Arrow:
    """Return two arrows as one. A heartbeat beside something else says nothing of its own."""
    label = f"{first.label}; {second.label}"
    for one, other in ((first, second), (second, first)):
        if one.kind in ROUTINE and other.kind not in ROUTINE:
            return replace(other, label=label)
    return replace(first, label=label, short=f"{first.short}; {second.short}")


def _arrow(arrow: Arrow, rows: Rows, x: dict[str, float], lower: float) -> list[Markup]:
    colour = COLOURS.get(arrow.kind, "#64748b")
    x1, x2 = x[arrow.sender], x[arrow.receiver]
    y1, y2 = rows.at(arrow.sent_ns) + lower, rows.at(arrow.time_ns)
    way = 1 if x2 > x1 else -1
    if arrow.lost:                                   # it ends on the way
        x2, y2 = x1 + (x2 - x1) * 0.6, y1 + ROW / 2
        end = [svg.tag("path", d=f"M{x2 - 4:.1f} {y2 - 4:.1f} l8 8 m0 -8 l-8 8", stroke=colour,
                       stroke_width=1.6, fill="none")]
    else:
        end = [svg.tag("path", d=f"M{x2:.1f} {y2:.1f} l{-8 * way} -3.6 v7.2 z", fill=colour)]
    dashes = "5 3" if arrow.lost or arrow.kind.endswith(("reply", "response")) else None
    times = f"sent {arrow.sent_ns / 1e9:.6f} s" + (
        ", lost" if arrow.lost else f", arrived {arrow.time_ns / 1e9:.6f} s")
    return [
        svg.tag("path", svg.title(f"{arrow.sender} to {arrow.receiver}: {arrow.label}; {times}"),
                d=f"M{x1:.1f} {y1:.1f} L{x2:.1f} {y2:.1f}", stroke=colour, fill="none",
                stroke_width=1.3, stroke_dasharray=dashes),
        *end,
        _along(arrow.short, x1, y1, x2, y2),
    ]


def _along(words: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """Return words above an arrow, in its direction, beyond its middle: of arrows that part from
    one point, those are the ends that are apart."""
    x, y = x1 + (x2 - x1) * PLACE, y1 + (y2 - y1) * PLACE
    angle = math.degrees(math.atan((y2 - y1) / (x2 - x1)))
    return svg.tag("text", words, x=0, y=-3, class_="label", text_anchor="middle",
                   transform=f"translate({x:.1f} {y:.1f}) rotate({angle:.2f})")


def _joined(marks: Iterable[Mark]) -> list[Mark]:
    """Return marks, those of one lane and moment as one."""
    found: dict[tuple[int, str], Mark] = {}
    for mark in marks:
        before = found.get((mark.time_ns, mark.lane))
        kind = before.kind if before is not None and before.kind in CRASHES else mark.kind
        label = mark.label if before is None else f"{before.label}; {mark.label}"
        found[mark.time_ns, mark.lane] = Mark(mark.time_ns, mark.lane, kind, label)
    return list(found.values())


def _mark(mark: Mark, rows: Rows, at: float, left: bool) -> list[Markup]:
    y = rows.at(mark.time_ns)
    if mark.kind in CRASHES:
        sign = svg.tag("path", d=f"M{at - 6:.1f} {y - 6:.1f} l12 12 m0 -12 l-12 12",
                       class_="crash", fill="none")
    elif mark.kind == "leads":
        sign = svg.tag("path", d=f"M{at:.1f} {y - 6:.1f} l6 6 l-6 6 l-6 -6 z", fill="#2f6fb5")
    else:
        sign = svg.tag("rect", x=at - 4, y=y - 4, width=8, height=8, fill="#fff", stroke="#334155")
    left = left or at + 10 + len(mark.label) * LETTER > WIDTH
    return [sign, svg.text(at - 10 if left else at + 10, y + 3.5, mark.label, "label mark",
                           "end" if left else "start")]


def _faults(story: Story, rows: Rows) -> list[Markup]:
    parts = []
    for mark in story.faults:
        y, colour = rows.at(mark.time_ns), fault_colour(mark.kind)
        parts += [svg.tag("line", x1=LEFT - 60, y1=y, x2=WIDTH - 8, y2=y, class_="fault",
                          stroke=colour),
                  svg.tag("text", mark.label, x=WIDTH - 10, y=y - 4, class_="label mark",
                          text_anchor="end", fill=colour)]
    return parts


def _times(story: Story, rows: Rows) -> list[Markup]:
    """Return the times of events, as far as there is room for them."""
    parts, last = [], -ROW
    for moment in sorted(moments(story.arrows, story.marks, story.faults)):
        y = rows.at(moment)
        if y - last >= ROW / 2:
            parts.append(svg.text(58, y + 3.5, f"{moment / 1e9:.6f}", "time", "end"))
            last = y
    return parts


def _violation(words: str, y: float) -> list[Markup]:
    most = int((WIDTH - 60) / 6.4)
    shown = words if len(words) <= most else words[:most - 1] + "…"
    return [svg.tag("rect", svg.title(words), x=8, y=y, width=WIDTH - 16, height=26, rx=4,
                    fill="#c4261d"),
            svg.text(20, y + 17, f"✗ {shown}", "wrong")]
