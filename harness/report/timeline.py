"""The timeline: a lane for each node, who led it in which term, and which faults it suffered.

The axis of time and its margins are those of the plots above it, so that an eye can go
straight down from a gap in the rate to the election that caused it.
"""
from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ..results import Leader
from . import svg
from .bands import Band
from .figure import LEFT, RIGHT
from .palette import REIGNS

WIDTH = 1120
LANE, BAR, GAP = 46, 16, 4
TOP, BOTTOM = 8, 30
MANY = 400                     # so many bars in one lane need no labels
LETTER = 6.4                   # about the width of one, to see whether a label fits


def timeline(nodes: Sequence[str], leaders: Sequence[Leader], bands: Sequence[Band],
             duration_s: float) -> Markup:
    """Return the drawing."""
    scale = (WIDTH - LEFT - RIGHT) / max(duration_s, 1e-9)
    height = TOP + LANE * len(nodes) + BOTTOM
    parts = [*_axis(scale, duration_s, height)]
    for number, node in enumerate(nodes):
        top = TOP + LANE * number
        parts += [svg.text(LEFT - 12, top + 24, node, "lane", "end"),
                  svg.line(LEFT, top + LANE, WIDTH - RIGHT, top + LANE, "rule")]
        parts += _reigns(node, leaders, duration_s, scale, top + 5)
        parts += _faults(node, bands, scale, top + 5 + BAR + GAP)
    parts += [svg.text(WIDTH - RIGHT + 12, TOP + 18, "upper bar: leads,", "note"),
              svg.text(WIDTH - RIGHT + 12, TOP + 33, "with its term", "note"),
              svg.text(WIDTH - RIGHT + 12, TOP + 54, "lower bar: a fault", "note"),
              svg.text(WIDTH - RIGHT + 12, TOP + 69, "on this node", "note")]
    return svg.drawing(WIDTH, height, parts, "Timeline of leaders and faults by node")


def _axis(scale: float, duration_s: float, height: float) -> list[Markup]:
    parts = []
    for second in svg.ticks(0, duration_s, 12):
        x = LEFT + second * scale
        parts += [svg.line(x, TOP, x, height - BOTTOM, "grid"),
                  svg.text(x, height - BOTTOM + 16, f"{second:g} s", "tick", "middle")]
    return parts


def _reigns(node: str, leaders: Sequence[Leader], duration_s: float, scale: float,
            top: float) -> list[Markup]:
    """Return the bars of the terms that this node led."""
    parts = []
    for number, reign in enumerate(leaders):
        if reign.leader != node:
            continue
        start = reign.since_ns / 1e9
        end = leaders[number + 1].since_ns / 1e9 if number + 1 < len(leaders) else duration_s
        label = f"term {reign.term}"
        width = max((end - start) * scale, 1.5)
        bar = svg.tag("rect", svg.title(f"{node} leads in term {reign.term}: {start:.2f} s to "
                                        f"{end:.2f} s"),
                      x=LEFT + start * scale, y=top, width=width, height=BAR, rx=2,
                      fill=REIGNS[number % len(REIGNS)])
        parts.append(bar)
        for words in (label, str(reign.term)):
            if len(words) * LETTER + 6 <= width:
                parts.append(svg.text(LEFT + start * scale + 5, top + 12, words, "on-dark"))
                break
    return parts


def _faults(node: str, bands: Sequence[Band], scale: float, top: float) -> list[Markup]:
    """Return the bars of the faults that had this node among their targets."""
    mine = [band for band in bands if node in band.targets]
    parts = []
    for band in mine:
        width = max((band.end_s - band.start_s) * scale, 1.5)
        x = LEFT + band.start_s * scale
        parts.append(svg.tag("rect", svg.title(band.label), x=x, y=top, width=width, height=BAR,
                             rx=2, fill=band.colour, fill_opacity=0.85))
        if len(mine) <= MANY and len(band.name) * LETTER + 6 <= width:
            parts.append(svg.text(x + 4, top + 12, band.name, "on-dark"))
    return parts
