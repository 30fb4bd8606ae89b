"""Small pieces of SVG, escaped: what the report draws itself.

Everything returns Markup, so that the template inserts it as it is, and everything that
comes from a history goes through ``escape`` on the way, since a key or an error message may
hold any bytes.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape


def tag(name: str, *content: str, **attributes: object) -> Markup:
    """Return one element. ``class_`` and ``stroke_width`` become class and stroke-width."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items() if value is not None
    )
    inner = Markup("").join(escape(part) for part in content)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def _number(value: object) -> object:
    """Round coordinates to a tenth of a pixel: shorter, and no eye can tell."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def title(text: str) -> Markup:
    """Return a tooltip."""
    return tag("title", text)


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """Return a line of text."""
    return tag("text", content, x=x, y=y, class_=class_ or None,
               text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def drawing(width: float, height: float, parts: Iterable[str], label: str,
            class_: str = "drawing") -> Markup:
    """Return a whole drawing that scales with the page; ``label`` is for screen readers."""
    return tag("svg", *parts, viewBox=f"0 0 {width:.0f} {height:.0f}", width=int(width),
               height=int(height), role="img", aria_label=label, class_=class_)


def nice_step(span: float, most: int) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that cuts a span into ``most`` or fewer."""
    if span <= 0:
        return 1.0
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))


def ticks(low: float, high: float, most: int = 10) -> Sequence[float]:
    """Return round values in a range."""
    step = nice_step(high - low, most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
