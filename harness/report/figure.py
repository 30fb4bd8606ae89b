"""The plots as one plotly figure: three rows over one axis of time, so that zooming moves all.

The figure is written as plain JSON-able data: plotly's Python objects would only make the
same, slower. The browser side (plotly.min.js) is inlined from the installed package, gzipped;
without the package, charts.py draws the same rows as plain SVG.
"""
from __future__ import annotations

import base64
import gzip
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .bands import Band
from .palette import operation_colour
from .series import Floats, Line, Scatter

HEIGHT = 860
LEFT, RIGHT = 64, 150        # margins, in pixels; timeline.py uses the same
ROWS = (((0.58, 1.0), "Latency of each operation, from when it was due"),
        ((0.30, 0.52), "Latency percentiles"),
        ((0.0, 0.24), "Operations per second"))
SYMBOLS = {"ok": "circle", "fail": "x-thin", "info": "triangle-up"}
DASHES = {"ok": "solid", "fail": "dot", "info": "dash"}
PERCENTILE_COLOURS = {"p50": "#94a3b8", "p95": "#64748b", "p99": "#334155", "slowest": "#e5484d"}
LATENCIES = [(0.001, "1 us"), (0.01, "10 us"), (0.1, "100 us"), (1, "1 ms"), (10, "10 ms"),
             (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s"), (100_000, "100 s")]
INK, MUTED, GRID = "#1f2937", "#6b7280", "#e5e7eb"


@cache
def library() -> str | None:
    """Return plotly.min.js, gzipped, in base64; None where plotly is not installed."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        return None
    source = Path(found.origin).parent / "package_data" / "plotly.min.js"
    return base64.b64encode(gzip.compress(source.read_bytes(), 9, mtime=0)).decode("ascii")


def figure(scatter: Sequence[Scatter], percentiles: Sequence[Line], rate: Sequence[Line],
           bands: Sequence[Band], duration_s: float) -> dict[str, Any]:
    """Return ``{"data", "layout"}`` for Plotly.newPlot."""
    data = [_points(group) for group in scatter]
    data += [_line(line, 2, PERCENTILE_COLOURS[line.label], "solid") for line in percentiles]
    data += [_line(line, 3, operation_colour(line.f), DASHES[line.outcome]) for line in rate]
    return {"data": data, "layout": _layout(bands, duration_s)}


def _axis(row: int) -> str:
    return "y" if row == 1 else f"y{row}"


def _points(group: Scatter) -> dict[str, Any]:
    shown = "" if len(group.seconds) == group.total else f", {len(group.seconds):,} drawn"
    name = f"{group.f} {group.outcome}"
    colour = operation_colour(group.f)
    marker: dict[str, Any] = {"color": colour, "size": 3.5 if group.outcome == "ok" else 7,
                              "opacity": 0.5 if group.outcome == "ok" else 0.9,
                              "symbol": SYMBOLS[group.outcome]}
    if group.outcome == "fail":        # a thin cross has no area, only a line
        marker |= {"size": 6, "line": {"width": 1, "color": colour}}
    return {"type": "scatter", "mode": "markers", "name": name, "yaxis": "y", "legend": "legend",
            "x": rounded(group.seconds, 3), "y": significant(group.ms), "marker": marker,
            "hovertemplate": f"{name}<br>due %{{x}} s<br>took %{{y}} ms<extra>"
                             f"{group.total:,}{shown}</extra>"}


def _line(line: Line, row: int, colour: str, dash: str) -> dict[str, Any]:
    unit = "ms" if row == 2 else "/s"
    return {"type": "scatter", "mode": "lines", "name": line.label, "yaxis": _axis(row),
            "legend": f"legend{row}", "x": rounded(line.seconds, 3), "y": significant(line.values),
            "line": {"color": colour, "width": 1.6, "dash": dash},
            "hovertemplate": f"{line.label}<br>%{{x}} s<br>%{{y}} {unit}<extra></extra>"}


def _layout(bands: Sequence[Band], duration_s: float) -> dict[str, Any]:
    text = {"size": 12, "color": INK}
    layout: dict[str, Any] = {
        "height": HEIGHT, "margin": {"l": LEFT, "r": RIGHT, "t": 28, "b": 44},
        "paper_bgcolor": "#fff", "plot_bgcolor": "#fff", "hovermode": "closest",
        "font": {"family": "system-ui, -apple-system, Segoe UI, sans-serif", **text},
        "xaxis": {"range": [0, duration_s], "title": {"text": "seconds since the start"},
                  "gridcolor": GRID, "zeroline": False, "anchor": "y3"},
        "annotations": [
            {"text": f"<b>{title}</b>", "x": 0, "y": top, "xref": "paper", "yref": "paper",
             "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": text}
            for (_, top), title in ROWS
        ],
        "shapes": [
            {"type": "rect", "xref": "x", "x0": round(band.start_s, 3),
             "x1": round(band.end_s, 3), "yref": f"{_axis(row)} domain", "y0": 0, "y1": 1,
             "fillcolor": band.colour, "opacity": 0.16, "line": {"width": 0}, "layer": "below"}
            for band in bands for row in (1, 2, 3)
        ],
    }
    for row, (domain, _) in enumerate(ROWS, 1):
        axis: dict[str, Any] = {"domain": domain, "gridcolor": GRID, "zeroline": False,
                                "anchor": "x"}
        if row == 3:
            axis |= {"rangemode": "tozero"}
        else:
            axis |= {"type": "log", "tickvals": [ms for ms, _ in LATENCIES],
                     "ticktext": [label for _, label in LATENCIES]}
        layout[f"yaxis{row if row > 1 else ''}"] = axis
        layout[f"legend{row if row > 1 else ''}"] = {
            "x": 1.01, "y": domain[1], "xanchor": "left", "yanchor": "top",
            "font": {"size": 11, "color": MUTED}, "itemsizing": "constant"}
    return layout


def rounded(values: Floats, digits: int) -> list[float]:
    """Return values with few digits: a plot needs no more, and the report stays small."""
    return [round(value, digits) for value in values.tolist()]


def significant(values: Floats) -> list[float | None]:
    """Return values with three significant digits; NaN as None."""
    return [None if value != value else float(f"{value:.3g}") for value in values.tolist()]
