"""What the checks of domains measured: a row for each domain, and its oldest reads over time."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..results import Results
from . import svg

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1120, 260, 70, 110, 20, 30
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#0a7ea4", "#57606a")
LEAST_MS = 0.1


def measured(results: Results) -> list[dict[str, Any]]:
    """Return the rows of the table; none where the check did not run."""
    check = results.checks.get("domains")
    domains = check.evidence.get("domains") if check else None
    return [_row(one) for one in domains] if isinstance(domains, list) else []


def _row(domain: Mapping[str, Any]) -> dict[str, Any]:
    answered, lag = domain["answered"], domain["lag"]
    age, entries = lag.get("age_ns") or {}, lag.get("entries") or {}
    return {
        "name": domain["name"],
        "what": f"{domain['mode']} child of {domain['parent']}" if domain["parent"] else "root",
        "answered": ", ".join(f"{count:,} {name}" for name, count in answered.items() if count),
        "not_ok": ", ".join(f"{count:,} {why}" for why, count in domain["not_ok"].items()),
        "ages": [_ms(age.get(part)) for part in ("p50", "p95", "p99", "max")],
        "entries": entries.get("max", ""),
        "bound": " or ".join(filter(None, [
            _ms(lag.get("max_lag_ns")), f"{lag['max_lag_entries']:,} entries"
            if lag.get("max_lag_entries") is not None else ""])),
    }


def _ms(ns: int | None) -> str:
    return "" if ns is None else f"{ns / 1e6:,.1f} ms"


def lag_plot(results: Results, seconds: float) -> Markup | None:
    """Draw the oldest read of each stretch of the run, by domain; None where there is nothing."""
    check = results.checks.get("domains")
    domains = check.evidence.get("domains", []) if check else []
    lines = [(one["name"], one["lag"].get("max_lag_ns"), one["lag"]["worst_over_time"])
             for one in domains if one["lag"].get("worst_over_time")]
    if not lines:
        return None
    most = max(max(age for _, age in points) for _, _, points in lines) / 1e6
    most = max(most * 1.3, 1.0, *((bound or 0) / 1e6 * 1.3 for _, bound, _ in lines))
    parts: list[Markup] = [svg.text(LEFT, TOP - 6, "oldest read, ms", "plot-title")]
    for power in range(-1, math.ceil(math.log10(most)) + 1):
        y = _y(10.0 ** power, most)
        if y >= TOP:
            parts += [svg.line(LEFT, y, WIDTH - RIGHT, y, "grid"),
                      svg.text(LEFT - 8, y + 4, f"{10.0 ** power:g}", "tick", "end")]
    parts += [svg.text(_x(second, seconds), HEIGHT - BOTTOM + 18, f"{second:g} s", "tick", "middle")
              for second in svg.ticks(0, seconds, 12)]
    for number, (name, bound, points) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        parts += _line(name, bound, points, seconds, most, colour, number)
    return svg.drawing(WIDTH, HEIGHT, parts, "Lag of each domain over time")


def _line(name: str, bound: int | None, points: Sequence[Sequence[int]], seconds: float,
          most: float, colour: str, number: int) -> list[Markup]:
    d = "".join(f"{'L' if at else 'M'}{_x(begin / 1e9, seconds):.1f} {_y(age / 1e6, most):.1f}"
                for at, (begin, age) in enumerate(points))
    parts = [svg.tag("path", svg.title(name), d=d, fill="none", stroke=colour, stroke_width=1.5),
             svg.tag("text", name, x=WIDTH - RIGHT + 10, y=TOP + 12 + 16 * number, fill=colour)]
    if bound is not None:
        y = _y(bound / 1e6, most)
        parts.append(svg.tag("line", svg.title(f"bound of {name}"), x1=LEFT, y1=y,
                             x2=WIDTH - RIGHT, y2=y, stroke=colour, stroke_dasharray="6 4"))
    return parts


def _x(second: float, seconds: float) -> float:
    return LEFT + min(second / max(seconds, 1e-9), 1.0) * (WIDTH - LEFT - RIGHT)


def _y(ms: float, most: float) -> float:
    share = math.log10(max(ms, LEAST_MS) / LEAST_MS) / math.log10(most / LEAST_MS)
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
